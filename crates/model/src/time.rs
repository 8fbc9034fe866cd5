//! Lengths of time, as settings and options have them.

use std::time::Duration;

/// Reads `90s`, `15m`, `12h` or `7d`: a whole number, at most `u32::MAX` of its unit, and what it counts. None if it is anything
/// else.
pub fn parse_time(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 24 * 3600,
        _ => return None,
    };
    // A sign is none of it.
    let number: u32 = number.parse().ok().filter(|_| number.bytes().all(|byte| byte.is_ascii_digit()))?;
    Some(Duration::from_secs(u64::from(number) * unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        for (text, seconds) in [
            ("90s", Some(90)),
            ("15m", Some(900)),
            ("12h", Some(43_200)),
            ("7d", Some(604_800)),
            ("0s", Some(0)),
            ("4294967295d", Some(4_294_967_295 * 86_400)),
            ("4294967296s", None),
            ("", None),
            ("s", None),
            ("7", None),
            ("7w", None),
            ("-1h", None),
            ("+1h", None),
            ("1.5h", None),
            ("15 m", None),
            ("1\u{b5}", None),
        ] {
            assert_eq!(parse_time(text), seconds.map(Duration::from_secs), "{text:?}");
        }
    }
}
