//! The alphabets of Kubernetes' names, labels and ports: what each may be, and the words to say so.

/// One kind of name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Syntax {
    /// RFC 1123: names of namespaces, containers and ports of services.
    Label,
    /// RFC 1035: names of services.
    ServiceName,
    /// RFC 1123 labels between dots: names of most objects.
    Subdomain,
    /// RFC 6335: names of ports of pods.
    PortName,
    /// The key of a label or annotation.
    LabelKey,
    /// The value of a label.
    LabelValue,
}

impl Syntax {
    /// Whether `text` is such a name.
    pub fn allows(self, text: &str) -> bool {
        match self {
            Self::Label => label(text),
            Self::ServiceName => label(text) && text.starts_with(|c: char| c.is_ascii_lowercase()),
            Self::Subdomain => text.len() <= 253 && text.split('.').all(label_of_any_length),
            Self::PortName => {
                text.len() <= 15
                    && label(text)
                    && text.contains(|c: char| c.is_ascii_lowercase())
                    && !text.contains("--")
            }
            Self::LabelKey => match text.split_once('/') {
                Some((prefix, name)) => Self::Subdomain.allows(prefix) && !name.is_empty() && qualified(name),
                None => !text.is_empty() && qualified(text),
            },
            Self::LabelValue => qualified(text),
        }
    }

    /// What to write, after "write".
    pub fn words(self) -> &'static str {
        match self {
            Self::Label => "1 to 63 of a-z, 0-9 and '-', beginning and ending with a letter or digit",
            Self::ServiceName => {
                "1 to 63 of a-z, 0-9 and '-', beginning with a letter and ending with a letter or digit"
            }
            Self::Subdomain => {
                "at most 253 of a-z, 0-9, '-' and '.', each part beginning and ending with a letter or digit"
            }
            Self::PortName => "1 to 15 of a-z, 0-9 and single '-', with a letter, such as http",
            Self::LabelKey => {
                "NAME or DOMAIN/NAME, with a name of 1 to 63 of A-Z, a-z, 0-9, '-', '_' and '.', letter or digit at both ends"
            }
            Self::LabelValue => {
                "nothing, or 1 to 63 of A-Z, a-z, 0-9, '-', '_' and '.', letter or digit at both ends"
            }
        }
    }
}

fn label(text: &str) -> bool {
    text.len() <= 63 && label_of_any_length(text)
}

fn label_of_any_length(text: &str) -> bool {
    let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    text.starts_with(edge) && text.ends_with(edge) && text.chars().all(|c| edge(c) || c == '-')
}

/// Empty, or what the name of a label may be.
fn qualified(text: &str) -> bool {
    let edge = |c: char| c.is_ascii_alphanumeric();
    text.is_empty()
        || text.len() <= 63
            && text.starts_with(edge)
            && text.ends_with(edge)
            && text.chars().all(|c| edge(c) || matches!(c, '-' | '_' | '.'))
}

#[cfg(test)]
mod tests {
    use super::Syntax::{self, *};

    #[test]
    fn alphabets() {
        let long = "x".repeat(64);
        let cases: &[(Syntax, &[&str], &[&str])] = &[
            (Label, &["a", "0", "a-1"], &["", "-a", "a-", "A", "a.b", "a_b", &long]),
            (ServiceName, &["echo"], &["0echo", ""]),
            (Subdomain, &["a.b-c.d", &long], &["a..b", ".a", "", "A"]),
            (PortName, &["http", "h-2"], &["80", "a--b", "-a", "sixteen-letters-", "HTTP"]),
            (LabelKey, &["app", "a.io/x_Y", "A"], &["", "/x", "a/", "a/b/c", "A.io/x", "-a"]),
            (LabelValue, &["", "v1.2_X"], &["-x", "a b", &long]),
        ];
        for (syntax, good, bad) in cases {
            for text in *good {
                assert!(syntax.allows(text), "{syntax:?} {text}");
            }
            for text in *bad {
                assert!(!syntax.allows(text), "{syntax:?} {text}");
            }
        }
    }
}
