use super::*;

fn end(text: &str) -> PolicyEnd {
    text.parse().unwrap()
}

#[test]
fn ends() {
    for text in [
        "demo/echo",
        "aws/demo/echo-0",
        "aws/demo/web-0.sub",
        "node:aws-1",
        "node:aws/ip-10.eu.internal",
        "10.1.0.5",
        "fd00:1::5",
        "world",
    ] {
        assert_eq!(end(text).to_string(), text);
    }
    assert_eq!(end("::ffff:10.1.0.5"), end("10.1.0.5"));
    for (text, said) in [
        ("", "write NAMESPACE/POD"),
        ("echo", "write NAMESPACE/POD"),
        ("World", "write NAMESPACE/POD"),
        ("a/b/c/d", "CLUSTER/NAMESPACE/POD"),
        ("10.1.0.0/16", "such as 10.1.0.0"),
        ("node:", "node name"),
        ("node:a/b/c", "node name"),
        ("demo/Echo", "object name"),
        ("AWS/demo/echo", "cluster name"),
    ] {
        let error = text.parse::<PolicyEnd>().unwrap_err().to_string();
        assert!(error.contains(said), "{text}: {error}");
    }
    let own: ClusterName = "aws".parse().unwrap();
    assert_eq!(end("demo/echo").or_in(&own), end("aws/demo/echo"));
    assert_eq!(end("node:a").or_in(&own), end("node:aws/a"));
    assert_eq!(end("gcp/demo/echo").or_in(&own), end("gcp/demo/echo"));
    assert_eq!(end("world").or_in(&own), end("world"));
}

#[test]
fn ports_and_protocols() {
    let port = |text: &str| text.parse::<PortChoice>();
    assert_eq!(port("80"), Ok(PortChoice::Number(Port::new(80).unwrap())));
    assert_eq!(port("http"), Ok(PortChoice::Name("http".into())));
    for bad in ["", "0", "65536", "-http", "http--2", "HTTP", "a-name-that-is-too-long"] {
        assert!(port(bad).is_err(), "{bad}");
    }
    assert_eq!("TCP".parse(), Ok(PolicyProtocol::Tcp));
    assert!("gre".parse::<PolicyProtocol>().unwrap_err().contains("sctp"));
    for protocol in PolicyProtocol::ALL {
        assert_eq!(serde_json::to_value(protocol).unwrap(), protocol.as_str());
    }
    for by in DecidedBy::ALL {
        assert_eq!(serde_json::to_value(by).unwrap(), by.as_str());
    }
}

/// The names of the fields are a contract with whoever reads `-o json`.
#[test]
fn as_json() {
    let gcp: ClusterName = "gcp".parse().unwrap();
    let policy = PolicyRef {
        kind: PolicyKind::ClusterNetworkPolicy,
        cluster: "aws".parse().unwrap(),
        namespace: String::new(),
        name: "guard".into(),
    };
    let rule = PolicyRuleRef {
        policy: policy.clone(),
        path: "spec.egress[0]".into(),
        rule: "no-x".into(),
        tier: PolicyTier::Admin { priority: 3 }.into(),
        action: PolicyAction::Deny.into(),
    };
    let egress = PolicyDecision {
        allowed: Some(false),
        by: DecidedBy::Rule,
        rule: Some(rule.clone()),
        judged_by: Some(policy.cluster.clone()),
        policies: vec![policy],
        note: String::new(),
    };
    let ingress = PolicyDecision::not_judged(gcp.clone());
    let check = PolicyCheck {
        from: end("aws/x/a"),
        to: end("gcp/y/b"),
        protocol: PolicyProtocol::Tcp,
        port: Some("80".parse().unwrap()),
        family: Some(Family::IPv4),
        allowed: PolicyCheck::conclude(&egress, &ingress),
        egress,
        ingress,
    };
    let note = &check.ingress.note;
    assert!(note.contains("ask its controller"), "{note}");
    let json = serde_json::json!({
        "from": "aws/x/a", "to": "gcp/y/b", "protocol": "tcp", "port": 80, "family": "IPv4", "allowed": false,
        "egress": {
            "allowed": false, "by": "rule", "judgedBy": "aws", "note": "",
            "rule": {
                "kind": "ClusterNetworkPolicy", "cluster": "aws", "namespace": "", "name": "guard",
                "path": "spec.egress[0]", "rule": "no-x", "tier": "admin", "action": "deny",
            },
            "policies": [{"kind": "ClusterNetworkPolicy", "cluster": "aws", "namespace": "", "name": "guard"}],
        },
        "ingress": {
            "allowed": null, "by": "not-judged", "judgedBy": "gcp", "note": note, "rule": null, "policies": [],
        },
    });
    assert_eq!(serde_json::to_value(&check).unwrap(), json);
    assert_eq!(rule.to_string(), "ClusterNetworkPolicy guard of aws spec.egress[0] (no-x)");
    let answers = [PolicyAnswer::Judged(Box::new(check)), PolicyAnswer::Refused { error: "no".into() }];
    let read: [PolicyAnswer; 2] = serde_json::from_value(serde_json::to_value(&answers).unwrap()).unwrap();
    assert_eq!(read, answers);
}

/// Of each end what its own cluster says counts, and nothing is guessed.
#[test]
fn two_clusters_are_joined() {
    let (aws, gcp): (ClusterName, ClusterName) = ("aws".parse().unwrap(), "gcp".parse().unwrap());
    let judged = |allowed: bool, cluster: &ClusterName| PolicyDecision {
        judged_by: Some(cluster.clone()),
        ..PolicyDecision::bare(Some(allowed), DecidedBy::Isolated)
    };
    let check = |egress: PolicyDecision, ingress: PolicyDecision| PolicyCheck {
        from: end("aws/x/a"),
        to: end("gcp/y/b"),
        protocol: PolicyProtocol::Icmp,
        port: None,
        family: None,
        allowed: PolicyCheck::conclude(&egress, &ingress),
        egress,
        ingress,
    };
    let elsewhere = PolicyDecision::not_judged;
    for (from, to, allowed) in [(true, true, true), (true, false, false), (false, true, false)] {
        let ours = check(judged(from, &aws), elsewhere(gcp.clone()));
        let theirs = check(elsewhere(aws.clone()), judged(to, &gcp));
        assert_eq!(ours.allowed, if from { None } else { Some(false) });
        let whole = check(judged(from, &aws), judged(to, &gcp));
        assert_eq!(whole.allowed, Some(allowed));
        assert_eq!(ours.clone().join(theirs.clone()), whole);
        assert_eq!(theirs.join(ours), whole);
    }
    let out = check(judged(true, &aws), PolicyDecision::nobody());
    assert_eq!(out.allowed, Some(true));
}
