//! What Kubernetes' suite for NetworkPolicy shows, in 48 situations.

use model::Protocol::{self, Sctp, Tcp, Udp};
use model::policy::{PolicyKind::NetworkPolicy, Selector};

use super::{
    Change, Situation, accept, block, called, deleted, none_of, np, on, on80, on81, once, one_of, pods_in,
    pods_of, port, step, tcp, with,
};

/// Nobody is denied.
const ALL: &[(&str, &str, bool)] = &[];
const NO: bool = false;
const YES: bool = true;

/// All 48.
pub fn network_policy() -> Vec<Situation> {
    let mut all = Vec::new();
    all.extend(by_selector());
    all.extend(by_port());
    all.extend(over_time());
    all.extend(outwards());
    all.extend(by_address());
    all.extend(by_protocol());
    all
}

fn all_pods() -> Selector {
    Selector::default()
}

fn a() -> Selector {
    with(&[("pod", "a")])
}

fn by_selector() -> Vec<Situation> {
    let ns = |name| with(&[("ns", name)]);
    let pod = |name| with(&[("pod", name)]);
    let metadata = "kubernetes.io/metadata.name";
    let to_a = |name, peers| np("x", name, a(), vec![accept(Some(peers), None)], None);
    let from_y: &[(&str, &str, bool)] = &[("*", "x/a", NO), ("y/*", "x/a", YES)];
    let not_x: &[(&str, &str, bool)] = &[("x/*", "x/a", NO)];
    vec![
        once(
            "a policy without rules for ingress denies it",
            vec![np("x", "deny", all_pods(), vec![], None)],
            vec![on80(&[("*", "x/*", NO)])],
        ),
        once(
            "one without rules for both denies both",
            vec![np("x", "deny", all_pods(), vec![], vec![])],
            vec![on80(&[("*", "x/*", NO), ("x/*", "*", NO)])],
        ),
        once(
            "pods of the own namespace, by label",
            vec![to_a("p", vec![pods_of("x", pod("b"))])],
            vec![on80(&[("*", "x/a", NO), ("x/b", "x/a", YES)])],
        ),
        once(
            "a target is accepted where its namespace is denied",
            vec![
                np("x", "deny", all_pods(), vec![], None),
                np("x", "p", a(), vec![accept(None, None)], None),
            ],
            vec![on80(&[("*", "x/*", NO), ("*", "x/a", YES)])],
        ),
        once(
            "pods of every namespace",
            vec![
                np("x", "deny", all_pods(), vec![], None),
                to_a("p", vec![pods_in(Selector::default(), Selector::default())]),
            ],
            vec![on80(&[("*", "x/*", NO), ("*", "x/a", YES)])],
        ),
        once(
            "another namespace alone, by label",
            vec![to_a("p", vec![pods_in(ns("y"), Selector::default())])],
            vec![on80(from_y)],
        ),
        once(
            "pods by one of some values",
            vec![to_a("p", vec![pods_of("x", one_of("pod", &["b"]))])],
            vec![on80(&[("*", "x/a", NO), ("x/b", "x/a", YES)])],
        ),
        once(
            "namespaces without a value",
            vec![to_a("p", vec![pods_in(none_of("ns", &["x"]), Selector::default())])],
            vec![on80(not_x)],
        ),
        once(
            "pods or namespaces",
            vec![to_a("p", vec![pods_in(ns("y"), Selector::default()), pods_of("x", pod("b"))])],
            vec![on80(&[("*", "x/a", NO), ("y/*", "x/a", YES), ("x/b", "x/a", YES)])],
        ),
        once(
            "pods and namespaces",
            vec![to_a("p", vec![pods_in(ns("y"), pod("b"))])],
            vec![on80(&[("*", "x/a", NO), ("y/b", "x/a", YES)])],
        ),
        once(
            "several of both",
            vec![to_a("p", vec![pods_in(none_of("ns", &["x"]), one_of("pod", &["b", "c"]))])],
            vec![on80(&[
                ("*", "x/a", NO),
                ("y/b", "x/a", YES),
                ("y/c", "x/a", YES),
                ("z/b", "x/a", YES),
                ("z/c", "x/a", YES),
            ])],
        ),
        once(
            "any of two selectors of pods",
            vec![to_a("p", vec![pods_of("x", pod("b")), pods_of("x", pod("c"))])],
            vec![on80(&[("*", "x/a", NO), ("x/b", "x/a", YES), ("x/c", "x/a", YES)])],
        ),
        only_one(Tcp),
        once(
            "a namespace by the label that each has",
            vec![to_a("p", vec![pods_in(with(&[(metadata, "y")]), Selector::default())])],
            vec![on80(from_y)],
        ),
        once(
            "namespaces without that label's value",
            vec![to_a("p", vec![pods_in(none_of(metadata, &["x"]), Selector::default())])],
            vec![on80(not_x)],
        ),
        once(
            "all other namespaces are denied",
            vec![np("x", "p", all_pods(), vec![accept(Some(vec![pods_of("x", all_pods())]), None)], None)],
            vec![on80(&[("y/*", "x/*", NO), ("z/*", "x/*", NO)])],
        ),
    ]
}

fn only_one(protocol: Protocol) -> Situation {
    let name = match protocol {
        Tcp => "one pod of another namespace",
        Udp => "one pod of another namespace, by UDP",
        Sctp => "one pod of another namespace, by SCTP",
    };
    let peer = pods_in(with(&[("ns", "y")]), a());
    let rules = vec![accept(Some(vec![peer]), None)];
    let expected = &[("*", "x/a", NO), ("y/a", "x/a", YES)];
    once(name, vec![np("x", "p", a(), rules, None)], vec![on(protocol, 80, expected)])
}

fn by_number(protocol: Protocol) -> Situation {
    let name = match protocol {
        Tcp => "a port",
        Udp => "a port of UDP",
        Sctp => "a port of SCTP",
    };
    let peer = pods_in(with(&[("ns", "y")]), Selector::default());
    let rules = vec![accept(Some(vec![peer]), Some(vec![port(protocol, 81)]))];
    let probes = vec![
        on(protocol, 80, &[("*", "x/a", NO)]),
        on(protocol, 81, &[("*", "x/a", NO), ("y/*", "x/a", YES)]),
    ];
    once(name, vec![np("x", "p", a(), rules, None)], probes)
}

fn by_port() -> Vec<Situation> {
    let y = || pods_in(with(&[("ns", "y")]), Selector::default());
    vec![
        by_number(Tcp),
        once(
            "policies about the same pods add up",
            vec![
                np("x", "p", a(), vec![accept(Some(vec![y()]), Some(vec![tcp(80)]))], None),
                np("x", "q", all_pods(), vec![accept(Some(vec![y()]), Some(vec![tcp(81)]))], None),
            ],
            vec![
                on80(&[("*", "x/*", NO), ("y/*", "x/a", YES)]),
                on81(&[("*", "x/*", NO), ("y/*", "x/*", YES)]),
            ],
        ),
        once(
            "a rule without anything accepts all",
            vec![np("x", "p", all_pods(), vec![accept(None, None)], None)],
            vec![on80(ALL), on81(ALL)],
        ),
        once(
            "a port by its name",
            vec![np("x", "p", all_pods(), vec![accept(None, Some(vec![called("serve-80")]))], None)],
            vec![on80(ALL), on81(&[("*", "x/*", NO)])],
        ),
        once(
            "a port by its name, from one namespace",
            vec![np(
                "x",
                "p",
                all_pods(),
                vec![accept(Some(vec![y()]), Some(vec![called("serve-80")]))],
                None,
            )],
            vec![on80(&[("*", "x/*", NO), ("y/*", "x/*", YES)]), on81(&[("*", "x/*", NO)])],
        ),
        once(
            "a port by its name, outwards",
            vec![np("x", "p", all_pods(), None, vec![accept(None, Some(vec![called("serve-80")]))])],
            vec![on80(ALL), on81(&[("x/*", "*", NO)])],
        ),
        once(
            "any port of a protocol",
            vec![np(
                "x",
                "p",
                a(),
                vec![accept(
                    Some(vec![pods_of("x", all_pods())]),
                    Some(vec![model::policy::PolicyPort::Ports { protocol: Tcp, first: 0, last: 65535 }]),
                )],
                None,
            )],
            vec![
                on80(&[("y/*", "x/a", NO), ("z/*", "x/a", NO)]),
                on81(&[("y/*", "x/a", NO), ("z/*", "x/a", NO)]),
                on(Udp, 80, &[("*", "x/a", NO)]),
            ],
        ),
    ]
}

fn over_time() -> Vec<Situation> {
    let to_a = |peers| np("x", "p", a(), vec![accept(Some(peers), None)], None);
    vec![
        Situation {
            name: "a policy that is changed",
            steps: vec![
                step(vec![np("x", "p", all_pods(), vec![accept(None, None)], None)], vec![on81(ALL)]),
                step(
                    vec![np("x", "p", all_pods(), vec![accept(None, Some(vec![tcp(80)]))], None)],
                    vec![on80(ALL), on81(&[("*", "x/*", NO)])],
                ),
            ],
        },
        Situation {
            name: "a namespace that gets a label is accepted",
            steps: vec![
                step(
                    vec![to_a(vec![pods_in(with(&[("ns2", "updated")]), Selector::default())])],
                    vec![on80(&[("*", "x/a", NO)])],
                ),
                step(
                    vec![Change::LabelNamespace("y", "ns2", "updated")],
                    vec![on80(&[("*", "x/a", NO), ("y/*", "x/a", YES)])],
                ),
            ],
        },
        Situation {
            name: "a pod that gets a label is accepted",
            steps: vec![
                step(
                    vec![to_a(vec![pods_of("x", with(&[("pod", "b"), ("pod2", "updated")]))])],
                    vec![on80(&[("*", "x/a", NO)])],
                ),
                step(
                    vec![Change::LabelPod("x/b", "pod2", "updated")],
                    vec![on80(&[("*", "x/a", NO), ("x/b", "x/a", YES)])],
                ),
            ],
        },
        Situation {
            name: "a pod that gets a label is isolated",
            steps: vec![
                step(vec![np("x", "p", with(&[("target", "isolated")]), vec![], None)], vec![on80(ALL)]),
                step(vec![Change::LabelPod("x/a", "target", "isolated")], vec![on80(&[("*", "x/a", NO)])]),
            ],
        },
        Situation {
            name: "a policy that is deleted holds no more",
            steps: vec![
                step(
                    vec![np("x", "p", all_pods(), vec![], vec![])],
                    vec![on80(&[("*", "x/*", NO), ("x/*", "*", NO)])],
                ),
                step(vec![deleted(NetworkPolicy, "x", "p")], vec![on80(ALL)]),
            ],
        },
        Situation {
            name: "of several policies one that accepts all is enough",
            steps: vec![
                step(
                    vec![np("x", "p", all_pods(), vec![accept(None, Some(vec![tcp(80)]))], None)],
                    vec![on80(ALL), on81(&[("*", "x/*", NO)])],
                ),
                step(
                    vec![np("x", "q", all_pods(), vec![accept(None, None)], None)],
                    vec![on80(ALL), on81(ALL)],
                ),
            ],
        },
        Situation {
            name: "outwards, too",
            steps: vec![
                step(
                    vec![np("x", "p", all_pods(), None, vec![accept(None, Some(vec![tcp(80)]))])],
                    vec![on80(ALL), on81(&[("x/*", "*", NO)])],
                ),
                step(
                    vec![np("x", "q", all_pods(), None, vec![accept(None, None)])],
                    vec![on80(ALL), on81(ALL)],
                ),
            ],
        },
    ]
}

fn outwards() -> Vec<Situation> {
    vec![
        once(
            "one pod may begin nothing",
            vec![np("x", "p", a(), None, vec![])],
            vec![on80(&[("x/a", "*", NO)])],
        ),
        once(
            "no pod of a namespace may",
            vec![np("x", "p", all_pods(), None, vec![])],
            vec![on80(&[("x/*", "*", NO)])],
        ),
        once(
            "both directions of one policy",
            vec![np(
                "x",
                "p",
                a(),
                vec![accept(Some(vec![pods_in(with(&[("ns", "y")]), Selector::default())]), None)],
                vec![accept(None, Some(vec![tcp(80)]))],
            )],
            vec![
                on80(&[("*", "x/a", NO), ("y/*", "x/a", YES)]),
                on81(&[("*", "x/a", NO), ("y/*", "x/a", YES), ("x/a", "*", NO)]),
            ],
        ),
        once(
            "what the server accepts the client may still be denied",
            vec![
                np("x", "client", a(), None, vec![accept(Some(vec![pods_of("x", all_pods())]), None)]),
                np("y", "server", a(), vec![accept(None, None)], None),
            ],
            vec![on80(&[("x/a", "y/*", NO), ("x/a", "z/*", NO)])],
        ),
        once(
            "outwards to pods and namespaces",
            vec![np("x", "p", a(), None, vec![accept(Some(vec![pods_in(with(&[("ns", "y")]), a())]), None)])],
            vec![on80(&[("x/a", "*", NO), ("x/a", "y/a", YES)])],
        ),
        Situation {
            name: "the two directions are independent",
            steps: vec![
                step(
                    vec![np(
                        "x",
                        "in",
                        a(),
                        vec![accept(Some(vec![pods_of("x", with(&[("pod", "b")]))]), None)],
                        None,
                    )],
                    vec![on80(&[("*", "x/a", NO), ("x/b", "x/a", YES)])],
                ),
                step(
                    vec![np(
                        "x",
                        "out",
                        a(),
                        None,
                        vec![accept(Some(vec![pods_of("x", with(&[("pod", "b")]))]), None)],
                    )],
                    vec![on80(&[
                        ("*", "x/a", NO),
                        ("x/b", "x/a", YES),
                        ("x/a", "*", NO),
                        ("x/a", "x/b", YES),
                    ])],
                ),
            ],
        },
    ]
}

fn by_address() -> Vec<Situation> {
    let out = |name, peer| np("x", name, a(), None, vec![accept(Some(vec![peer]), None)]);
    vec![
        once(
            "outwards to a range of addresses",
            vec![out("p", block("10.1.0.22/32", &[]))],
            vec![on80(&[("x/a", "*", NO), ("x/a", "y/b", YES)])],
        ),
        once(
            "but for an exception",
            vec![out("p", block("10.1.0.0/24", &["10.1.0.22/32"]))],
            vec![on80(&[("x/a", "y/b", NO)])],
        ),
        Situation {
            name: "what one policy excepts another may accept",
            steps: vec![
                step(
                    vec![out("p", block("10.1.0.0/24", &["10.1.0.22/32"]))],
                    vec![on80(&[("x/a", "y/b", NO)])],
                ),
                step(vec![out("q", block("10.1.0.22/32", &[]))], vec![on80(ALL)]),
            ],
        },
    ]
}

fn by_protocol() -> Vec<Situation> {
    let ports = |protocol, number| vec![accept(None, Some(vec![port(protocol, number)]))];
    let denied = |protocol, name| {
        once(
            name,
            vec![np("x", "deny", all_pods(), vec![], None)],
            vec![on(protocol, 80, &[("*", "x/*", NO)])],
        )
    };
    vec![
        once(
            "what accepts SCTP does not accept TCP",
            vec![np("x", "p", a(), ports(Sctp, 81), None)],
            vec![on81(&[("*", "x/a", NO)])],
        ),
        once(
            "what accepts SCTP isolates",
            vec![np("x", "p", a(), ports(Sctp, 80), None)],
            vec![on80(&[("*", "x/a", NO)]), on(Sctp, 80, ALL)],
        ),
        once(
            "what accepts UDP does not accept TCP",
            vec![np("x", "p", a(), ports(Udp, 81), None)],
            vec![on81(&[("*", "x/a", NO)]), on(Udp, 81, ALL)],
        ),
        denied(Udp, "UDP is denied as TCP is"),
        by_number(Udp),
        only_one(Udp),
        denied(Sctp, "SCTP is denied as TCP is"),
        by_number(Sctp),
        only_one(Sctp),
    ]
}
