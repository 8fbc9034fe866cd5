use model::{NodeName, PublicKey, Topology};
use wire::local::{PeerStatus, TunnelStatus};

use super::layout::{Rect, layout};
use super::sites::State;
use super::*;

fn name(cluster: usize, node: usize) -> NodeName {
    NodeName::try_from(format!("{0}/{0}-{1}", CLUSTERS[cluster].0, node + 1)).unwrap()
}

const CLUSTERS: [(&str, &str); 5] = [
    ("aws", "eu-west-1"),
    ("azure", "westeurope"),
    ("gcp", "europe-west1"),
    ("hetzner", "fsn1"),
    ("office", ""),
];

fn topology(cluster: usize, node: usize) -> Topology {
    let region = CLUSTERS[cluster].1;
    let zone = if region.is_empty() {
        String::new()
    } else {
        format!("{region}{}", char::from(b'a' + (node % 3) as u8))
    };
    Topology { region: region.into(), zone, ..Topology::default() }
}

/// What every node of some clusters says; `dead` tunnels are those with that node.
fn sites(clusters: usize, nodes: usize, dead: Option<&str>) -> Vec<Site> {
    let all = || (0..clusters).flat_map(move |c| (0..nodes).map(move |n| (c, n)));
    let tunnel = |c: usize, (pc, pn): (usize, usize), alive| TunnelStatus {
        peer: name(pc, pn),
        peer_topology: topology(pc, pn),
        peer_location: CLUSTERS[pc].1.into(),
        public_key: PublicKey([0; 32]),
        endpoint: None,
        last_handshake_seconds: Some(60.0),
        rtt_ms: Some(if pc == c { 0.48 } else { 8.0 + 6.3 * (c + pc) as f64 }),
        rx_bytes: 0,
        tx_bytes: 0,
        alive,
        transport: Default::default(),
        path: Default::default(),
        relay: None,
        generation: None,
    };
    all()
        .map(|(c, n)| Site {
            name: name(c, n),
            topology: topology(c, n),
            location: CLUSTERS[c].1.into(),
            ready: true,
            tunnels: all()
                .filter(|peer| *peer != (c, n))
                .map(|(pc, pn)| {
                    let with_dead =
                        dead.is_some_and(|dead| [name(c, n), name(pc, pn)].iter().any(|n| n.node == dead));
                    tunnel(c, (pc, pn), !with_dead)
                })
                .collect(),
            peers: vec![],
        })
        .collect()
}

#[test]
fn both_ends_are_one_tunnel() {
    let graph = Graph::new(&sites(3, 2, None));
    assert_eq!((graph.locations.len(), graph.tunnels.len()), (3, 15));
    assert!(graph.locations.iter().all(|location| location.nodes.len() == 2));
    assert!(graph.tunnels.iter().all(|tunnel| tunnel.a < tunnel.b && tunnel.alive));
}

#[test]
fn one_agent_knows_the_others_places() {
    let mut one = sites(3, 2, Some("gcp-2"));
    one.truncate(1);
    let graph = Graph::new(&one);
    let states: Vec<_> = graph
        .locations
        .iter()
        .flat_map(|location| location.nodes.iter().map(|n| (location.title(), n.name.node.clone(), n.state)))
        .collect();
    let want = |title: &str, node: &str, state| (title.to_string(), node.to_string(), state);
    assert_eq!(
        states,
        [
            want("aws · eu-west-1", "aws-1", State::Ready),
            want("aws · eu-west-1", "aws-2", State::Reached),
            want("azure · westeurope", "azure-1", State::Reached),
            want("azure · westeurope", "azure-2", State::Reached),
            want("gcp · europe-west1", "gcp-1", State::Reached),
            want("gcp · europe-west1", "gcp-2", State::Dead),
        ]
    );
    assert_eq!(graph.tunnels.len(), 5);
}

#[test]
fn as_json() {
    let text = write(&Graph::new(&sites(2, 1, None)), Format::Json).unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        json,
        serde_json::json!({
            "locations": [
                {"cluster": "aws", "name": "eu-west-1", "nodes": [
                    {"name": "aws/aws-1", "region": "eu-west-1", "zone": "eu-west-1a", "state": "ready"}]},
                {"cluster": "azure", "name": "westeurope", "nodes": [
                    {"name": "azure/azure-1", "region": "westeurope", "zone": "westeuropea", "state": "ready"}]},
            ],
            "tunnels": [
                {"a": "aws/aws-1", "b": "azure/azure-1", "alive": true, "rttMs": 14.3, "lastHandshakeSeconds": 60.0,
                    "transport": "wireguard", "path": "direct"},
            ],
        })
    );
}

#[test]
fn as_dot() {
    let text = write(&Graph::new(&sites(2, 1, Some("azure-1"))), Format::Dot).unwrap();
    for line in [
        "graph causeway {",
        "    label=\"aws · eu-west-1\";",
        "    \"aws/aws-1\" [label=\"aws-1\\neu-west-1a\", color=\"#16a34a\"];",
        "  \"aws/aws-1\" -- \"azure/azure-1\" [label=\"14.3 ms\", color=\"#dc2626\", style=dashed];",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} is missing in\n{text}");
    }
    assert_eq!(text.matches('{').count(), text.matches('}').count());
}

#[test]
fn as_svg() {
    let svg = write(&Graph::new(&sites(3, 2, Some("gcp-1"))), Format::Svg).unwrap();
    for part in [
        ">6 nodes in 3 locations, 10 of 15 tunnels up<",
        ">aws · eu-west-1<",
        ">gcp-1<",
        ">20.6 ms, 2 down<",
        "<title>aws/aws-1 – gcp/gcp-1: down</title>",
    ] {
        assert!(svg.contains(part), "{part} is missing in\n{svg}");
    }
    assert_eq!(svg.matches("<path ").count(), 15);
}

/// A laptop with two tunnels, of which it uses one, and an office that is away.
fn with_peers(mut sites: Vec<Site>) -> Vec<Site> {
    let peer = |name: &str, last_handshake_seconds| PeerStatus {
        cluster: "aws".parse().unwrap(),
        name: name.into(),
        public_key: PublicKey([9; 32]),
        endpoint: None,
        last_handshake_seconds,
        rx_bytes: 0,
        tx_bytes: 0,
        allowed_ips: vec![],
    };
    sites[0].peers = vec![peer("alice", Some(12.0)), peer("office", None)];
    sites[1].peers = vec![peer("alice", Some(400.0))];
    sites
}

#[test]
fn peers_that_are_no_nodes() {
    let graph = Graph::new(&with_peers(sites(1, 2, None)));
    let json = serde_json::to_value(&graph).unwrap();
    assert_eq!(
        json["peers"],
        serde_json::json!([
            {"peer": "aws/alice", "node": "aws/aws-1", "alive": true, "lastHandshakeSeconds": 12.0},
            {"peer": "aws/alice", "node": "aws/aws-2", "alive": false, "lastHandshakeSeconds": 400.0},
            {"peer": "aws/office", "node": "aws/aws-1", "alive": false, "lastHandshakeSeconds": null},
        ])
    );
    let dot = write(&graph, Format::Dot).unwrap();
    for (line, times) in [
        ("  \"peer aws/alice\" [label=\"aws/alice\", shape=ellipse, style=filled, color=\"#0f766e\"];", 1),
        ("  \"peer aws/alice\" -- \"aws/aws-1\" [color=\"#0f766e\"];", 1),
        ("  \"peer aws/office\" -- \"aws/aws-1\" [color=\"#94a3b8\", style=dashed];", 1),
    ] {
        assert_eq!(dot.lines().filter(|its| *its == line).count(), times, "{line} in\n{dot}");
    }
    let svg = write(&graph, Format::Svg).unwrap();
    for part in [
        "1 of 1 tunnels up, 1 of 2 peers connected<",
        "<title>peer aws/alice: connected</title>",
        "<title>peer aws/office: not connected</title>",
        ">aws/office</text>",
        "<title>aws/alice – aws/aws-1</title>",
        "<title>aws/alice – aws/aws-2: not connected</title>",
    ] {
        assert_eq!(svg.matches(part).count(), 1, "{part} in\n{svg}");
    }
}

#[test]
fn names_cannot_break_out() {
    let mut sites = sites(1, 1, None);
    sites[0].topology.zone = "\"<&>\\".into();
    let graph = Graph::new(&sites);
    assert!(write(&graph, Format::Svg).unwrap().contains(">&quot;&lt;&amp;&gt;\\<"));
    assert!(write(&graph, Format::Dot).unwrap().contains("aws-1\\n\\\"<&>\\\\\""));
}

#[test]
fn nothing_overlaps_or_leaves_the_picture() {
    for (clusters, nodes) in [(0, 0), (1, 1), (1, 12), (2, 2), (3, 2), (4, 3), (5, 10)] {
        let mut sites = sites(clusters, nodes, None);
        if clusters * nodes > 1 {
            sites = with_peers(sites);
            for n in 1..nodes {
                let many = sites[0].peers.iter().cycle().take(3 * n).cloned().enumerate();
                let named = many.map(|(n, peer)| PeerStatus { name: format!("{}-{n}", peer.name), ..peer });
                sites[n].peers = named.collect();
            }
        }
        let graph = Graph::new(&sites);
        let layout = layout(&graph);
        let inside = |inner: &Rect, outer: &Rect| {
            inner.x >= outer.x
                && inner.y >= outer.y
                && inner.x + inner.width <= outer.x + outer.width
                && inner.y + inner.height <= outer.y + outer.height
        };
        let apart = |a: &Rect, b: &Rect| {
            a.x + a.width <= b.x || b.x + b.width <= a.x || a.y + a.height <= b.y || b.y + b.height <= a.y
        };
        let picture = Rect { x: 0.0, y: 0.0, width: layout.width, height: layout.height };
        let peers: Vec<&Rect> = layout.peers.values().collect();
        for (n, peer) in peers.iter().enumerate() {
            assert!(inside(peer, &picture), "{clusters}×{nodes}: {peer:?}");
            assert!(peers[n + 1..].iter().all(|other| apart(peer, other)), "{clusters}×{nodes}");
            assert!(layout.locations.iter().all(|other| apart(peer, other)), "{clusters}×{nodes}");
        }
        for (n, location) in layout.locations.iter().enumerate() {
            assert!(inside(location, &picture), "{clusters}×{nodes}: {location:?}");
            assert!(
                layout.locations[n + 1..].iter().all(|other| apart(location, other)),
                "{clusters}×{nodes}"
            );
            for (m, node) in layout.nodes[n].iter().enumerate() {
                assert!(inside(node, location), "{clusters}×{nodes}: {node:?} in {location:?}");
                assert!(
                    layout.nodes[n][m + 1..].iter().all(|other| apart(node, other)),
                    "{clusters}×{nodes}"
                );
            }
        }
    }
}
