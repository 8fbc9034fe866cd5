//! Connections that nobody will answer. When a node dies, connects that are under way to its pods fail at once instead of
//! waiting for their programs' timeouts; connections that were made already are left alone: a silence of half a second
//! must not cut them. When a backend is gone for good, all those end that a service led to it.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use ipnet::IpNet;
use kernel::features::Feature;
use kernel::netns::{Netns, NetnsError};
use kernel::sockets::{Led, SocketsError, abort_connecting};
use tokio::sync::mpsc;
use tracing::{info, warn};

use crate::api::Vital;
use crate::cni::Cni;
use crate::datapath::PodMaps;

/// How long one round over a node's namespaces may take; whoever is not reached by then has given up by itself.
const LIMIT: Duration = Duration::from_secs(5);

/// Takes orders to end connections. The work is done beside the node's loop, one round at a time.
pub(crate) struct Aborts {
    orders: Option<mpsc::UnboundedSender<Order>>,
}

/// What is to end.
#[derive(Debug, Default)]
struct Order {
    /// Connects under way to these ranges.
    silent: Vec<IpNet>,
    /// Whatever a service led to one of these.
    gone: BTreeSet<SocketAddr>,
}

impl Order {
    fn extend(&mut self, other: Self) {
        self.silent.extend(other.silent);
        self.gone.extend(other.gone);
    }
}

/// What one round came to.
#[derive(Debug, Default, PartialEq, Eq)]
struct Round {
    ended: usize,
    /// Namespaces that could not be looked at, and why not the first of them.
    failed: usize,
    failure: Option<String>,
}

impl Aborts {
    /// Begins to take orders; where the kernel cannot end sockets they come to nothing. The packet path's pins are in the
    /// folder.
    pub(crate) fn start(
        cni: Arc<Cni<PodMaps>>,
        vital: Arc<Vital>,
        features: &[Feature],
        pin_dir: PathBuf,
    ) -> Result<Self> {
        if !features.iter().any(|feature| feature.name == "socket-destroy" && feature.present) {
            return Ok(Self { orders: None });
        }
        let own = Arc::new(Netns::current().context("opening the node's own network namespace")?);
        // As many orders as there are verdicts: a few for every node at most, and one for every second in which
        // endpoints go.
        let (orders, mut ordered) = mpsc::unbounded_channel::<Order>();
        tokio::spawn(async move {
            while let Some(mut order) = ordered.recv().await {
                while let Ok(more) = ordered.try_recv() {
                    order.extend(more);
                }
                let pods = cni.entries().await;
                let (own, cni, pin_dir) = (own.clone(), cni.clone(), pin_dir.clone());
                let carry_out = move || {
                    let Order { silent, gone } = &order;
                    let open = |pod: &_| cni.open_netns(pod);
                    let aborted = (!silent.is_empty())
                        .then(|| round(&own, &pods, open, |netns| abort_connecting(netns, silent), LIMIT));
                    let reset = (!gone.is_empty()).then(|| reset(&own, &pods, open, gone, &pin_dir));
                    (aborted.unwrap_or_default(), reset.unwrap_or_default())
                };
                let done = tokio::task::spawn_blocking(carry_out).await;
                let (aborted, reset) = done.expect("a round does not panic");
                report(&aborted, &reset, &vital);
            }
        });
        Ok(Self { orders: Some(orders) })
    }

    /// Has the connects to these ranges aborted, soon.
    pub(crate) fn abort_connecting(&self, ranges: Vec<IpNet>) {
        if !ranges.is_empty() {
            self.queue(Order { silent: ranges, ..Order::default() });
        }
    }

    /// Has the connections ended that services led to these addresses, soon.
    pub(crate) fn reset(&self, gone: BTreeSet<SocketAddr>) {
        if !gone.is_empty() {
            self.queue(Order { gone, ..Order::default() });
        }
    }

    fn queue(&self, order: Order) {
        if let Some(orders) = &self.orders {
            // Whoever takes them ends with the agent.
            let _ = orders.send(order);
        }
    }
}

fn report(aborted: &Round, reset: &Round, vital: &Vital) {
    vital.metrics.count_aborted(aborted.ended);
    vital.metrics.count_reset(reset.ended);
    if aborted.ended > 0 {
        info!(connects = aborted.ended, "connects under way to dead nodes were aborted");
    }
    if reset.ended > 0 {
        info!(connections = reset.ended, "connections to backends that are gone were reset");
    }
    if let Some(failure) = &aborted.failure {
        let namespaces = aborted.failed;
        warn!(namespaces, failure, "some connects to dead nodes wait for their programs' timeouts");
    }
    if let Some(failure) = &reset.failure {
        let namespaces = reset.failed;
        warn!(
            namespaces,
            failure, "some connections to backends that are gone wait for their programs' timeouts"
        );
    }
}

/// Ends what services led to backends that are gone.
fn reset<P>(
    own: &Netns,
    pods: &[P],
    open: impl Fn(&P) -> Result<Option<Netns>, NetnsError>,
    gone: &BTreeSet<SocketAddr>,
    pin_dir: &Path,
) -> Round {
    match Led::open(pin_dir) {
        Ok(led) => round(own, pods, open, |netns| led.reset(netns, gone), LIMIT),
        Err(e) => {
            let mut round = Round::default();
            round.fail(e.to_string());
            round
        }
    }
}

/// Goes through the node's own namespace and its pods'. Those that are not known or gone have nobody who waits.
fn round<P>(
    own: &Netns,
    pods: &[P],
    open: impl Fn(&P) -> Result<Option<Netns>, NetnsError>,
    end: impl Fn(&Netns) -> Result<usize, SocketsError>,
    limit: Duration,
) -> Round {
    let begun = Instant::now();
    let mut round = Round::default();
    round.add(end(own));
    for pod in pods {
        if begun.elapsed() > limit {
            round.fail(format!("it took longer than {limit:?}"));
            continue;
        }
        match open(pod) {
            Ok(Some(netns)) => round.add(end(&netns)),
            Ok(None) => {}
            Err(e) => round.fail(e.to_string()),
        }
    }
    round
}

impl Round {
    fn add(&mut self, result: Result<usize, SocketsError>) {
        match result {
            Ok(ended) => self.ended += ended,
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
        let end = |netns: &Netns| abort_connecting(netns, &to);
        let round = |limit| round(&own, &[(), ()], |()| Ok(None), end, limit);
        assert_eq!(round(LIMIT), Round::default());
        let late = round(Duration::ZERO);
        assert_eq!((late.ended, late.failed), (0, 2));
        assert!(late.failure.is_some_and(|why| why.contains("longer than 0ns")));
    }
}
