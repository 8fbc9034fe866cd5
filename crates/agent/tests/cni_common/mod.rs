//! A node and pods in namespaces of their own, and the agent's CNI server for them. Needs root.
#![allow(dead_code, reason = "each test binary uses its own part of this")]

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use causeway_agent::cni::{Cni, Place, PodHook, PodNetwork};
use kernel::host::Host;
use kernel::icmp::{Echo, Kind};
use kernel::netlink::{Netlink, sysctl};
use kernel::netns::{Netns, path_of};
use kernel::pod::Wirer;
use model::ObjectName;
use serde_json::{Value, json};
use wire::local::{CniRequest, CniResponse};

pub(crate) const RANGES: [&str; 2] = ["10.1.2.0/24", "fd00:1:0:2::/64"];

/// A namespace that goes with the test.
pub(crate) struct Space {
    name: String,
    pub(crate) netns: Netns,
}

impl Space {
    pub(crate) fn new(name: &str) -> Self {
        let name = format!("cwt_{name}");
        Netns::delete(&name).unwrap_or_else(|e| panic!("this test needs root: {e}"));
        let netns = Netns::create(&name).unwrap_or_else(|e| panic!("this test needs root: {e}"));
        Self { name, netns }
    }

    pub(crate) fn path(&self) -> PathBuf {
        path_of(&self.name).unwrap()
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        if let Err(e) = Netns::delete(&self.name) {
            eprintln!("{e}");
        }
    }
}

/// What the data path was told.
#[derive(Clone, Default)]
pub(crate) struct Told {
    pub(crate) pods: Arc<Mutex<BTreeMap<String, Vec<IpAddr>>>>,
    pub(crate) refuses: bool,
}

impl PodHook for Told {
    async fn attached(&self, device: &str, ips: &[IpAddr], _pod: Option<&ObjectName>) -> Result<(), String> {
        if self.refuses {
            return Err("the map is full".into());
        }
        self.pods.lock().unwrap().insert(device.into(), ips.into());
        Ok(())
    }

    async fn detached(&self, device: &str) -> Result<(), String> {
        self.pods.lock().unwrap().remove(device);
        Ok(())
    }
}

/// A node with its own mesh addresses, and a place for the agent's state.
pub(crate) struct Node {
    pub(crate) space: Space,
    pub(crate) netlink: Netlink,
    pub(crate) directory: PathBuf,
}

impl Node {
    pub(crate) async fn new(name: &str) -> Self {
        let space = Space::new(name);
        sysctl::write(&space.netns, sysctl::NODE).unwrap();
        let netlink = Netlink::open_in(&space.netns).unwrap();
        let lo = netlink.index("lo").await.unwrap();
        for address in ["10.1.2.1/32", "fd00:1:0:2::1/128"] {
            netlink.add_address(lo, address.parse().unwrap()).await.unwrap();
        }
        let directory = std::env::temp_dir().join(format!("cwt_{name}"));
        let _ = std::fs::remove_dir_all(&directory);
        std::fs::create_dir_all(&directory).unwrap();
        Self { space, netlink, directory }
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.directory.join("pods.journal")
    }

    /// An agent that has just started and knows nothing of pod ranges.
    pub(crate) async fn starting(&self, told: Told) -> Cni<Told> {
        let place = Place {
            ledger: self.state(),
            netlink: self.netlink.clone(),
            netns: self.space.netns.try_clone().unwrap(),
            host: Host::default(),
        };
        Cni::open(place, told).await.unwrap()
    }

    /// An agent that is ready.
    pub(crate) async fn agent(&self, ranges: &[&str]) -> (Cni<Told>, Told) {
        let told = Told::default();
        let cni = self.starting(told.clone()).await;
        assert_eq!(cni.reattach().await, Vec::<String>::new());
        cni.configure(network(ranges));
        (cni, told)
    }

    /// Who makes and deletes wires, without an agent.
    pub(crate) fn wirer(&self) -> Wirer {
        Wirer::new(self.space.netns.try_clone().unwrap())
    }

    /// The devices of pods on the node.
    pub(crate) async fn wires(&self) -> usize {
        kernel::pod::find(&self.netlink).await.unwrap().len()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

pub(crate) fn network(ranges: &[&str]) -> PodNetwork {
    PodNetwork { pod_cidrs: ranges.iter().map(|range| range.parse().unwrap()).collect(), mtu: 1420 }
}

/// What a runtime would ask for this container.
pub(crate) fn ask(command: &str, container: &str, netns: PathBuf) -> CniRequest {
    CniRequest {
        command: command.into(),
        container_id: container.into(),
        netns: netns.display().to_string(),
        ifname: "eth0".into(),
        args: format!("IgnoreUnknown=1;K8S_POD_NAMESPACE=demo;K8S_POD_NAME={container}"),
        config: json!({"cniVersion": "1.1.0", "name": "mesh", "type": "causeway"}),
    }
}

#[track_caller]
pub(crate) fn good(response: CniResponse) -> Value {
    match response {
        CniResponse::Result(value) => value,
        CniResponse::Error { code, msg, details } => panic!("code {code}: {msg} ({details})"),
    }
}

#[track_caller]
pub(crate) fn bad(response: CniResponse) -> (u32, String) {
    match response {
        CniResponse::Error { code, msg, details } => (code, format!("{msg}: {details}")),
        CniResponse::Result(value) => panic!("no error: {value}"),
    }
}

/// The addresses of a result.
pub(crate) fn ips(result: &Value) -> Vec<IpAddr> {
    let address = |ip: &Value| ip["address"].as_str().unwrap().split('/').next().unwrap().parse().unwrap();
    result["ips"].as_array().unwrap().iter().map(address).collect()
}

/// Whether an address answers echo requests within three seconds.
pub(crate) async fn answers(from: &Netns, to: IpAddr) -> bool {
    let echo = Echo::open_in(from, None).unwrap();
    let answer = async {
        while {
            let heard = echo.recv().await.unwrap();
            (heard.from, heard.kind) != (to, Kind::Reply)
        } {}
    };
    tokio::pin!(answer);
    // A device that has just come up may swallow a packet while the kernel's link watch catches up.
    for seq in 0..10 {
        if echo.send(to, 7, seq, b"there?").await.is_err() {
            return false;
        }
        if tokio::time::timeout(Duration::from_millis(300), &mut answer).await.is_ok() {
            return true;
        }
    }
    false
}
