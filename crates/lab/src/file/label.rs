//! The syntax of labels: DNS' and Kubernetes'.

/// RFC 1123's label.
pub(super) fn is_dns_label(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    is_name(text, inner, |c| c == '-')
}

/// An optional DNS prefix and a name for the key, a name or nothing for the value.
pub(super) fn is_kubernetes_label(key: &str, value: &str) -> bool {
    let name = |text| is_name(text, |c| c.is_ascii_alphanumeric(), |c| matches!(c, '-' | '_' | '.'));
    let (prefix, short) = match key.rsplit_once('/') {
        Some((prefix, short)) => (Some(prefix), short),
        None => (None, key),
    };
    let prefixed = prefix.is_none_or(|prefix| prefix.len() <= 253 && prefix.split('.').all(is_dns_label));
    prefixed && name(short) && (value.is_empty() || name(value))
}

/// 1 to 63 characters, of which the first and last are of the narrower set.
fn is_name(text: &str, edge: impl Fn(char) -> bool, inner: impl Fn(char) -> bool) -> bool {
    let (first, last) = (text.chars().next(), text.chars().last());
    text.len() <= 63
        && first.is_some_and(&edge)
        && last.is_some_and(&edge)
        && text.chars().all(|c| edge(c) || inner(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dns() {
        for good in ["a", "eu-west-1", "1", &"x".repeat(63)] {
            assert!(is_dns_label(good), "{good}");
        }
        for bad in ["", "-a", "a-", "EU", "a.b", "a_b", "é", &"x".repeat(64)] {
            assert!(!is_dns_label(bad), "{bad}");
        }
    }

    #[test]
    fn kubernetes() {
        for (key, value) in [("rack", "R_1.b"), ("example.com/rack", ""), ("a/b", "c")] {
            assert!(is_kubernetes_label(key, value), "{key}={value}");
        }
        for (key, value) in
            [("", "x"), ("/x", "x"), ("Example.com/x", "x"), ("a/b/c", "x"), ("a", "-x"), ("a", "x y")]
        {
            assert!(!is_kubernetes_label(key, value), "{key}={value}");
        }
    }
}
