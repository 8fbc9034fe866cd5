//! Flows that policy denied, kept for whoever watches: the newest ones, those alike as one.
//!
//! The first of a kind can be read at once; what comes alike within a second after it is told together at the end of that
//! second. So a client that tries again and again neither hides others nor fills the log.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::Mutex;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use wire::local::{DeniedFlow, DeniedFlows};

/// For how long flows alike are one.
const TOGETHER: Duration = Duration::from_secs(1);

/// Flows that are kept.
const KEPT: usize = 4_096;

/// Kinds of flows that are looked for more of at a time; what is beyond is told one by one.
const MOST_KINDS: usize = 1_024;

/// The flows that were denied.
#[derive(Debug, Default)]
pub struct Denied {
    log: Mutex<Log>,
    more: Notify,
}

/// What makes flows alike: all but the port of the one who begins.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Kind {
    direction: String,
    from: (String, IpAddr),
    to: (String, IpAddr, Option<u16>),
    protocol: String,
    reason: String,
    rule: Option<wire::local::PolicyRuleRef>,
}

impl Kind {
    fn of(flow: &DeniedFlow) -> Self {
        Self {
            direction: flow.direction.clone(),
            from: (flow.from.name.clone(), flow.from.ip),
            to: (flow.to.name.clone(), flow.to.ip, flow.to.port),
            protocol: format!("{} {:?}", flow.protocol, flow.icmp_type),
            reason: flow.reason.clone(),
            rule: flow.rule.clone(),
        }
    }
}

/// Those of a kind since the last that was told.
#[derive(Debug)]
struct Open {
    until: Instant,
    more: Option<DeniedFlow>,
}

#[derive(Debug, Default)]
struct Log {
    flows: VecDeque<DeniedFlow>,
    /// The number of the next flow; that of the oldest kept is so many less.
    next: u64,
    open: BTreeMap<Kind, Open>,
}

impl Log {
    fn push(&mut self, flow: DeniedFlow) {
        if self.flows.len() == KEPT {
            self.flows.pop_front();
        }
        self.flows.push_back(flow);
        self.next += 1;
    }

    /// Takes one in. True when there is something new to be read.
    fn handle(&mut self, flow: DeniedFlow, now: Instant) -> bool {
        let ended = self.close(now);
        let kind = Kind::of(&flow);
        if let Some(open) = self.open.get_mut(&kind) {
            let count = open.more.as_ref().map_or(0, |more| more.count);
            open.more = Some(DeniedFlow { count: count + flow.count, ..flow });
            return ended;
        }
        if self.open.len() < MOST_KINDS {
            self.open.insert(kind, Open { until: now + TOGETHER, more: None });
        }
        self.push(flow);
        true
    }

    /// Tells what has been gathered of the kinds whose second is over; those that go on begin another.
    fn close(&mut self, now: Instant) -> bool {
        if self.deadline().is_none_or(|deadline| deadline > now) {
            return false;
        }
        let mut told = Vec::new();
        self.open.retain(|_, open| {
            if open.until > now {
                return true;
            }
            let goes_on = open.more.is_some();
            told.extend(open.more.take());
            open.until = now + TOGETHER;
            goes_on
        });
        told.sort_by(|a, b| a.at.total_cmp(&b.at));
        let any = !told.is_empty();
        told.into_iter().for_each(|flow| self.push(flow));
        any
    }

    fn deadline(&self) -> Option<Instant> {
        self.open.values().map(|open| open.until).min()
    }

    fn since(&self, after: u64) -> DeniedFlows {
        // Whoever asks with a number that was never given has one of an agent that was started anew: all is news.
        let after = if after > self.next { 0 } else { after };
        let oldest = self.next - self.flows.len() as u64;
        let skip = usize::try_from(after.saturating_sub(oldest)).unwrap_or(usize::MAX);
        let flows = self.flows.iter().skip(skip).cloned().collect();
        DeniedFlows { next: self.next, lost: oldest.saturating_sub(after), flows }
    }
}

impl Denied {
    /// Takes one in.
    pub fn record(&self, flow: DeniedFlow) {
        if self.log().handle(flow, Instant::now()) {
            self.more.notify_waiters();
        }
    }

    /// What came after number `after`; where nothing has, the first that comes within `wait`. Without a number nothing,
    /// but the number to go on from.
    pub async fn since(&self, after: Option<u64>, wait: Duration) -> DeniedFlows {
        let end = Instant::now() + wait;
        loop {
            // Listening begins before it is looked: nothing can come in between.
            let more = self.more.notified();
            let (found, deadline) = {
                let mut log = self.log();
                if log.close(Instant::now()) {
                    self.more.notify_waiters();
                }
                (log.since(after.unwrap_or(log.next)), log.deadline())
            };
            if after.is_none() || !found.flows.is_empty() || found.lost > 0 || Instant::now() >= end {
                return found;
            }
            tokio::select! {
                () = more => {}
                () = sleep_until(deadline.map_or(end, |deadline| deadline.min(end))) => {}
            }
        }
    }

    fn log(&self) -> std::sync::MutexGuard<'_, Log> {
        self.log.lock().expect("nobody panics while holding it")
    }
}

#[cfg(test)]
mod tests {
    use wire::local::FlowEnd;

    use super::*;

    fn flow(to: &str, port: u16) -> DeniedFlow {
        let end = |ip: &str, port| FlowEnd { name: String::new(), ip: ip.parse().unwrap(), port };
        DeniedFlow {
            at: f64::from(port),
            node: "aws/aws-1".to_string().try_into().unwrap(),
            direction: "egress".into(),
            from: end("10.1.0.1", Some(port)),
            to: end(to, Some(80)),
            protocol: "tcp".into(),
            icmp_type: None,
            reason: "policy_isolated".into(),
            rule: None,
            count: 1,
        }
    }

    fn read(found: &DeniedFlows) -> Vec<(String, u64)> {
        found.flows.iter().map(|flow| (flow.to.ip.to_string(), flow.count)).collect()
    }

    const A: &str = "10.2.0.1";
    const B: &str = "10.2.0.2";

    #[tokio::test(start_paused = true)]
    async fn those_alike_are_one() {
        let (denied, now, long) = (Denied::default(), Duration::ZERO, Duration::from_secs(60));
        let start = denied.since(None, long).await;
        assert_eq!((start.next, start.lost), (0, 0));
        for port in 1..=5 {
            denied.record(flow(A, port));
        }
        denied.record(flow(B, 9));
        let first = denied.since(Some(0), long).await;
        assert_eq!(read(&first), [(A.to_string(), 1), (B.to_string(), 1)]);
        assert_eq!(read(&denied.since(Some(first.next), now).await), []);
        let begun = Instant::now();
        let second = denied.since(Some(first.next), long).await;
        assert_eq!(read(&second), [(A.to_string(), 4)]);
        assert!(begun.elapsed() <= TOGETHER + Duration::from_millis(5), "{:?}", begun.elapsed());
        // It went on for a second, so the next one is still one of many; after a second of silence it is a first again.
        denied.record(flow(A, 20));
        assert_eq!(read(&denied.since(Some(second.next), now).await), []);
        let third = denied.since(Some(second.next), long).await;
        assert_eq!(read(&third), [(A.to_string(), 1)]);
        tokio::time::advance(TOGETHER * 2).await;
        denied.record(flow(A, 30));
        assert_eq!(read(&denied.since(Some(third.next), now).await), [(A.to_string(), 1)]);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_is_told_at_once_or_in_time() {
        let denied = std::sync::Arc::new(Denied::default());
        let waiting = tokio::spawn({
            let denied = denied.clone();
            async move { denied.since(Some(0), Duration::from_secs(60)).await }
        });
        tokio::task::yield_now().await;
        denied.record(flow(A, 1));
        assert_eq!(read(&waiting.await.unwrap()), [(A.to_string(), 1)]);
        let begun = Instant::now();
        assert_eq!(read(&denied.since(Some(1), Duration::from_secs(5)).await), []);
        assert!(begun.elapsed() >= Duration::from_secs(5));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_lost_is_counted_and_memory_is_bounded() {
        let denied = Denied::default();
        let many = u32::try_from(KEPT).unwrap() + 10;
        for n in 0..many {
            denied.record(flow(&IpAddr::from(n.to_be_bytes()).to_string(), 1));
        }
        let found = denied.since(Some(0), Duration::ZERO).await;
        assert_eq!((found.flows.len(), found.lost, found.next), (KEPT, 10, u64::from(many)));
        assert!(denied.log().open.len() <= MOST_KINDS);
        // An agent that was started anew counts from 0.
        let other = denied.since(Some(1 << 40), Duration::ZERO).await;
        assert_eq!(other.next, u64::from(many));
        assert!(!other.flows.is_empty());
    }
}
