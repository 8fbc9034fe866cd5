//! What a scalar means: YAML 1.2's core schema, where Kubernetes' own reader (YAML 1.1) agrees with it.

/// One scalar as it was written.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Scalar {
    pub(crate) text: String,
    /// Neither quoted nor a block nor tagged `!!str`.
    pub(crate) plain: bool,
}

/// What it means.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Meaning<'a> {
    Null,
    Bool(bool),
    Int(i128),
    Float(f64),
    /// `yes`, `no`, `on`, `off`: a boolean to Kubernetes, text to YAML 1.2; so nobody may leave it unquoted.
    Unclear(bool),
    Text(&'a str),
}

impl Scalar {
    pub(crate) fn meaning(&self) -> Meaning<'_> {
        if !self.plain {
            return Meaning::Text(&self.text);
        }
        match self.text.as_str() {
            "" | "~" | "null" | "Null" | "NULL" => Meaning::Null,
            "true" | "True" | "TRUE" => Meaning::Bool(true),
            "false" | "False" | "FALSE" => Meaning::Bool(false),
            "yes" | "Yes" | "YES" | "on" | "On" | "ON" => Meaning::Unclear(true),
            "no" | "No" | "NO" | "off" | "Off" | "OFF" => Meaning::Unclear(false),
            text => int(text)
                .map(Meaning::Int)
                .or_else(|| float(text).map(Meaning::Float))
                .unwrap_or(Meaning::Text(text)),
        }
    }
}

impl Meaning<'_> {
    /// The value in words, for an error.
    pub(crate) fn words(&self) -> String {
        match self {
            Self::Null => "nothing".into(),
            Self::Bool(value) => format!("the boolean {value}"),
            Self::Int(value) => format!("the number {value}"),
            Self::Float(value) => format!("the number {value}"),
            Self::Unclear(value) => format!("an unquoted word that Kubernetes reads as the boolean {value}"),
            Self::Text(text) => {
                let mut short: String = text.chars().take(60).collect();
                if short.len() < text.len() {
                    short.push('…');
                }
                format!("the text {short:?}")
            }
        }
    }
}

/// Decimal, `0x`, `0o`, `0b`; a leading zero is octal, as Kubernetes reads `defaultMode: 0644`.
fn int(text: &str) -> Option<i128> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (digits, radix) = match digits.as_bytes() {
        [b'0', b'x', ..] => (&digits[2..], 16),
        [b'0', b'o', ..] => (&digits[2..], 8),
        [b'0', b'b', ..] => (&digits[2..], 2),
        [b'0', _, ..] => (&digits[1..], 8),
        _ => (digits, 10),
    };
    if !digits.chars().next()?.is_ascii_hexdigit() {
        return None; // a second sign, which from_str_radix would take
    }
    let value = i128::from_str_radix(digits, radix).ok()?;
    Some(if negative { -value } else { value })
}

fn float(text: &str) -> Option<f64> {
    match text.trim_start_matches(['+', '-']) {
        ".inf" | ".Inf" | ".INF" => {
            return Some(if text.starts_with('-') { f64::NEG_INFINITY } else { f64::INFINITY });
        }
        ".nan" | ".NaN" | ".NAN" => return Some(f64::NAN),
        _ => {}
    }
    // Rust's parser also takes "inf" and "nan", which are words here.
    let numeric = text.chars().all(|c| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '+' | '-'));
    let digit = text.chars().any(|c| c.is_ascii_digit());
    if numeric && digit { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meanings() {
        use Meaning::*;
        for (text, meaning) in [
            ("", Null),
            ("~", Null),
            ("true", Bool(true)),
            ("no", Unclear(false)),
            ("80", Int(80)),
            ("-1", Int(-1)),
            ("0", Int(0)),
            ("0644", Int(420)),
            ("0o17", Int(15)),
            ("0x1F", Int(31)),
            ("0b11", Int(3)),
            ("--1", Text("--1")),
            ("089", Float(89.0)),
            ("1.5", Float(1.5)),
            ("1e3", Float(1000.0)),
            ("-.inf", Float(f64::NEG_INFINITY)),
            ("inf", Text("inf")),
            ("e", Text("e")),
            ("1.2.3", Text("1.2.3")),
            ("14ms", Text("14ms")),
            ("10.1.0.0/16", Text("10.1.0.0/16")),
        ] {
            assert_eq!(Scalar { text: text.into(), plain: true }.meaning(), meaning, "{text}");
            assert_eq!(Scalar { text: text.into(), plain: false }.meaning(), Text(text));
        }
    }
}
