//! Looks for what is wrong with a link, in the order in which things depend on each other, without touching its stream.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use engine::exchange::Bounds;
use model::{Cluster, ClusterName};
use tokio::net::TcpStream;
use wire::local::{Check, Examination};
use wire::{VERSION, check_version, pb};

use super::shared::Shared;
use crate::enrol::answered;
use crate::pki::{Expect, client_config};
use crate::{Address, Error, transport};

const DNS: &str = "DNS";
const TCP: &str = "TCP";
const TLS: &str = "TLS identity";
const CLOCK: &str = "clock";
const RANGES: &str = "ranges";
const SKEW: &str = "version";

/// How far two clocks may be apart: certificates are made for at least this much.
const APART: Duration = Duration::from_secs(60);

/// What is known of a link without asking anybody.
struct Known {
    addresses: Vec<Address>,
    peer: Cluster,
    remote: Option<SocketAddr>,
    last_error: Option<String>,
}

/// Looks at one link; none if there is no such link.
pub(crate) async fn examine(shared: &Arc<Shared>, cluster: &ClusterName) -> Option<Examination> {
    let known = {
        let mut links = shared.links();
        let link = links.get(cluster)?;
        let peer = link.mirror.peer().unwrap_or(&link.record.cluster).clone();
        let remote = link.remote.filter(|_| link.session.is_some());
        let remote = remote.map(|remote| SocketAddr::new(remote.ip().to_canonical(), remote.port()));
        Known { addresses: link.record.addresses.clone(), peer, remote, last_error: link.last_error.clone() }
    };
    let mut checks = match known.addresses.is_empty() {
        true => dialled(shared, cluster, &known),
        false => dial(shared, cluster, &known).await,
    };
    if let Some(first) = checks.iter().position(|check| check.state == wire::local::CheckState::Failed) {
        checks.truncate(first + 1);
    }
    Some(Examination { cluster: cluster.clone(), checks })
}

/// The other side dials: all that can be said here is whether it does.
fn dialled(shared: &Shared, cluster: &ClusterName, known: &Known) -> Vec<Check> {
    let Some(remote) = known.remote else {
        let ours: Vec<_> = shared.advertised().iter().map(ToString::to_string).collect();
        let why = known
            .last_error
            .as_ref()
            .map(|error| format!(" The last stream ended so: {error}"))
            .unwrap_or_default();
        return vec![
            Check::skipped(DNS, format!("{cluster} dials this cluster")),
            Check::failed(
                TCP,
                format!("{cluster} dials this cluster, and is not connected.{why}"),
                format!(
                    "run `causeway link doctor {}` there; it has to reach this cluster at {} by TCP",
                    shared.name(),
                    ours.join(", ")
                ),
            ),
        ];
    };
    vec![
        Check::skipped(DNS, format!("{cluster} dials this cluster")),
        Check::ok(TCP, format!("connected from {remote}")),
        Check::ok(TLS, format!("proved to be the controller of {cluster}")),
        Check::skipped(CLOCK, format!("to be seen at {cluster}: causeway link doctor {}", shared.name())),
        ranges(shared, &known.peer),
        Check::ok(SKEW, format!("understood; this side speaks {}", version(VERSION))),
    ]
}

async fn dial(shared: &Arc<Shared>, cluster: &ClusterName, known: &Known) -> Vec<Check> {
    let (dns, found) = look_up(&known.addresses).await;
    let mut checks = vec![dns];
    let mut unreachable = Vec::new();
    for address in found {
        let start = Instant::now();
        match transport::reach(address).await {
            Ok(tcp) => {
                let detail = format!("{address} answers within {}", milliseconds(start.elapsed()));
                checks.push(Check::ok(TCP, detail));
                checks.extend(identify(shared, cluster, tcp, address).await);
                return checks;
            }
            Err(error) => unreachable.push(format!("{address}: {error}")),
        }
    }
    let advice = format!(
        "check that the controller of {cluster} runs, that these are its addresses, and that TCP gets through; if they \
         have changed, remove the link and join with a new token"
    );
    checks.push(Check::failed(TCP, unreachable.join("; "), advice));
    checks
}

/// What names stand for, and all addresses there are.
async fn look_up(addresses: &[Address]) -> (Check, Vec<SocketAddr>) {
    let (mut all, mut good, mut bad) = (Vec::new(), Vec::new(), Vec::new());
    for address in addresses {
        match (address, address.resolve().await) {
            (Address::Name(name, _), Ok(found)) => {
                let ips: Vec<_> = found.iter().map(|address| address.ip().to_string()).collect();
                good.push(format!("{name} is {}", ips.join(", ")));
                all.extend(found);
            }
            (Address::Ip(_), Ok(found)) => all.extend(found),
            (_, Err(error)) => bad.push(error.to_string()),
        }
    }
    let check = match (bad.is_empty(), all.is_empty(), good.is_empty()) {
        (false, true, _) => {
            let advice =
                "check how this machine resolves names (/etc/resolv.conf), and that the names are right";
            Check::failed(DNS, bad.join("; "), advice.into())
        }
        (true, _, true) => Check::skipped(DNS, "the link has addresses, not names".into()),
        (_, _, _) => Check::ok(DNS, good.into_iter().chain(bad).collect::<Vec<_>>().join("; ")),
    };
    (check, all)
}

/// Who answers there, and what it says of itself.
async fn identify(
    shared: &Arc<Shared>,
    cluster: &ClusterName,
    tcp: TcpStream,
    address: SocketAddr,
) -> Vec<Check> {
    let config = client_config(
        shared.trust.clone(),
        Expect::Controller(cluster.clone()),
        Some(shared.credentials.clone()),
    );
    let mut client = match transport::secure(tcp, address, config).await {
        Ok(client) => client,
        Err(error) => return vec![unproved(shared, cluster, &error)],
    };
    let proved = Check::ok(TLS, format!("the controller of {cluster}, by the root that is pinned for it"));
    let (sent, start) = (SystemTime::now(), Instant::now());
    let probed = answered(address, client.probe(pb::ProbeRequest { version: Some(VERSION) })).await;
    let took = start.elapsed();
    match probed {
        Ok(answer) => {
            let mut checks = vec![proved, clock(&answer, sent + took / 2, took)];
            checks.push(match told(&answer, cluster) {
                Ok(peer) => ranges(shared, &peer),
                Err(why) => Check::skipped(RANGES, why),
            });
            checks.push(skew(&answer));
            checks
        }
        Err(Error::Refused { detail, .. }) if detail.is_empty() || detail.contains("nimplemented") => vec![
            proved,
            Check::skipped(CLOCK, format!("{cluster} runs a version that does not say")),
            Check::skipped(RANGES, format!("{cluster} runs a version that does not say")),
            Check::ok(SKEW, format!("understood; this side speaks {}", version(VERSION))),
        ],
        Err(error) => vec![unproved(shared, cluster, &error)],
    }
}

/// Why one of the two does not believe the other.
fn unproved(shared: &Shared, cluster: &ClusterName, error: &Error) -> Check {
    let (text, own) = (error.to_string(), shared.name());
    let (detail, advice) = match error {
        Error::Untrusted { source, .. } => (
            source.to_string(),
            format!(
                "if {cluster} was set up anew, remove the link on both sides and join with a new token; otherwise \
                 something else answers on that address"
            ),
        ),
        // The other side's word, in TLS's or in ours.
        Error::Refused { .. } | Error::Broken { .. } | Error::Unreachable { .. }
            if is_rejection(error, &text) =>
        {
            (
                format!("{cluster} does not accept that this is {own}: {text}"),
                format!(
                    "the link was removed at {cluster}, or {cluster} pinned other roots: remove the link here, too, and \
                 join with a new token"
                ),
            )
        }
        _ => (text, format!("see the log of the controller of {cluster}, and look again")),
    };
    Check::failed(TLS, detail, advice)
}

fn is_rejection(error: &Error, text: &str) -> bool {
    matches!(error, Error::Refused { .. }) || text.contains("does not accept our certificate")
}

fn told(answer: &pb::ProbeResponse, cluster: &ClusterName) -> Result<Cluster, String> {
    let told = answer.cluster.clone().ok_or("it does not say which it has")?;
    let told = wire::parse_cluster(told).map_err(|e| e.to_string())?;
    if told.name == *cluster { Ok(told) } else { Err(format!("it calls itself {}", told.name)) }
}

fn clock(answer: &pb::ProbeResponse, ours: SystemTime, took: Duration) -> Check {
    let theirs = UNIX_EPOCH + Duration::from_millis(answer.time);
    let (apart, word) = match theirs.duration_since(ours) {
        Ok(ahead) => (ahead, "ahead of"),
        Err(error) => (error.duration(), "behind"),
    };
    let detail =
        format!("its clock is {} {word} ours, give or take {}", milliseconds(apart), milliseconds(took / 2));
    if apart.saturating_sub(took / 2) <= APART {
        return Check::ok(CLOCK, detail);
    }
    let advice = "set both clocks by NTP: certificates and tokens are valid by them".to_string();
    Check::failed(CLOCK, detail, advice)
}

fn ranges(shared: &Shared, peer: &Cluster) -> Check {
    let others = shared.links().others(&peer.name);
    match Bounds::check_link(peer, &others) {
        Ok(()) => {
            let ranges: Vec<_> = peer.pod_cidrs.iter().map(ToString::to_string).collect();
            Check::ok(RANGES, format!("its pods' {} overlap no other cluster's", ranges.join(", ")))
        }
        Err(refusal) => {
            let advice =
                "give one of the clusters other pod ranges: no two clusters may share an address".into();
            Check::failed(RANGES, refusal.detail, advice)
        }
    }
}

fn skew(answer: &pb::ProbeResponse) -> Check {
    match check_version(answer.version) {
        Ok(()) => {
            let theirs = answer.version.unwrap_or_default();
            let software: String = answer.software.chars().take(wire::limits::VERSION_CHARS).collect();
            Check::ok(SKEW, format!("{software} speaks {}, this side {}", version(theirs), version(VERSION)))
        }
        Err(skew) => Check::failed(SKEW, skew.to_string(), "upgrade the older side first".into()),
    }
}

fn version(version: pb::Version) -> String {
    format!("{}.{}", version.major, version.minor)
}

fn milliseconds(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1000.0)
}
