//! Who may dial a load balancer's addresses (`loadBalancerSourceRanges`), read as Kubernetes reads it: blanks around a
//! range and bits beyond its prefix count for nothing, nor do zeros before a number; an IPv4 range in IPv6's spelling is an
//! IPv4 range. A range that cannot be used lets nobody in, and what nobody can use lets in nobody: never everybody.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};
use k8s_openapi::api::core::v1;

use super::complaint::{complain, some};
use crate::Complaint;

/// The most ranges of a service, those that are one taken together: what the exchange carries.
const MOST: usize = 1024;

/// None where nothing is written, so that everybody may.
pub(super) fn source_ranges(spec: &v1::ServiceSpec, found: &mut Vec<Complaint>) -> Option<Vec<IpNet>> {
    let written = spec.load_balancer_source_ranges.as_deref().filter(|written| !written.is_empty())?;
    let (mut ranges, mut unusable) = (Vec::new(), Vec::new());
    for text in written {
        match range(text) {
            Some(range) => ranges.push(range),
            None => unusable.push(text.clone()),
        }
    }
    if !unusable.is_empty() {
        let rest = if ranges.is_empty() { "and with it everybody" } else { "the others work" };
        let message = format!(
            "{} among its loadBalancerSourceRanges can be read as no range; whoever is meant is kept out, {rest}; write \
             ranges such as 192.0.2.0/24 or 2001:db8::/32",
            some(&unusable)
        );
        complain(found, "SourceRangeUnparsable", message);
    }
    let mut ranges = IpNet::aggregate(&ranges);
    if ranges.len() > MOST {
        let message = format!(
            "its loadBalancerSourceRanges are {} ranges, even with those that are one taken together; the first {MOST} \
             count, the others are kept out; write fewer and larger ones",
            ranges.len()
        );
        complain(found, "SourceRangesTooMany", message);
        ranges.truncate(MOST);
    }
    Some(ranges)
}

fn range(text: &str) -> Option<IpNet> {
    let (address, length) = text.trim().split_once('/')?;
    let length = Some(length).filter(|length| length.bytes().all(|byte| byte.is_ascii_digit()))?;
    let range = IpNet::new(host(address)?, length.parse().ok()?).ok()?.trunc();
    match range {
        // The prefix counts the 96 bits before the IPv4 address, too.
        IpNet::V6(v6) => match v6.addr().to_ipv4_mapped().zip(v6.prefix_len().checked_sub(96)) {
            Some((v4, length)) => Ipv4Net::new(v4, length).ok().map(IpNet::V4),
            None => Some(range),
        },
        IpNet::V4(_) => Some(range),
    }
}

/// Go once took zeros before an octet for decimal, and objects of that time still do.
fn host(text: &str) -> Option<IpAddr> {
    let (before, dotted) = match text.rfind(':') {
        Some(colon) if text.contains('.') => text.split_at(colon + 1),
        Some(_) => return text.parse().ok(),
        None => ("", text),
    };
    let octets: Vec<&str> = dotted
        .split('.')
        .map(|octet| match octet.trim_start_matches('0') {
            "" if !octet.is_empty() => "0",
            trimmed => trimmed,
        })
        .collect();
    format!("{before}{}", octets.join(".")).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(written: &[&str]) -> (Option<Vec<String>>, Vec<Complaint>) {
        let spec = v1::ServiceSpec {
            load_balancer_source_ranges: Some(written.iter().map(ToString::to_string).collect()),
            ..v1::ServiceSpec::default()
        };
        let mut found = Vec::new();
        let ranges = source_ranges(&spec, &mut found);
        (ranges.map(|ranges| ranges.iter().map(ToString::to_string).collect()), found)
    }

    #[test]
    fn as_kubernetes_reads_them() {
        for (written, want) in [
            ("192.0.2.0/24", Some("192.0.2.0/24")),
            (" 192.0.2.0/24\t", Some("192.0.2.0/24")),
            ("192.0.2.7/24", Some("192.0.2.0/24")),
            ("0.0.0.0/0", Some("0.0.0.0/0")),
            ("010.008.0.0/08", Some("10.0.0.0/8")),
            ("10.00.0.1/32", Some("10.0.0.1/32")),
            ("2001:db8::1/32", Some("2001:db8::/32")),
            ("::/0", Some("::/0")),
            ("::ffff:10.1.2.3/104", Some("10.0.0.0/8")),
            ("::ffff:010.1.2.3/104", Some("10.0.0.0/8")),
            ("::ffff:a01:203/128", Some("10.1.2.3/32")),
            ("::ffff:0:0/96", Some("0.0.0.0/0")),
            // Fewer bits than those that say "IPv4": a range of IPv6.
            ("::ffff:10.1.2.3/24", Some("::/24")),
            ("192.0.2.1", None),
            ("192.0.2.0/33", None),
            ("192.0.2.0/+8", None),
            ("192.0.2.0/", None),
            ("192.0.2/24", None),
            ("192..2.0/24", None),
            ("fe80::1%eth0/64", None),
            ("::/129", None),
            ("", None),
            ("everybody", None),
        ] {
            let (ranges, found) = read(&[written]);
            assert_eq!(ranges, Some(want.map(str::to_string).into_iter().collect()), "{written:?}");
            assert_eq!(found.is_empty(), want.is_some(), "{written:?}");
        }
    }

    #[test]
    fn several() {
        assert_eq!(read(&[]), (None, Vec::new()), "nothing is written: everybody");
        let (ranges, found) = read(&["10.0.0.0/9", "x", "2001:db8::/32", "10.128.0.0/9", "10.1.0.0/16"]);
        assert_eq!(ranges.unwrap(), ["10.0.0.0/8", "2001:db8::/32"], "without overlaps");
        assert!(found[0].message.contains("the others work"), "{found:?}");
        let (ranges, found) = read(&["x", "y"]);
        assert_eq!(ranges, Some(Vec::new()), "never everybody");
        assert!(found[0].message.starts_with("\"x\", \"y\" among its"), "{found:?}");
        // Two apart, so that no two of them are one.
        let many: Vec<String> = (0..=MOST).map(|n| format!("10.{}.{}.0/24", n / 128, n % 128 * 2)).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let (ranges, found) = read(&many);
        assert_eq!((ranges.unwrap().len(), found[0].reason), (MOST, "SourceRangesTooMany"));
    }
}
