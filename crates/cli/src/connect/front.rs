//! Keeps a gateway that answers in front, where there are several: [`Front`] decides, this asks and tells.

use std::collections::BTreeSet;
use std::net::IpAddr;

use engine::health::Front;
use engine::plan;
use ipnet::IpNet;
use kernel::icmp::{Echo, Kind};
use kernel::wireguard::Device;
use model::PublicKey;
use tokio::time::{Instant, interval};
use wire::client::Configuration;

use super::names::Names;

/// Who is in front, if there is a choice.
pub(super) fn of(configuration: &Configuration) -> Option<Front> {
    let behind = configuration.peers.iter().map(|end| end.allowed_ips.iter().copied().collect());
    Front::new(&behind.collect::<Vec<BTreeSet<IpNet>>>(), &configuration.dns)
}

/// Keeps a gateway that answers in front, for as long as it is polled. Without raw sockets all stays as it is.
pub(super) async fn keep(
    mut front: Front,
    device: &Device,
    ends: &[(PublicKey, plan::Peer)],
    configuration: &Configuration,
    names: &mut Names,
    interface: &str,
) {
    let echo = match Echo::open(Some(interface)) {
        Ok(echo) => echo,
        Err(error) => {
            eprintln!("gateways are not watched: {error}");
            return std::future::pending().await;
        }
    };
    let (began, mut ticks, mut seq) = (Instant::now(), interval(Front::EVERY), 0u16);
    let id = u16::try_from(std::process::id() & 0xffff).unwrap_or_default();
    loop {
        tokio::select! {
            heard = echo.recv() => match heard {
                Ok(heard) if heard.kind == Kind::Reply && heard.id == id => {
                    front.handle_answer(heard.from, began.elapsed());
                }
                Ok(_) => {}
                Err(error) => {
                    eprintln!("gateways are watched no more: {error}");
                    return std::future::pending().await;
                }
            },
            _ = ticks.tick() => {
                let before = front.front();
                if front.poll(began.elapsed()) {
                    let name = |place: usize| {
                        let end = &configuration.peers[place];
                        end.endpoint.clone().unwrap_or_else(|| end.public_key.to_string())
                    };
                    println!("by {} now, in place of {}", name(front.front()), name(before));
                    if let Err(error) = change(&front, before, device, ends, configuration, names, interface) {
                        eprintln!("{error:#}");
                    }
                }
                seq = seq.wrapping_add(1);
                for to in front.to_ask(began.elapsed()) {
                    // One that cannot be sent is one that is not answered.
                    let _ = echo.send(*to, id, seq, &[]).await;
                }
            }
        }
    }
}

/// Tells the device, and whoever asks for names.
fn change(
    front: &Front,
    before: usize,
    device: &Device,
    ends: &[(PublicKey, plan::Peer)],
    configuration: &Configuration,
    names: &mut Names,
    interface: &str,
) -> anyhow::Result<()> {
    // An address goes to whoever is given it last: at no moment is it nobody's.
    for place in [front.front(), before] {
        let (key, end) = &ends[place];
        let allowed_ips = front.behind(place, &end.allowed_ips);
        device.apply(&plan::Op::SetPeer(*key, plan::Peer { allowed_ips, ..end.clone() }))?;
    }
    if !names.is_told() {
        return Ok(());
    }
    let speaks = |ip: &&IpAddr| configuration.dns.iter().any(|dns| dns.is_ipv4() == ip.is_ipv4());
    let servers: Vec<IpAddr> = front.addresses().iter().filter(speaks).copied().collect();
    std::mem::take(names).end()?;
    names.begin(interface, &servers, &configuration.search)
}
