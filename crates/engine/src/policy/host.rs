//! Nodes themselves, as policies judge them: which are judged here, by which addresses, and what no policy takes from them.

use std::collections::BTreeSet;
use std::net::IpAddr;

use model::{EndpointKey, NodeName, Protocol, ServiceKey, World};

use super::compiled::Direction;
use super::judge::Packet;
use super::planner::Planner;
use super::settings::{Host, Scope};
use super::subjects::Whose;
use crate::plan::policing::Always;

/// The service of the API server.
const API_SERVER: (&str, &str) = ("default", "kubernetes");

/// What the operator wants never to be stopped: `tcp/22` for a port of the node, or an address with all that is said to it.
///
/// # Errors
/// The first that is neither.
pub fn allowed<'a>(written: impl IntoIterator<Item = &'a String>) -> Result<BTreeSet<Always>, AllowedError> {
    let read = |text: &String| {
        if let Ok(ip) = text.parse::<IpAddr>() {
            return Ok(Always::Address(ip.to_canonical()));
        }
        let parts = text.split_once('/').and_then(|(protocol, port)| {
            let all = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp];
            let its = all.into_iter().find(|its| its.to_string().eq_ignore_ascii_case(protocol))?;
            let port = port.parse::<u16>().ok().filter(|port| *port != 0)?;
            Some(Always::Port(its.number(), port))
        });
        parts.ok_or_else(|| AllowedError(text.chars().take(80).collect()))
    };
    written.into_iter().map(read).collect()
}

/// Text that is neither a port nor an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither a port of the node, such as tcp/22, nor an address, such as 192.0.2.1")]
pub struct AllowedError(String);

impl Planner {
    /// This node's devices have these addresses now: it is judged by them, too.
    pub fn handle_host_addresses(&mut self, ips: BTreeSet<IpAddr>) {
        if ips == self.host_ips {
            return;
        }
        self.host_ips = ips;
        self.stale_nodes.extend(self.judged_nodes());
        self.renew_always();
    }

    /// The API server is at these addresses and ports now.
    pub fn handle_api_servers(&mut self, at: BTreeSet<(IpAddr, u16)>) {
        self.api_servers = at;
        self.renew_always();
    }

    /// The same, as a world has it.
    pub(super) fn handle_endpoint(&mut self, world: &World, key: &EndpointKey) {
        let ServiceKey { cluster, name } = &key.service;
        let is_api = (name.namespace.as_str(), name.name.as_str()) == API_SERVER;
        if self.settings.host.is_none() || !is_api || *cluster != self.around.cluster {
            return;
        }
        let its = world.endpoints.get(&key.service).into_iter().flat_map(|all| all.values());
        let ports = its.flat_map(|endpoint| {
            let tcp = endpoint.ports.iter().filter(|port| port.protocol == Protocol::Tcp);
            tcp.flat_map(|port| endpoint.ips.iter().map(move |ip| (*ip, port.port.get())))
        });
        let at = ports.collect();
        self.handle_api_servers(at);
    }

    /// Writes down what no policy takes from the node.
    pub(super) fn renew_always(&mut self) {
        let Some(Host { always }) = &self.settings.host else { return };
        let mut wanted = always.clone();
        wanted.extend(self.api_servers.iter().map(|(ip, _)| Always::Address(*ip)));
        if let Scope::Node(me) = &self.settings.scope {
            let known = self.nodes.get(me).into_iter().flatten();
            let own: BTreeSet<IpAddr> = known.chain(&self.host_ips).copied().collect();
            // Nobody is to speak for the node by the node's own address.
            wanted.retain(|its| !matches!(its, Always::Address(ip) if own.contains(ip)));
            let here = self.api_servers.iter().filter(|(ip, _)| own.contains(ip));
            wanted.extend(here.map(|(_, port)| Always::Port(Protocol::Tcp.number(), *port)));
        }
        let gone: Vec<Always> =
            self.always.now().keys().filter(|its| !wanted.contains(its)).copied().collect();
        gone.into_iter().for_each(|its| self.always.put(its, None));
        wanted.into_iter().for_each(|its| self.always.put(its, Some(())));
    }

    /// Whether a packet of a node's passes whatever policies say.
    pub(super) fn always_passes(&self, packet: &Packet) -> bool {
        let Packet { pod, direction, peer, protocol, port } = *packet;
        if !self.subject_names(pod).any(|whose| matches!(whose, Whose::Node(_))) {
            return false;
        }
        let to_node = direction == Direction::Ingress;
        self.always.now().keys().any(|its| its.is_about(to_node, peer, protocol, port))
            || to_node && protocol == Protocol::Tcp.number() && self.api_servers.contains(&(pod, port))
    }

    /// The nodes that are judged here.
    pub(super) fn judged_nodes(&self) -> Vec<NodeName> {
        if self.settings.host.is_none() {
            return Vec::new();
        }
        match &self.settings.scope {
            Scope::Node(me) => vec![me.clone()],
            Scope::Cluster(cluster) => {
                self.nodes.keys().filter(|name| name.cluster == *cluster).cloned().collect()
            }
        }
    }

    /// The addresses by which a node is judged here; none if it is not.
    pub(super) fn judged_ips(&self, name: &NodeName) -> Vec<IpAddr> {
        if self.settings.host.is_none() {
            return Vec::new();
        }
        let known = self.nodes.get(name).into_iter().flatten();
        let mine = match &self.settings.scope {
            Scope::Node(me) if me == name => Some(&self.host_ips),
            Scope::Cluster(cluster) if *cluster == name.cluster => None,
            Scope::Node(_) | Scope::Cluster(_) => return Vec::new(),
        };
        let all: BTreeSet<IpAddr> = known.chain(mine.into_iter().flatten()).copied().collect();
        all.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_never_stopped_is_a_port_or_an_address() {
        let read = |text: &str| allowed(&[text.to_string()]).map(|all| all.first().copied());
        assert_eq!(read("tcp/22"), Ok(Some(Always::Port(6, 22))));
        assert_eq!(read("UDP/51820"), Ok(Some(Always::Port(17, 51820))));
        let mapped = Always::Address("192.0.2.1".parse().unwrap());
        assert_eq!(read("::ffff:192.0.2.1"), Ok(Some(mapped)));
        for wrong in ["", "22", "tcp/0", "tcp/70000", "tcp/ssh", "icmp/8", "192.0.2.0/24"] {
            let error = read(wrong).unwrap_err().to_string();
            assert!(error.contains("neither a port of the node, such as tcp/22"), "{error}");
        }
    }
}
