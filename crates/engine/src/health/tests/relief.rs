use super::*;
use crate::testing::node_name;

/// A node that reaches twelve others over the gateways `g` and `h`, by whatever it has relieved them of.
struct Scene {
    relief: Relief,
    now: Duration,
    /// Whether everything goes by one of them, as from inside of its location.
    own: bool,
    /// What has happened, and when: `g Half`.
    said: Vec<(u64, String)>,
}

impl Scene {
    fn new(own: bool) -> Self {
        Self { relief: Relief::default(), now: Duration::from_secs(1_000), own, said: Vec::new() }
    }

    fn via(&self) -> BTreeMap<NodeName, NodeName> {
        let [g, h] = ["a/g", "a/h"].map(node_name);
        let hop = |n: u8| {
            let relieved = |name| self.relief.relieved().get(name);
            let (first, second) = if self.own || n.is_multiple_of(2) { (&g, &h) } else { (&h, &g) };
            let leaves = match relieved(first) {
                Some(Share::All) => true,
                Some(Share::Half) => self.own || n % 4 < 2,
                None => false,
            };
            if leaves { second.clone() } else { first.clone() }
        };
        let behind = (0..12).map(|n| (node_name(&format!("b/{n}")), hop(n)));
        behind.chain([(g.clone(), g.clone()), (h.clone(), h.clone())]).collect()
    }

    /// So many seconds, in each of which every node is asked twice; this share of the answers is bad by each.
    fn go(&mut self, seconds: u64, bad: [f64; 2]) {
        let groups = [("a/g", 7), ("a/h", 7)].map(|(name, group)| (node_name(name), group)).into();
        for _ in 0..seconds {
            self.now += Duration::from_secs(1);
            let via = self.via();
            let answer = |(n, (name, hop)): (usize, (&NodeName, &NodeName))| {
                let share = bad[usize::from(hop.node == "h")];
                let turn = self.now.as_secs() * 14 + n as u64;
                // Evenly spread.
                let bad = [2 * turn, 2 * turn + 1]
                    .map(|k| u32::from(((k + 1) as f64 * share).floor() > (k as f64 * share).floor()));
                (name.clone(), Answers { asked: 2, bad: bad.iter().sum() })
            };
            let answers = via.iter().enumerate().map(answer).collect();
            let before = self.relief.relieved().clone();
            assert!(self.relief.is_due(self.now));
            let changed = self.relief.follow(&via, &groups, &answers, self.now);
            assert_eq!(changed, before != *self.relief.relieved());
            if changed {
                let now =
                    self.relief.relieved().iter().map(|(name, share)| format!("{} {share:?}", name.node));
                self.said.push((self.now.as_secs() - 1_000, now.collect::<Vec<_>>().join(" ")));
            }
        }
    }

    fn what(&self) -> Vec<&str> {
        self.said.iter().map(|(_, what)| &**what).collect()
    }
}

#[test]
fn one_that_loses_packets_is_relieved_in_steps_and_gets_back_what_it_had() {
    let mut scene = Scene::new(false);
    scene.go(60, [0.0, 0.0]);
    assert_eq!(scene.what(), [""; 0]);
    scene.go(12, [0.3, 0.0]);
    assert_eq!(scene.what(), ["g Half", "g All"], "{:?}", scene.said);
    assert!(scene.said[0].0 <= 65, "{:?}", scene.said);
    scene.go(150, [0.0, 0.0]);
    assert_eq!(scene.what()[2..], ["g Half", ""], "{:?}", scene.said);
    // Every time for longer.
    scene.go(2_000, [0.3, 0.0]);
    let all: Vec<u64> = scene.said.iter().filter(|(_, what)| what == "g All").map(|(at, _)| *at).collect();
    let pauses: Vec<u64> = all.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(pauses[1..].windows(2).all(|pair| pair[0] < pair[1]) && pauses.len() > 3, "{pauses:?}");
}

#[test]
fn from_inside_the_other_is_tried() {
    let mut scene = Scene::new(true);
    scene.go(30, [0.0, 0.0]);
    scene.go(25, [0.3, 0.0]);
    assert_eq!(scene.what(), ["g Half"], "it does better: {:?}", scene.said);
}

#[test]
fn where_others_do_no_better_nothing_stays_moved() {
    let mut scene = Scene::new(false);
    scene.go(300, [0.3, 0.25]);
    assert_eq!(scene.what(), [""; 0]);
    // From inside it takes a trial to know.
    let mut scene = Scene::new(true);
    scene.go(300, [0.3, 0.3]);
    assert_eq!(scene.what()[..2], ["g Half", ""], "{:?}", scene.said);
    let (since, back) = (scene.said[0].0, scene.said[1].0);
    assert!(back - since <= TRIAL.as_secs() + 5, "{:?}", scene.said);
    assert!(scene.said.len() <= 8, "and is not tried all the time: {:?}", scene.said);
}

#[test]
fn a_node_that_is_bad_by_itself_is_not_its_gateways_fault() {
    let hops =
        [("b/1", "a/g"), ("b/2", "a/g"), ("b/3", "a/g"), ("b/4", "a/h"), ("a/g", "a/g"), ("a/h", "a/h")];
    let via = hops.map(|(node, hop)| (node_name(node), node_name(hop))).into();
    let groups = [("a/g", 1), ("a/h", 1)].map(|(name, group)| (node_name(name), group)).into();
    let mut relief = Relief::default();
    for second in 1..60 {
        let answers = [("b/1", 3), ("b/2", 0), ("b/3", 0), ("b/4", 0)];
        let answers = answers.map(|(name, bad)| (node_name(name), Answers { asked: 4, bad })).into();
        assert!(!relief.follow(&via, &groups, &answers, Duration::from_secs(second)));
    }
}

#[test]
fn a_few_losses_are_nothing() {
    let mut scene = Scene::new(false);
    scene.go(600, [0.05, 0.0]);
    assert_eq!(scene.what(), [""; 0]);
}

#[test]
fn one_alone_keeps_what_it_has() {
    let via = [("b/1", "a/g"), ("a/g", "a/g")].map(|(node, hop)| (node_name(node), node_name(hop))).into();
    let mut relief = Relief::default();
    for second in 1..60 {
        let answers = [(node_name("b/1"), Answers { asked: 4, bad: 2 })].into();
        assert!(!relief.follow(&via, &BTreeMap::new(), &answers, Duration::from_secs(second)));
        assert!(!relief.follow(&via, &[(node_name("a/g"), 1)].into(), &answers, Duration::from_secs(second)));
    }
}
