//! The whole table: what is seen, what is answered, what is asked when.

use super::*;

const T: Timing = Timing {
    duration: Duration::from_millis(4000),
    renewal: Duration::from_millis(2000),
    retry: Duration::from_millis(300),
    margin: Duration::from_millis(500),
};

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn lease(holder: &str, version: u64) -> Option<Seen> {
    Some(Seen {
        holder: (!holder.is_empty()).then(|| holder.to_string()),
        version: version.to_string(),
        duration: T.duration,
        transitions: 1,
    })
}

fn hold(version: u64, transitions: i32) -> Option<Ask> {
    Some(Ask::Hold { version: version.to_string(), transitions })
}

fn new() -> Elector {
    Elector::new("me".into(), T)
}

/// One that leads since 1000 ms.
fn leader() -> Elector {
    let mut elector = new();
    elector.handle_seen(None, ms(900));
    assert_eq!(elector.poll(ms(1000)), Some(Ask::Create));
    assert_eq!(elector.poll(ms(1001)), None, "one request at a time");
    elector.handle_held(lease("me", 10).unwrap(), ms(1000), ms(1010));
    assert_eq!(elector.leads_until(), Some(ms(4500)));
    elector
}

#[test]
fn nothing_is_asked_before_a_look() {
    let mut elector = new();
    assert_eq!((elector.poll(ms(100_000)), elector.leads_until()), (None, None));
}

#[test]
fn who_holds_it_is_waited_for() {
    for (seen, at, expected) in [
        (None, 0, Some(Ask::Create)),
        (lease("", 7), 0, hold(7, 2)),
        (lease("me", 7), 0, hold(7, 1)),
        (lease("other", 7), 3999, None),
        (lease("other", 7), 4000, hold(7, 2)),
        (lease("other", 7).map(|seen| Seen { duration: ms(9000), ..seen }), 8999, None),
        (lease("other", 7).map(|seen| Seen { duration: ms(1), ..seen }), 3999, None),
    ] {
        let mut elector = new();
        elector.handle_seen(seen.clone(), ms(50_000));
        assert_eq!(elector.poll(ms(50_000 + at)), expected, "{seen:?} after {at} ms");
    }
}

#[test]
fn each_change_begins_the_wait_anew() {
    let mut elector = new();
    for (n, at) in [(1, 0), (2, 2000), (3, 4000), (4, 6000)] {
        elector.handle_seen(lease("other", n), ms(at));
        assert_eq!(elector.poll(ms(at + 3999)), None);
    }
    elector.handle_seen(lease("other", 4), ms(9000));
    assert_eq!(elector.leader(), Some("other"));
    assert_eq!(elector.poll(ms(10_000)), hold(4, 2), "seen again is not changed again");
    // Somebody was quicker.
    elector.handle_failure(true, ms(10_010));
    assert_eq!(elector.poll(ms(10_010)), Some(Ask::Look));
    elector.handle_looked(lease("third", 5), ms(10_020));
    assert_eq!(elector.poll(ms(14_000)), None);
    assert_eq!(elector.leads_until(), None);
}

#[test]
fn a_deleted_lease_may_still_be_believed_in() {
    let mut elector = new();
    elector.handle_seen(lease("other", 1), ms(0));
    elector.handle_seen(None, ms(1000));
    assert_eq!(elector.poll(ms(4999)), None);
    assert_eq!(elector.poll(ms(5000)), Some(Ask::Create));
}

#[test]
fn a_leader_renews() {
    let mut elector = leader();
    assert_eq!(elector.poll(ms(2999)), None);
    assert_eq!(elector.poll(ms(3000)), hold(10, 1));
    elector.handle_held(lease("me", 11).unwrap(), ms(3000), ms(3400));
    assert_eq!(elector.leads_until(), Some(ms(6500)), "counted from when it was asked, not answered");
    assert_eq!(elector.deadline(), ms(5000));
    // The watch brings our own writes later, and out of date.
    elector.handle_seen(lease("me", 10), ms(3500));
    elector.handle_seen(lease("me", 11), ms(3500));
    assert_eq!(elector.poll(ms(5000)), hold(11, 1));
}

#[test]
fn a_leader_that_cannot_renew_stops_before_others_begin() {
    let mut elector = leader();
    for at in [3000, 3300, 3600, 3900, 4200] {
        assert_eq!(elector.poll(ms(at)), hold(10, 1), "{at}");
        elector.handle_failure(false, ms(at));
        assert_eq!(elector.poll(ms(at + 299)), None);
        assert!(elector.leads_until().is_some());
    }
    elector.poll(ms(4500));
    assert_eq!(elector.leads_until(), None);
    // A follower has seen the last renewal at the earliest when it was sent.
    let mut follower = Elector::new("follower".into(), T);
    follower.handle_seen(lease("me", 10), ms(1000));
    assert!(follower.deadline() >= ms(4500) + T.margin);
    // It is ours all the same, as long as nobody has taken it.
    assert_eq!(elector.poll(ms(4600)), None, "a request is under way");
    elector.handle_failure(false, ms(4600));
    assert_eq!(elector.poll(ms(4900)), hold(10, 1));
    elector.handle_held(lease("me", 12).unwrap(), ms(4900), ms(4901));
    assert_eq!(elector.leads_until(), Some(ms(8400)));
}

#[test]
fn a_lost_answer_is_looked_up() {
    let mut elector = leader();
    assert_eq!(elector.poll(ms(3000)), hold(10, 1));
    elector.handle_failure(false, ms(4000)); // it was written all the same
    assert_eq!(elector.poll(ms(4300)), hold(10, 1));
    elector.handle_failure(true, ms(4301));
    assert_eq!(elector.poll(ms(4301)), Some(Ask::Look));
    elector.handle_looked(lease("me", 11), ms(4310));
    assert_eq!(elector.leads_until(), Some(ms(4500)), "to be seen as holder renews nothing");
    assert_eq!(elector.poll(ms(4310)), hold(11, 1));
}

#[test]
fn who_is_displaced_steps_down_at_once() {
    let mut elector = leader();
    elector.handle_seen(lease("other", 11), ms(1500));
    assert_eq!((elector.leads_until(), elector.leader()), (None, Some("other")));
    assert_eq!(elector.poll(ms(5499)), None);
    assert_eq!(elector.poll(ms(5500)), hold(11, 2));
}
