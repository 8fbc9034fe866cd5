//! Which addresses services get, and which they are refused.

use k8s_openapi::api::core::v1::ServiceSpec;
use proptest::prelude::*;

use super::*;

fn ranges(texts: &[&str]) -> Vec<IpNet> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn name(text: &str) -> ObjectName {
    text.parse().unwrap()
}

fn spec(text: &str) -> ServiceSpec {
    let parsed = crate::yaml::parse("spec", text).unwrap();
    parsed.into_iter().next().map(|spec| spec.value).unwrap_or_default()
}

fn settle(vips: &mut Vips, of: &str, text: &str) -> Result<(Vec<String>, Vec<String>), Refused> {
    let mut spec = spec(text);
    vips.settle(&name(of), &mut spec)?;
    Ok((spec.ip_families.unwrap_or_default(), spec.cluster_ips.unwrap_or_default()))
}

#[test]
fn families_and_addresses() {
    const BOTH: &[&str] = &["10.101.0.0/16", "fd00:101::/112"];
    for (cluster, spec, families, addresses) in [
        (BOTH, "", "IPv4 IPv6", 2),
        (BOTH, "ipFamilyPolicy: SingleStack", "IPv4", 1),
        (BOTH, "{ipFamilyPolicy: SingleStack, ipFamilies: [IPv6]}", "IPv6", 1),
        (BOTH, "{ipFamilyPolicy: PreferDualStack, ipFamilies: [IPv6]}", "IPv6 IPv4", 2),
        (BOTH, "ipFamilyPolicy: RequireDualStack", "IPv4 IPv6", 2),
        (BOTH, "ipFamilies: [IPv6]", "IPv6", 1),
        (BOTH, "clusterIP: 10.101.0.5", "IPv4", 1),
        (BOTH, "{clusterIP: 10.101.0.5, ipFamilyPolicy: PreferDualStack}", "IPv4 IPv6", 2),
        (BOTH, "clusterIP: None", "IPv4 IPv6", 0),
        (BOTH, "type: ExternalName", "", 0),
        (&["fd00:101::/112", "10.101.0.0/16"], "ipFamilyPolicy: SingleStack", "IPv6", 1),
        (&["10.101.0.0/16"], "", "IPv4", 1),
        (&["10.101.0.0/16"], "ipFamilyPolicy: PreferDualStack", "IPv4", 1),
        (&[], "clusterIP: None", "", 0),
    ] {
        let mut vips = Vips::new(ranges(cluster));
        let (said, ips) = settle(&mut vips, "demo/echo", spec).unwrap();
        let ips: Vec<String> = ips.into_iter().filter(|ip| ip != "None").collect();
        assert_eq!((said.join(" ").as_str(), ips.len()), (families, addresses), "{spec} in {cluster:?}");
        for ip in &ips {
            let ip: IpAddr = ip.parse().unwrap();
            assert!(vips.in_range(&ip), "{ip}");
            assert!(
                ip.to_string() == "10.101.0.5" || ip >= "10.101.1.0".parse::<IpAddr>().unwrap(),
                "{ip} is among the lower"
            );
        }
        assert_eq!(settle(&mut vips, "demo/echo", spec).unwrap().1.len(), addresses, "{spec} again");
        vips.release(&name("demo/echo"));
        assert!(vips.owner.is_empty() && vips.held.is_empty());
    }
}

#[test]
fn refusals() {
    let mut vips = Vips::new(ranges(&["10.101.0.0/30"]));
    settle(&mut vips, "demo/a", "clusterIP: 10.101.0.1").unwrap();
    for (spec, expected) in [
        (
            "clusterIP: 10.101.0.1",
            "10.101.0.1 is already the address of service demo/a; write another, or none to be given one",
        ),
        (
            "clusterIP: 10.102.0.1",
            "10.102.0.1 is not in the cluster's serviceCIDRs (10.101.0.0/30); write one that is, or none to be given one",
        ),
        (
            "ipFamilyPolicy: RequireDualStack",
            "the cluster has no IPv6 serviceCIDR; write another ipFamilies or ipFamilyPolicy",
        ),
    ] {
        assert_eq!(settle(&mut vips, "demo/b", spec).unwrap_err().to_string(), expected);
        assert!(!vips.held.contains_key(&name("demo/b")));
    }
    assert_eq!(settle(&mut vips, "demo/b", "").unwrap().1, ["10.101.0.2"]);
    assert_eq!(settle(&mut vips, "demo/c", "").unwrap_err(), Refused::Full { family: Family::V4 });
    vips.release(&name("demo/a"));
    assert_eq!(settle(&mut vips, "demo/c", "").unwrap().1, ["10.101.0.1"]);
    assert_eq!(settle(&mut Vips::new(Vec::new()), "demo/c", "").unwrap_err(), Refused::NoRanges);
}

proptest! {
    /// However services come and go, no two share an address, and memory brings each its own back.
    #[test]
    fn never_shared_and_never_lost(steps in proptest::collection::vec((0u8..20, 0u8..4), 0..80)) {
        let nets = ranges(&["10.101.0.0/28", "fd00:101::/124"]);
        let mut vips = Vips::new(nets.clone());
        for (service, what) in steps {
            let of = format!("demo/s{service}");
            match what {
                0 => vips.release(&name(&of)),
                1 => drop(settle(&mut vips, &of, &format!("clusterIP: 10.101.0.{}", service % 16))),
                _ => drop(settle(&mut vips, &of, "")),
            }
            let given: usize = vips.held.values().map(Vec::len).sum();
            prop_assert_eq!(given, vips.owner.len());
        }
        let mut again = Vips::new(nets);
        again.restore(vips.held().clone());
        prop_assert_eq!(again.held(), vips.held());
        for of in vips.held() {
            let mut plain = ServiceSpec { ip_family_policy: Some("PreferDualStack".into()), ..ServiceSpec::default() };
            if again.settle(of.0, &mut plain).is_ok() {
                let ips: Vec<IpAddr> = plain.cluster_ips.unwrap().iter().map(|ip| ip.parse().unwrap()).collect();
                prop_assert!(of.1.iter().all(|ip| ips.contains(ip)));
            }
        }
    }
}
