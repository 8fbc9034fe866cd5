//! Durations, percentages and rates as people write them.

use std::time::Duration;

/// The longest round-trip time a wire can have.
pub(super) const MAX_RTT: Duration = Duration::from_secs(10);

/// The longest time of all.
const MAX: Duration = Duration::from_secs(86_400);

/// Reads `14ms`, `0.3ms`, `250us`, `1s` or `0`: at most a day.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let (number, unit) = split(text)?;
    let nanos = match unit {
        "" if number == 0.0 => 0.0,
        "us" | "µs" => number * 1e3,
        "ms" => number * 1e6,
        "s" => number * 1e9,
        _ => return None,
    };
    let duration = Duration::from_nanos(nanos.round() as u64);
    (duration <= MAX).then_some(duration)
}

/// Reads `0.5%`, `0%` or `100%` as a part of one.
pub fn parse_percent(text: &str) -> Option<f64> {
    let (number, unit) = split(text)?;
    let known = unit == "%" || (unit.is_empty() && number == 0.0);
    (known && number <= 100.0).then_some(number / 100.0)
}

/// Reads `1Gbit`, `100Mbit`, `64kbit` or `2.5Gbit` as bits per second; at least 8 kbit.
pub fn parse_rate(text: &str) -> Option<u64> {
    let (number, unit) = split(text)?;
    let unit = unit.strip_suffix("/s").unwrap_or(unit);
    let factor = match unit {
        "kbit" | "Kbit" => 1e3,
        "Mbit" => 1e6,
        "Gbit" => 1e9,
        _ => return None,
    };
    let rate = (number * factor).round();
    (8e3..=1e12).contains(&rate).then_some(rate as u64)
}

/// Splits a plain decimal number from the unit that follows it.
fn split(text: &str) -> Option<(f64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let number: f64 = number.parse().ok()?;
    number.is_finite().then_some((number, unit))
}

/// A duration as a number of milliseconds.
pub(super) mod millis {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de};

    /// Writes it.
    pub(crate) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(duration.as_secs_f64() * 1e3)
    }

    /// Reads it; refuses what no wire can have.
    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let millis = f64::deserialize(deserializer)?;
        let duration = Duration::try_from_secs_f64(millis / 1e3).map_err(de::Error::custom)?;
        if duration > super::MAX_RTT {
            return Err(de::Error::custom("a round-trip time is at most 10 s"));
        }
        Ok(duration)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let cases = [
            ("14ms", Some(14_000_000)),
            ("0.3ms", Some(300_000)),
            ("250us", Some(250_000)),
            ("1s", Some(1_000_000_000)),
            ("0", Some(0)),
            ("0ms", Some(0)),
            ("14", None),
            ("14 ms", None),
            ("-1ms", None),
            ("ms", None),
            ("1e3ms", None),
            ("14min", None),
            ("86400s", Some(86_400_000_000_000)),
            ("86401s", None),
            ("", None),
            ("999999999999999999999999999999s", None),
        ];
        for (text, want) in cases {
            assert_eq!(parse_duration(text), want.map(Duration::from_nanos), "{text:?}");
        }
    }

    #[test]
    fn percentages() {
        let cases = [
            ("0%", Some(0.0)),
            ("0", Some(0.0)),
            ("0.5%", Some(0.005)),
            ("100%", Some(1.0)),
            ("101%", None),
            ("0.5", None),
            ("-1%", None),
            ("%", None),
            ("1 %", None),
        ];
        for (text, want) in cases {
            assert_eq!(parse_percent(text), want, "{text:?}");
        }
    }

    #[test]
    fn rates() {
        let cases = [
            ("1Gbit", Some(1_000_000_000)),
            ("2.5Gbit/s", Some(2_500_000_000)),
            ("100Mbit", Some(100_000_000)),
            ("64kbit", Some(64_000)),
            ("1bit", None),
            ("0Mbit", None),
            ("1Gb", None),
            ("1", None),
            ("fast", None),
            ("9999Gbit", None),
        ];
        for (text, want) in cases {
            assert_eq!(parse_rate(text), want, "{text:?}");
        }
    }
}
