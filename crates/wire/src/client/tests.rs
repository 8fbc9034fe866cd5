use super::*;

fn sample() -> Configuration {
    let range = |text: &str| text.parse().unwrap();
    Configuration {
        name: "alice".into(),
        private_key: Some(SecretKey([1; 32])),
        addresses: vec![range("10.254.1.1/32"), range("fd43::1/128")],
        dns: vec!["10.1.0.1".parse().unwrap(), "fd00:1::1".parse().unwrap()],
        search: vec!["clusterset.local".into()],
        mtu: None,
        peers: vec![End {
            name: "aws/aws-1".into(),
            public_key: PublicKey([2; 32]),
            preshared_key: Some(PresharedKey([3; 32])),
            endpoint: Some("[2001:db8::1]:51820".into()),
            allowed_ips: vec![range("10.1.0.0/16"), range("fd00:1::/48")],
            keepalive: 25,
        }],
    }
}

#[test]
fn what_is_written_is_what_is_read() {
    let mut again = parse("alice", &sample().wg_quick()).unwrap();
    again.peers[0].name = "aws/aws-1".into();
    assert!(again == sample());
    let searching = Configuration { dns: Vec::new(), ..sample() };
    assert_eq!(parse("alice", &searching.wg_quick()).unwrap().search, ["clusterset.local"]);
    let keyless = Configuration { private_key: None, ..sample() };
    assert!(parse("alice", &keyless.wg_quick()).unwrap().private_key.is_none());
}

#[test]
fn mistakes_are_named_without_secrets() {
    for (text, said) in [
        ("[Interfaces]", "line 1: no section"),
        ("[Interface]\nPrivateKey = secret", "line 2: the value of PrivateKey"),
        ("[Interface]\nColour = red", "line 2: Colour is not known"),
        ("[Interface]\nPostUp = secret", "line 2: PostUp is not known"),
        ("[Interface]\nMTU = 575", "line 2: the value of MTU"),
        ("[Interface]\nDNS = 10.0.0.300", "line 2: the value of DNS"),
        ("[Peer]\nEndpoint = 10.0.0.300:1", "line 2: the value of Endpoint"),
        ("[Interface]\nDNS = 10.0.0.1, se cret", "line 2: the value of DNS"),
        ("[Peer]\nAllowedIPs = 10.0.0.0/33", "line 2: the value of AllowedIPs"),
        ("[Peer]\nEndpoint = a:0", "line 2: the value of Endpoint"),
        ("[Peer]\nEndpoint = a b:1", "line 2: the value of Endpoint"),
        ("\n[Peer]\nEndpoint = a:1", "line 2 has no PublicKey"),
        ("nonsense", "line 1: write KEY = VALUE"),
        // A key alone in its line ends as a name does.
        (
            "[Interface]\nsecretsecretsecretsecretsecretsecretsecrets=",
            "line 2: what stands there is not known",
        ),
        ("secret /=", "line 1: what stands there is not known"),
    ] {
        let error = parse("x", text).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.contains(said) && !error.contains("secret"), "{text}: {error}");
    }
}

#[test]
fn a_keyfile_of_network_manager() {
    let text = sample().network_manager();
    for line in [
        "interface-name=cw-alice",
        "[wireguard-peer.AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=]",
        "endpoint=[2001:db8::1]:51820",
        "allowed-ips=10.1.0.0/16;fd00:1::/48;",
        "address1=10.254.1.1/32",
        "dns=10.1.0.1;",
        "dns-search=~clusterset.local;",
        "method=manual",
    ] {
        assert!(text.lines().any(|its| its == line), "{line} in {text}");
    }
}

#[test]
fn no_end_is_there_twice() {
    let end = format!("[peer]\npublickey = {}\n", PublicKey([4; 32]));
    assert_eq!(parse("x", &end).unwrap().peers.len(), 1);
    assert_eq!(parse("x", &format!("{end}{end}")).err(), Some(ClientError::Twice(4)));
}

#[test]
fn what_is_too_much_is_not_taken() {
    let many = |what: &str, count: usize| vec![what; count].join(", ");
    for (text, said) in [
        (format!("[Interface]\nAddress = {}", many("10.0.0.1", 65)), "more than 64 addresses"),
        (format!("[Interface]\nDNS = {}", many("a.example", 65)), "more than 64 servers and domains"),
        (format!("[Peer]\nAllowedIPs = {}", many("::/0", 65_537)), "more than 65536 allowed ranges"),
        ("[Peer]\n".repeat(8193), "line 8193: more than 8192 other ends"),
        ("#".repeat(LONGEST + 1), "longer than 4194304 bytes"),
    ] {
        let error = parse("x", &text).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.contains(said), "{said}: {error}");
    }
}
