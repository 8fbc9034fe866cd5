//! Peers that are no nodes: what leaves the cluster of them, and what another cluster may say.

use model::{Gateways, Peer, PeerEndpoint, PeerHost, PeerName, PresharedKey, PublicKey};

use super::*;

fn net(text: &str) -> ipnet::IpNet {
    text.parse().unwrap()
}

fn client(of: &str, key: u8, allowed: &[&str]) -> Peer {
    Peer {
        name: PeerName::new(name(of), "alice").unwrap(),
        public_key: PublicKey([key; 32]),
        allowed_ips: allowed.iter().map(|range| net(range)).collect(),
        endpoint: Some(PeerEndpoint {
            host: PeerHost::dns("vpn.example.com").unwrap(),
            port: model::Port::new(1).unwrap(),
        }),
        keepalive: 25,
        preshared_key: Some(PresharedKey([7; 32])),
        gateways: Gateways::All,
        allow: Default::default(),
        expires: None,
        labels: Default::default(),
    }
}

#[test]
fn what_leaves_the_cluster() {
    let mut teller = Teller::new(name("aws"), 7, Limits::default());
    teller
        .apply(Change::Upsert(Object::Cluster(Cluster { peer_cidrs: vec![net("10.254.1.0/24")], ..aws() })));
    let hear = |teller: &Teller, audience| {
        let mut receiver = Receiver::new(audience);
        receiver.drain(teller);
        receiver.world.peers.into_values().collect::<Vec<_>>()
    };
    let peer = client("aws", 1, &["10.254.1.1/32", "192.168.77.0/24"]);
    teller.apply(Change::Upsert(Object::Peer(peer.clone())));
    assert_eq!(
        hear(&teller, Audience::Agents),
        std::slice::from_ref(&peer),
        "the own agents hear of everything"
    );
    let abroad =
        Peer { allowed_ips: vec![net("10.254.1.1/32")], endpoint: None, preshared_key: None, ..peer.clone() };
    assert_eq!(
        hear(&teller, Audience::Peers),
        [abroad],
        "no secret, and no address that is not the cluster's to give"
    );
    let private = Peer { allowed_ips: vec![net("192.168.77.0/24")], ..peer };
    teller.apply(Change::Upsert(Object::Peer(private)));
    assert_eq!(hear(&teller, Audience::Peers), []);
}

#[test]
fn what_another_cluster_may_say() {
    let bounds = Bounds::new(Cluster { peer_cidrs: vec![net("10.254.2.0/24"), net("10.1.0.0/16")], ..gcp() });
    let own = [Cluster { peer_cidrs: vec![net("10.254.2.128/25")], ..aws() }];
    let taken = |key: &PublicKey| (key.0[0] == 9).then(|| NodeName::new(name("aws"), "n1").unwrap());
    let around = Around { clusters: &own, key_of: Some(&taken) };
    for (peer, reason) in [
        (client("gcp", 1, &["10.254.2.1/32"]), None),
        (client("aws", 1, &["10.254.2.1/32"]), Some(Reason::ForeignCluster)),
        (client("gcp", 9, &["10.254.2.1/32"]), Some(Reason::ForeignKey)),
        (client("gcp", 1, &["10.254.2.1/32", "8.8.8.8/32"]), Some(Reason::OutsideCidrs)),
        (client("gcp", 1, &["0.0.0.0/0"]), Some(Reason::OutsideCidrs)),
        (client("gcp", 1, &["10.1.0.7/32"]), Some(Reason::CidrOverlap)),
        (client("gcp", 1, &["10.254.2.129/32"]), Some(Reason::CidrOverlap)),
    ] {
        let said = bounds.check(&Object::Peer(peer.clone()), &around);
        assert_eq!(said.err().map(|refusal| refusal.reason), reason, "{peer:?}");
    }
}
