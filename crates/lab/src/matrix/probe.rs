//! Tries, from inside the pods: a thread in each pod's network namespace, all of its tries at once.
//!
//! A thread enters the network namespace alone, not the pod's control group: what is tried are pods' own addresses, which no
//! hook of sockets translates.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, Result};
use futures::future::{join_all, try_join_all};
use kernel::icmp::{Echo, Kind};
use kernel::netns::Netns;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout, timeout_at};
use wire::local::PolicyProtocol;

use super::{Member, Outcome, Probe, sctp};

/// Sockets that all pods' tries have open at a time.
const AT_ONCE: usize = 16_384;

/// What a datagram says; the echo server does not care.
const QUESTION: &[u8] = b"?";

/// What one pod tries: to whom, and the place among all tries.
struct Task {
    to: SocketAddr,
    protocol: PolicyProtocol,
    place: usize,
}

/// Makes all tries at once; gives their outcomes in the same order.
///
/// # Errors
/// When a pod cannot be entered.
pub async fn probe(members: &[Member], probes: &[Probe], wait: Duration) -> Result<Vec<Outcome>> {
    raise_limit();
    let mut tasks: Vec<Vec<Task>> = members.iter().map(|_| Vec::new()).collect();
    for (place, probe) in probes.iter().enumerate() {
        if let Some(ip) = members[probe.to].ip(probe.family) {
            let to = SocketAddr::new(ip, probe.port.map_or(0, Into::into));
            tasks[probe.from].push(Task { to, protocol: probe.protocol, place });
        }
    }
    let each = (AT_ONCE / members.len().max(1)).max(1);
    let busy = members.iter().zip(tasks).filter(|(_, tasks)| !tasks.is_empty());
    let threads = busy.map(async |(member, tasks)| {
        let netns = Netns::open(&member.netns).with_context(|| format!("entering pod {}", member.end()))?;
        let inside = move || netns.run(|| in_pod(tasks, wait, each));
        tokio::task::spawn_blocking(inside).await??.with_context(|| format!("in pod {}", member.end()))
    });
    let mut outcomes = vec![Outcome::Failed; probes.len()];
    for (place, outcome) in try_join_all(threads).await?.into_iter().flatten() {
        outcomes[place] = outcome;
    }
    Ok(outcomes)
}

/// Every try is a socket; the usual 1024 are soon used up. Where it may not be raised, tries fail and say so.
fn raise_limit() {
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
        && let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
    {
        tracing::debug!(%error, "the number of files that may be open stays");
    }
}

fn in_pod(tasks: Vec<Task>, wait: Duration, at_once: usize) -> Result<Vec<(usize, Outcome)>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (echoes, others): (Vec<Task>, Vec<Task>) =
            tasks.into_iter().partition(|task| task.protocol == PolicyProtocol::Icmp);
        let room = Semaphore::new(at_once);
        let others = others.into_iter().map(async |Task { to, protocol, place }| {
            let _room = room.acquire().await;
            (place, one(to, protocol, wait).await)
        });
        let (mut outcomes, echoes) = tokio::join!(join_all(others), echo(&echoes, wait));
        outcomes.extend(echoes?);
        Ok(outcomes)
    })
}

async fn one(to: SocketAddr, protocol: PolicyProtocol, wait: Duration) -> Outcome {
    let tried = async {
        match protocol {
            PolicyProtocol::Tcp => TcpStream::connect(to).await.map(drop),
            PolicyProtocol::Sctp => sctp::connect(to).await.map(drop),
            PolicyProtocol::Udp => datagram(to).await,
            PolicyProtocol::Icmp => unreachable!("echoes are sent together"),
        }
    };
    match timeout(wait, tried).await {
        Err(_) => Outcome::Silent,
        Ok(Ok(())) => Outcome::Open,
        Ok(Err(e)) => match e.kind() {
            ErrorKind::ConnectionRefused => Outcome::Refused,
            ErrorKind::TimedOut => Outcome::Silent,
            // Aborted: its agent knows that the node there is dead.
            ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable | ErrorKind::ConnectionAborted => {
                Outcome::Unreachable
            }
            _ => {
                tracing::warn!(%to, %protocol, error = %e, "cannot be tried");
                Outcome::Failed
            }
        },
    }
}

/// A question, and its answer: from there alone, the socket is connected.
async fn datagram(to: SocketAddr) -> std::io::Result<()> {
    let any: IpAddr = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(to).await?;
    socket.send(QUESTION).await?;
    socket.recv(&mut [0; 1]).await.map(drop)
}

/// Sends all echo requests, and waits for their answers.
async fn echo(tasks: &[Task], wait: Duration) -> Result<Vec<(usize, Outcome)>> {
    if tasks.is_empty() {
        return Ok(Vec::new());
    }
    let echo = Echo::open(None)?;
    // The pod's namespace is its own, so the number has only to differ from what its programs use.
    let id = (std::process::id() & 0xffff) as u16 ^ 0x6d78;
    let mut outcomes: HashMap<IpAddr, Outcome> = HashMap::new();
    for task in tasks {
        let sent = echo.send(task.to.ip(), id, 0, QUESTION).await;
        let outcome = if sent.is_ok() { Outcome::Silent } else { Outcome::Unreachable };
        outcomes.insert(task.to.ip(), outcome);
    }
    let end = Instant::now() + wait;
    let mut missing = outcomes.values().filter(|outcome| **outcome == Outcome::Silent).count();
    while missing > 0 {
        let Ok(heard) = timeout_at(end, echo.recv()).await else { break };
        let heard = heard?;
        if heard.kind == Kind::Reply
            && heard.id == id
            && let Some(outcome) = outcomes.get_mut(&heard.from)
            && *outcome == Outcome::Silent
        {
            *outcome = Outcome::Open;
            missing -= 1;
        }
    }
    Ok(tasks.iter().map(|task| (task.place, outcomes[&task.to.ip()])).collect())
}
