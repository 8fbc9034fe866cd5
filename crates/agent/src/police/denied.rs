//! What the packet path tells of packets that were dropped, in the words of whoever watches.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::{Context as _, Result};
use kernel::bpf::Verdict;
use kernel::bpf::policing::{Event, EventStream};
use model::NodeName;
use serve::policing::{named, rule_ref};
use tracing::{debug, warn};
use wire::local::{DeniedFlow, FlowEnd};

use super::Police;
use crate::api::Vital;

/// Numbers of protocols in IP headers (IANA).
const TCP: u8 = 6;
const UDP: u8 = 17;
const SCTP: u8 = 132;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

/// Keeps for whoever watches what policies drop, for as long as the runtime lives.
pub(crate) fn watch(police: Arc<Police>, vital: Arc<Vital>, me: NodeName) -> Result<()> {
    let events =
        police.maps().policing().events().context("opening what the packet path tells of policies")?;
    let mut events = EventStream::new(events)?;
    tokio::spawn(async move {
        loop {
            match events.next().await {
                Ok(event) if event.reason.verdict() == Verdict::Drop => {
                    vital.metrics.count_denied(event.from_pod, event.reason.name(), 1);
                    vital.denied.record(police.tell(&event, &me));
                }
                // The controller says who it is as soon as it knows.
                Ok(event) => debug!(peer = %event.peer.ip(), "nobody is known to be there yet"),
                Err(e) => return warn!("denied flows are not told any more: {e}"),
            }
        }
    });
    Ok(())
}

impl Police {
    fn tell(&self, event: &Event, me: &NodeName) -> DeniedFlow {
        let inner = self.inner();
        let planner = &inner.planner;
        let rule = event.rule.and_then(|(_, rule)| planner.rule_ref(event.ruleset, rule));
        let end = |at: SocketAddr| FlowEnd {
            name: planner.end_at(at.ip()).map(|end| named(&end).to_string()).unwrap_or_default(),
            ip: at.ip(),
            port: has_ports(event.protocol).then_some(at.port()),
        };
        let (pod, peer) = (end(event.pod), end(event.peer));
        let (direction, from, to) =
            if event.from_pod { ("egress", pod, peer) } else { ("ingress", peer, pod) };
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        DeniedFlow {
            at: now.as_secs_f64(),
            node: me.clone(),
            direction: direction.into(),
            from,
            to,
            protocol: protocol(event.protocol),
            icmp_type: matches!(event.protocol, ICMP | ICMPV6).then_some(event.icmp),
            reason: event.reason.name().into(),
            rule: rule.as_ref().map(rule_ref),
            count: 1,
        }
    }
}

fn has_ports(protocol: u8) -> bool {
    matches!(protocol, TCP | UDP | SCTP)
}

fn protocol(number: u8) -> String {
    match number {
        TCP => "tcp".into(),
        UDP => "udp".into(),
        SCTP => "sctp".into(),
        ICMP => "icmp".into(),
        ICMPV6 => "icmpv6".into(),
        other => other.to_string(),
    }
}
