//! Connects that nobody will answer: when a node dies, those that are under way to its pods fail at once instead of
//! waiting for their programs' timeouts. Connections that were made already are left alone: a silence of half a
//! second must not cut them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use ipnet::IpNet;
use kernel::features::Feature;
use kernel::netns::{Netns, NetnsError};
use kernel::sockets::{SocketsError, abort_connecting};
use tokio::sync::mpsc;
use tracing::{info, warn};

use crate::api::Vital;
use crate::cni::Cni;
use crate::datapath::PodMaps;

/// How long one round over a node's namespaces may take; whoever is not reached by then has given up by itself.
const LIMIT: Duration = Duration::from_secs(5);

/// Takes orders to abort. The work is done beside the node's loop, one round at a time.
pub(crate) struct Aborts {
    orders: Option<mpsc::UnboundedSender<Vec<IpNet>>>,
}

/// What one round came to.
#[derive(Debug, Default, PartialEq, Eq)]
struct Round {
    aborted: usize,
    /// Namespaces that could not be looked at, and why not the first of them.
    failed: usize,
    failure: Option<String>,
}

impl Aborts {
    /// Begins to take orders; where the kernel cannot end sockets they come to nothing.
    pub(crate) fn start(cni: Arc<Cni<PodMaps>>, vital: Arc<Vital>, features: &[Feature]) -> Result<Self> {
        if !features.iter().any(|feature| feature.name == "socket-destroy" && feature.present) {
            return Ok(Self { orders: None });
        }
        let own = Arc::new(Netns::current().context("opening the node's own network namespace")?);
        // As many orders as there are verdicts: a few for every node at most.
        let (orders, mut ordered) = mpsc::unbounded_channel::<Vec<IpNet>>();
        tokio::spawn(async move {
            while let Some(mut ranges) = ordered.recv().await {
                while let Ok(more) = ordered.try_recv() {
                    ranges.extend(more);
                }
                let pods = cni.entries().await;
                let (own, cni) = (own.clone(), cni.clone());
                let round = move || round(&own, &pods, |pod| cni.open_netns(pod), &ranges, LIMIT);
                let round = tokio::task::spawn_blocking(round).await;
                report(&round.expect("a round does not panic"), &vital);
            }
        });
        Ok(Self { orders: Some(orders) })
    }

    /// Has the connects to these ranges aborted, soon.
    pub(crate) fn queue(&self, ranges: Vec<IpNet>) {
        if let Some(orders) = self.orders.as_ref().filter(|_| !ranges.is_empty()) {
            // Whoever takes them ends with the agent.
            let _ = orders.send(ranges);
        }
    }
}

fn report(round: &Round, vital: &Vital) {
    vital.metrics.count_aborted(round.aborted);
    if round.aborted > 0 {
        info!(connects = round.aborted, "connects under way to dead nodes were aborted");
    }
    if let Some(failure) = &round.failure {
        let namespaces = round.failed;
        warn!(namespaces, failure, "some connects to dead nodes wait for their programs' timeouts");
    }
}

/// Goes through the node's own namespace and its pods'. Those that are not known or gone have nobody who waits.
fn round<P>(
    own: &Netns,
    pods: &[P],
    open: impl Fn(&P) -> Result<Option<Netns>, NetnsError>,
    to: &[IpNet],
    limit: Duration,
) -> Round {
    let begun = Instant::now();
    let mut round = Round::default();
    round.add(abort_connecting(own, to));
    for pod in pods {
        if begun.elapsed() > limit {
            round.fail(format!("it took longer than {limit:?}"));
            continue;
        }
        match open(pod) {
            Ok(Some(netns)) => round.add(abort_connecting(&netns, to)),
            Ok(None) => {}
            Err(e) => round.fail(e.to_string()),
        }
    }
    round
}

impl Round {
    fn add(&mut self, result: Result<usize, SocketsError>) {
        match result {
            Ok(aborted) => self.aborted += aborted,
            Err(e) => self.fail(e.to_string()),
        }
    }

    fn fail(&mut self, why: String) {
        self.failed += 1;
        self.failure.get_or_insert(why);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_goes_on_past_what_is_gone_and_ends_in_time() {
        let own = Netns::current().unwrap();
        let to: Vec<IpNet> = vec!["192.0.2.0/24".parse().unwrap()];
        let round = |limit| round(&own, &[(), ()], |()| Ok(None), &to, limit);
        assert_eq!(round(LIMIT), Round::default());
        let late = round(Duration::ZERO);
        assert_eq!((late.aborted, late.failed), (0, 2));
        assert!(late.failure.is_some_and(|why| why.contains("longer than 0ns")));
    }
}
