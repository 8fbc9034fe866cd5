//! What the suite of the network-policy-api shows of ClusterNetworkPolicy, in a choice of situations.

use model::Protocol::{Sctp, Tcp, Udp};
use model::policy::PolicyAction::{Accept, Deny, Pass};
use model::policy::PolicyKind::ClusterNetworkPolicy;
use model::policy::PolicyTier::{Admin, Baseline};
use model::policy::{PolicyPeer, PolicyPort, Selector};

use super::{
    Situation, accept, block, called, cnp, deleted, np, on, on80, on81, once, pods_in, rule, step, tcp, with,
};

const NO: bool = false;
const YES: bool = true;

fn from(namespace: &str) -> Vec<PolicyPeer> {
    vec![pods_in(with(&[("ns", namespace)]), Selector::default())]
}

fn all() -> Vec<PolicyPeer> {
    vec![pods_in(Selector::default(), Selector::default())]
}

/// Each shows one thing.
pub fn cluster_network_policy() -> Vec<Situation> {
    let mut found = tiers();
    found.extend(peers());
    found
}

fn tiers() -> Vec<Situation> {
    let admin = Admin { priority: 50 };
    let baseline = Baseline { priority: 50 };
    let deny_all = || np("x", "deny", Selector::default(), vec![], None);
    let allow_all = || np("x", "allow", Selector::default(), vec![accept(None, None)], None);
    vec![
        once(
            "the admin tier denies a namespace",
            vec![cnp("p", admin, "x", vec![rule(Deny, from("y"), None)], None)],
            vec![on80(&[("y/*", "x/*", NO)])],
        ),
        once(
            "the admin tier accepts before a NetworkPolicy denies",
            vec![cnp("p", admin, "x", vec![rule(Accept, from("y"), None)], None), deny_all()],
            vec![on80(&[("*", "x/*", NO), ("y/*", "x/*", YES)])],
        ),
        once(
            "the admin tier denies before a NetworkPolicy accepts",
            vec![cnp("p", admin, "x", vec![rule(Deny, from("y"), None)], None), allow_all()],
            vec![on80(&[("y/*", "x/*", NO)])],
        ),
        Situation {
            name: "what the admin tier passes on a NetworkPolicy decides, without one the baseline tier",
            steps: vec![
                step(
                    vec![cnp(
                        "p",
                        admin,
                        "x",
                        vec![rule(Pass, from("y"), None), rule(Accept, all(), None)],
                        None,
                    )],
                    vec![on80(&[])],
                ),
                step(
                    vec![cnp("base", baseline, "x", vec![rule(Deny, all(), None)], None)],
                    vec![on80(&[("y/*", "x/*", NO)])],
                ),
                step(vec![allow_all()], vec![on80(&[])]),
            ],
        },
        Situation {
            name: "of two in a tier the lower number of priority comes first",
            steps: vec![
                step(
                    vec![
                        cnp("late", Admin { priority: 20 }, "x", vec![rule(Accept, from("y"), None)], None),
                        cnp("early", Admin { priority: 10 }, "x", vec![rule(Deny, from("y"), None)], None),
                    ],
                    vec![on80(&[("y/*", "x/*", NO)])],
                ),
                step(
                    vec![cnp("late", Admin { priority: 5 }, "x", vec![rule(Accept, from("y"), None)], None)],
                    vec![on80(&[])],
                ),
            ],
        },
        once(
            "of two rules the first comes first",
            vec![cnp(
                "p",
                admin,
                "x",
                vec![rule(Accept, from("y"), vec![tcp(80)]), rule(Deny, from("y"), None)],
                None,
            )],
            vec![on80(&[]), on81(&[("y/*", "x/*", NO)])],
        ),
        Situation {
            name: "the baseline tier denies until a NetworkPolicy isolates",
            steps: vec![
                step(
                    vec![cnp("p", baseline, "x", vec![rule(Deny, all(), None)], None)],
                    vec![on80(&[("*", "x/*", NO)])],
                ),
                step(
                    vec![np("x", "q", with(&[("pod", "a")]), vec![accept(Some(from("z")), None)], None)],
                    vec![on80(&[("*", "x/*", NO), ("z/*", "x/a", YES)])],
                ),
            ],
        },
        Situation {
            name: "the baseline tier's accept comes before its deny, its pass is an accept",
            steps: vec![
                step(
                    vec![cnp(
                        "p",
                        baseline,
                        "x",
                        vec![
                            rule(Accept, from("y"), None),
                            rule(Pass, from("z"), vec![tcp(80)]),
                            rule(Deny, all(), None),
                        ],
                        None,
                    )],
                    vec![on80(&[("x/*", "x/*", NO)]), on81(&[("x/*", "x/*", NO), ("z/*", "x/*", NO)])],
                ),
                step(vec![deleted(ClusterNetworkPolicy, "", "p")], vec![on81(&[])]),
            ],
        },
        once(
            "no policy of these tiers isolates",
            vec![cnp("p", admin, "x", vec![rule(Accept, from("y"), None)], None)],
            vec![on80(&[])],
        ),
        once(
            "what is accepted at one end may be denied at the other",
            vec![
                cnp("in", admin, "x", vec![rule(Accept, from("y"), None)], None),
                cnp("out", admin, "y", None, vec![rule(Deny, from("x"), None)]),
            ],
            vec![on80(&[("y/*", "x/*", NO)])],
        ),
    ]
}

fn peers() -> Vec<Situation> {
    let admin = Admin { priority: 1 };
    let span = |first, last| PolicyPort::Ports { protocol: Tcp, first, last };
    vec![
        once(
            "protocols are told apart",
            vec![cnp(
                "p",
                admin,
                "x",
                vec![
                    rule(Deny, from("y"), vec![super::port(Udp, 80)]),
                    rule(Deny, from("z"), vec![super::port(Sctp, 80)]),
                ],
                None,
            )],
            vec![
                on80(&[]),
                on(Udp, 80, &[("y/*", "x/*", NO)]),
                on(Sctp, 80, &[("z/*", "x/*", NO)]),
                on(Udp, 81, &[]),
            ],
        ),
        once(
            "a span of ports",
            vec![cnp("p", admin, "x", vec![rule(Deny, from("y"), vec![span(81, 8080)])], None)],
            vec![on80(&[]), on81(&[("y/*", "x/*", NO)])],
        ),
        once(
            "a named port, outwards",
            vec![cnp("p", admin, "x", None, vec![rule(Deny, from("y"), vec![called("serve-81")])])],
            vec![on80(&[]), on81(&[("x/*", "y/*", NO)])],
        ),
        once(
            "pods of a namespace, outwards",
            vec![cnp(
                "p",
                admin,
                "x",
                None,
                vec![rule(Deny, vec![pods_in(with(&[("ns", "y")]), with(&[("pod", "b")]))], None)],
            )],
            vec![on80(&[("x/*", "y/b", NO)])],
        ),
        once(
            "ranges of addresses are about pods, too",
            vec![cnp(
                "p",
                admin,
                "x",
                None,
                vec![
                    rule(Accept, vec![block("10.1.0.22/32", &[])], None),
                    rule(Deny, vec![block("10.1.0.16/28", &[])], None),
                ],
            )],
            vec![on80(&[("x/*", "y/a", NO), ("x/*", "y/c", NO), ("x/*", "z/a", NO)])],
        ),
        once(
            "a range of everything in the baseline tier",
            vec![cnp(
                "p",
                Baseline { priority: 0 },
                "x",
                None,
                vec![rule(Accept, from("y"), None), rule(Deny, vec![block("0.0.0.0/0", &[])], None)],
            )],
            vec![on80(&[("x/*", "x/*", NO), ("x/*", "z/*", NO)])],
        ),
        once(
            "nodes are no pods",
            vec![cnp(
                "p",
                admin,
                "x",
                None,
                vec![rule(Deny, vec![PolicyPeer::Nodes(Selector::default())], None)],
            )],
            vec![on80(&[])],
        ),
    ]
}
