use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const BACKEND: &str = "10.0.0.1:8080";
/// How often the agent looks.
const TICK: u64 = 250;

/// What is counted of backends, and what is made of it, in milliseconds since the start.
#[derive(Default)]
struct Case {
    outliers: Outliers,
    counts: BTreeMap<SocketAddr, Connects>,
    now: u64,
}

impl Case {
    /// More connects to a backend: so many answered, refused and not answered.
    fn count(&mut self, backend: &str, [established, refused, unanswered]: [u64; 3]) -> &mut Self {
        let counted = self.counts.entry(backend.parse().unwrap()).or_default();
        *counted = counted.each(Connects { established, refused, unanswered }, |a, b| a + b);
        self
    }

    /// Looks at what was counted. Returns how many were ejected or are back.
    fn look(&mut self) -> usize {
        self.now += TICK;
        let now = self.time();
        self.outliers.handle_counts(&self.counts, now, |_| BTreeSet::new()).len()
    }

    fn time(&self) -> Duration {
        Duration::from_millis(self.now)
    }

    fn is_out(&self, backend: &str) -> bool {
        self.outliers.ejected(self.time()).addresses().contains(&backend.parse().unwrap())
    }

    /// How many seconds go by, from now on, until the backend is back.
    fn out_for(&mut self, backend: &str) -> u64 {
        let begun = self.now;
        assert!(self.is_out(backend));
        while self.is_out(backend) {
            self.look();
        }
        (self.now - begun) / 1_000
    }
}

#[test]
fn what_ejects_and_what_does_not() {
    /// What is new at every look.
    type Looks = &'static [[u64; 3]];
    let cases: [(&str, Looks, bool); 9] = [
        ("three in a row", &[[0, 3, 0]], true),
        ("unanswered ones too", &[[0, 0, 1], [0, 1, 0], [0, 0, 1]], true),
        ("two", &[[0, 2, 0]], false),
        ("one answered between", &[[0, 2, 0], [1, 0, 0], [0, 2, 0]], false),
        ("half of ten", &[[2, 2, 0], [2, 2, 0], [1, 1, 0]], true),
        ("less than half", &[[6, 2, 0], [6, 2, 0], [6, 2, 0]], false),
        ("few of few", &[[1, 1, 0], [1, 1, 0], [1, 1, 0], [1, 1, 0]], false),
        ("nothing failed", &[[1_000, 0, 0], [1, 0, 0]], false),
        ("nothing new", &[[0, 2, 0], [0, 0, 0], [0, 0, 0], [0, 0, 0]], false),
    ];
    for (name, looks, want) in cases {
        let mut case = Case::default();
        for new in looks {
            case.count(BACKEND, *new).look();
        }
        assert_eq!(case.is_out(BACKEND), want, "{name}");
        assert_eq!(case.outliers.ejections(), u64::from(want), "{name}");
    }
}

#[test]
fn old_failures_count_for_nothing() {
    let mut case = Case::default();
    for _ in 0..20 {
        case.count(BACKEND, [1, 1, 0]).look();
        for _ in 0..12 {
            case.look();
        }
    }
    assert!(!case.is_out(BACKEND), "one in three seconds, and as many answered");
}

#[test]
fn it_comes_back_and_is_on_trial() {
    let mut case = Case::default();
    case.count(BACKEND, [0, 2, 1]);
    assert_eq!(case.look(), 1);
    let ejection = case.outliers.ejected(case.time());
    let said = format!("{:?}", ejection);
    assert!(said.contains("10.0.0.1:8080"), "{said}");
    for times in [1, 2, 3] {
        // What was under way fails too, and is not held against it.
        case.count(BACKEND, [0, 1, 1]).look();
        assert!((times * 10 - 1..=times * 10).contains(&case.out_for(BACKEND)), "{times}");
        case.look();
        assert!(!case.is_out(BACKEND), "what it did before is forgotten");
        assert_eq!(case.count(BACKEND, [0, 0, 1]).look(), 1, "one failure is enough now");
    }
    case.out_for(BACKEND);
    case.count(BACKEND, [3, 0, 0]).look();
    case.count(BACKEND, [0, 2, 0]).look();
    assert!(!case.is_out(BACKEND), "it has shown that it is well");
    case.count(BACKEND, [0, 1, 0]).look();
    assert!(case.out_for(BACKEND) >= 49, "it is the fifth time all the same");
    // Nobody fails for five minutes: all is forgotten.
    for _ in 0..CALM.as_millis() as u64 / TICK + 1 {
        case.look();
    }
    case.count(BACKEND, [0, 2, 0]).look();
    assert!(!case.is_out(BACKEND), "it is not on trial any more");
    case.count(BACKEND, [0, 1, 0]).look();
    assert!(case.out_for(BACKEND) <= 10);
}

#[test]
fn never_longer_than_five_minutes() {
    let mut case = Case::default();
    case.count(BACKEND, [0, 3, 0]).look();
    for _ in 0..40 {
        assert!(case.out_for(BACKEND) <= LONGEST.as_secs());
        case.count(BACKEND, [0, 1, 0]).look();
    }
}

#[test]
fn who_has_to_stay_and_answers_is_back_early() {
    let mut case = Case::default();
    case.count(BACKEND, [0, 3, 0]).look();
    // Under way when it was ejected.
    case.count(BACKEND, [3, 0, 0]).look();
    assert!(case.is_out(BACKEND));
    case.now += LATE.as_millis() as u64;
    case.count(BACKEND, [2, 0, 0]).look();
    assert!(case.is_out(BACKEND));
    assert_eq!(case.count(BACKEND, [1, 0, 0]).look(), 1);
    assert!(!case.is_out(BACKEND));
}

#[test]
fn nodes_that_do_not_answer_are_another_matter() {
    let mut case = Case::default();
    let other = "10.0.0.2:8080";
    case.count(BACKEND, [0, 0, 9]).count(other, [0, 0, 9]);
    let dead = |failing: &BTreeSet<SocketAddr>| {
        assert_eq!(failing.len(), 2);
        BTreeSet::from([BACKEND.parse().unwrap()])
    };
    case.outliers.handle_counts(&case.counts, Duration::ZERO, dead);
    assert!(!case.is_out(BACKEND) && case.is_out(other));
    case.look();
    assert!(!case.is_out(BACKEND), "what it did then is not new now");
}

#[test]
fn counts_that_begin_anew() {
    let mut case = Case::default();
    case.count(BACKEND, [9, 2, 0]).look();
    // The data path had no room for it, and counts it again.
    case.counts.clear();
    case.look();
    case.count(BACKEND, [0, 2, 0]).look();
    assert!(!case.is_out(BACKEND));
    case.counts.clear();
    case.count(BACKEND, [0, 1, 0]).look();
    assert!(case.is_out(BACKEND), "less than before is new");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens(looks in vec(vec([0..4_u64, 0..4_u64, 0..4_u64], 4), 1..120)) {
        let backends = ["10.0.0.1:80", "10.0.0.2:80", "[fd00::3]:80", "10.0.0.4:80"];
        let (mut case, mut again) = (Case::default(), Case::default());
        let mut since: BTreeMap<&str, u64> = BTreeMap::new();
        for look in &looks {
            for (n, (backend, [established, refused, unanswered])) in backends.iter().zip(look).enumerate() {
                // The first one is well.
                let new = if n == 0 { [*established, 0, 0] } else { [*established, *refused, *unanswered] };
                case.count(backend, new);
                again.count(backend, new);
            }
            prop_assert_eq!(case.look(), again.look());
            prop_assert_eq!(case.outliers.ejected(case.time()), again.outliers.ejected(again.time()));
            for backend in backends {
                if case.is_out(backend) {
                    let since = *since.entry(backend).or_insert(case.now);
                    prop_assert!(case.now - since <= LONGEST.as_millis() as u64, "it always comes back");
                } else {
                    since.remove(backend);
                }
            }
            prop_assert!(!case.is_out(backends[0]), "who fails nobody is never ejected");
        }
    }
}
