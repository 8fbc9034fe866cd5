use super::*;

/// Endpoints written `number:zone` with flags after a slash: `L` on the client's node, `u` not ready, `s` serving, `t`
/// terminating, `h` with a hint for the client's node, `H` with one for another. A zone of several letters is as many
/// hints; `-` is none.
fn endpoints(written: &str, zone: &str) -> Vec<(char, Seen)> {
    let one = |word: &str| {
        let (word, flags) = word.split_once('/').unwrap_or((word, ""));
        let (number, zones) = word.split_once(':').unwrap_or((word, "-"));
        let has = |flag| flags.contains(flag);
        let seen = Seen {
            ready: !has('u'),
            serving: !has('u') || has('s'),
            terminating: has('t'),
            local: has('L'),
            own: !has('X'),
            zone: (zones != "-").then(|| !zone.is_empty() && zones.contains(zone)),
            node: (has('h') || has('H')).then(|| has('h')),
        };
        (number.chars().next().unwrap(), seen)
    };
    written.split_whitespace().map(one).collect()
}

/// Who takes connections, by number; `-` is nobody.
fn chosen(reach: Reach, endpoints: &[(char, Seen)]) -> String {
    let seen: Vec<Seen> = endpoints.iter().map(|(_, seen)| *seen).collect();
    let verdicts = choose(reach, &seen);
    let taken = endpoints.iter().zip(verdicts).filter(|(_, verdict)| *verdict == Verdict::In);
    let taken: String = taken.map(|((number, _), _)| *number).collect();
    if taken.is_empty() { "-".into() } else { taken }
}

/// The rows of kube-proxy's own table (topology_test.go), then some that it does not have. Whether a set is asked for at
/// all depends on the service, and what a socket dials asks for one of the two: both are worked out here.
#[test]
fn who_is_left() {
    #[rustfmt::skip]
    let rows: &[(&str, &str, &str, &str, &str)] = &[
        // what, my zone, endpoints, Cluster, Local
        ("1 zone hints", "a", "3:a 4:b 5:c 6:a", "36", "-"),
        ("2 zone hints, external Local", "a", "3:a/L 4:b/L 5:c 6:a", "36", "34"),
        ("3 zone hints, internal Local", "a", "3:a/L 4:b/L 5:c 6:a", "36", "34"),
        ("4 no labels", "", "3:a", "3", "-"),
        ("5 an empty zone", "", "3:a 4:b", "34", "-"),
        ("6 hints for no zone of mine", "b", "3:a", "3", "-"),
        ("7 unready ones do not count", "a", "3:a 4:b 5:c 6:a/u", "3", "-"),
        ("8 nobody ready in my zone", "a", "3:a/u 4:b 5:c 6:a/u", "45", "-"),
        ("9 one without hints", "a", "3:a 4:b 5:- 6:a", "3456", "-"),
        ("10 hints for several zones", "c", "3:abc 4:bc 5:bd 6:c", "346", "-"),
        ("11 external Local with hints", "a", "0:a/L 1:b/L 2:a 3:b", "02", "01"),
        ("12 none at all", "a", "", "-", "-"),
        ("13 Local, none here", "a", "0 1", "01", "-"),
        ("14 Local, all here", "a", "0/L 1/L", "01", "01"),
        ("15 Local, one here", "a", "0/L 1", "01", "0"),
        ("16 none ready", "a", "0/u 1/u", "-", "-"),
        ("17 one ready", "a", "0/u 1", "1", "-"),
        ("18 ending ones answer when nobody is ready", "a", "0/Lust 1/ust", "01", "0"),
        ("19 internal Local, dialled from outside too", "a", "0/L 1", "01", "0"),
        ("20 external Local, dialled from outside too", "a", "0/L 1", "01", "0"),
        // Not in that table.
        ("ending ones are out while one is ready", "a", "0/ust 1", "1", "-"),
        ("ending and no longer serving", "a", "0/ut 1/ust", "1", "-"),
        ("Cluster and Local fall back each for itself", "a", "0/Lust 1", "1", "0"),
        ("an ending one's hints do not count", "a", "0:a 1:-/ust 2:b", "0", "-"),
        ("hints fall silent when nobody is ready", "a", "0:a/ust 1:b/ust", "01", "-"),
        ("node hints before zone hints", "a", "0:a/h 1:a/H 2:b/H", "0", "-"),
        ("node hints for others: zone hints", "a", "0:a/H 1:a/H 2:b/H", "01", "-"),
        ("one without a node hint: zone hints", "a", "0:a/h 1:a 2:b/H", "01", "-"),
        ("published although not ready counts as ready", "a", "0/t 1", "01", "-"),
        ("other clusters' have no say in hints", "a", "0:a 1:b 2:-/X", "02", "-"),
        ("nor do they stay out for theirs", "a", "0:a 1:b 2:b/X", "02", "-"),
        ("nobody ready here, but in another cluster", "a", "0/ust 1/X", "1", "-"),
    ];
    for (what, zone, written, cluster, local) in rows {
        let endpoints = endpoints(written, zone);
        assert_eq!(chosen(Reach::Cluster, &endpoints), *cluster, "{what}: Cluster");
        assert_eq!(chosen(Reach::Local, &endpoints), *local, "{what}: Local");
    }
}

#[test]
fn why_not() {
    let verdicts = |reach, written| {
        choose(reach, &endpoints(written, "a").into_iter().map(|(_, seen)| seen).collect::<Vec<_>>())
    };
    use Verdict::{In, NotReady, PassedOver, Policy, Terminating};
    assert_eq!(verdicts(Reach::Cluster, "0:a 1:b 2:b/u 3:a/ust"), [In, PassedOver, NotReady, Terminating]);
    assert_eq!(verdicts(Reach::Local, "0:a/L 1:a 2:a/Lu"), [In, Policy, NotReady]);
}
