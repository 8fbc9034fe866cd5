//! A node without a kubelet: a machine of the lab, an agent on it, and pods that the CNI plugin wires up.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use kernel::netns::{self, Netns};
use kernel::sandbox::{self, Sandbox};
use lab::node::machine::{Machine, Segment, Site};
use lab::plan::{Addresses, Host};
use lab::state::Folders;
use serde_json::{Value, json};

use crate::server::Program;
use crate::world::{self, CGROUP, NAME};

/// A node.
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) address: String,
    /// The range of its pods.
    pub(crate) range: String,
    folders: Folders,
    machine: Machine,
    causeway: PathBuf,
    agent: Option<Program>,
}

/// A pod that is wired up; its program ends with it.
pub(crate) struct Pod {
    pub(crate) name: String,
    pub(crate) ip: IpAddr,
    pub(crate) netns: Arc<Netns>,
    netns_name: String,
    program: Option<Program>,
}

impl Node {
    /// Builds the machine of this number: 1, 2, …
    pub(crate) async fn build(number: u8, folder: &Path, causeway: &Path) -> Result<Node> {
        let name = format!("node-{number}");
        let folder = folder.join(&name);
        let below = |part: &str| folder.join(part);
        let folders = Folders {
            run: below("run"),
            wireguard: below("wireguard"),
            lib: below("lib"),
            log: below("agent.log"),
        };
        let address = format!("10.213.0.{}", 10 + number);
        let host = Host {
            netns: format!("{NAME}_{number}"),
            location: 1,
            number,
            addresses: Addresses {
                private: vec![format!("{address}/24").parse()?],
                public: Vec::new(),
                gateways: vec![world::HOST.parse()?],
            },
            nat: None,
        };
        let segment = Segment { location: world::location(), netns: Arc::new(Netns::open(NAME)?) };
        let cgroup = format!("{CGROUP}/{name}");
        let site = Site {
            host,
            segment: Arc::new(segment),
            folders: folders.clone(),
            system: format!("{cgroup}/system"),
            cgroup,
        };
        let machine = Machine::build(&site).await.with_context(|| format!("building {name}"))?;
        let range = format!("10.112.{number}.0/24");
        Ok(Node { name, address, range, folders, machine, causeway: causeway.to_path_buf(), agent: None })
    }

    /// The object that a kubelet would register.
    pub(crate) fn object(&self, number: usize) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": { "name": self.name, "labels": {
                "kubernetes.io/hostname": self.name, "kubernetes.io/os": "linux",
                "topology.kubernetes.io/region": "e2e", "topology.kubernetes.io/zone": format!("zone-{number}") } },
            "spec": { "podCIDR": self.range, "podCIDRs": [self.range] },
            "status": { "addresses": [{ "type": "InternalIP", "address": self.address },
                                      { "type": "Hostname", "address": self.name }],
                        "conditions": [{ "type": "Ready", "status": "True" }] },
        })
    }

    /// What the kubelet would project into the agent's pod.
    pub(crate) fn give_secrets(&self, token: &str, roots: &str) -> Result<()> {
        write(&self.folders.run.join("token"), token)?;
        write(&self.folders.run.join("ca.crt"), roots)
    }

    /// Starts the agent.
    pub(crate) fn start_agent(&mut self, controllers: &[String]) -> Result<()> {
        let config = json!({
            "cluster": "e2e",
            "controllers": controllers,
            "serviceAccount": { "token": "/run/causeway/token", "roots": "/run/causeway/ca.crt" },
            "cgroup": self.machine.cgroup.path(),
        });
        write(&self.folders.run.join("agent.yaml"), &config.to_string())?;
        let mut command = Command::new(&self.causeway);
        command
            .args(["agent", "--config", "/run/causeway/agent.yaml", "--node", &self.name])
            .current_dir("/");
        let log = logged(&mut command, &self.folders.log)?;
        self.agent = Some(Program::start_in(&self.name, command, log, self.machine.sandbox())?);
        Ok(())
    }

    /// Fails if the agent has ended by itself.
    pub(crate) fn check(&mut self) -> Result<()> {
        self.agent.as_mut().map_or(Ok(()), Program::check)
    }

    /// The end of the agent's log.
    pub(crate) fn log(&self) -> String {
        crate::server::tail(&self.folders.log)
    }

    /// Makes a pod: a namespace, the CNI plugin's ADD, and in it a server that says who answered.
    pub(crate) fn add_pod(&self, name: &str) -> Result<Pod> {
        let netns_name = format!("{NAME}_{name}");
        let netns = Arc::new(Netns::create(&netns_name)?);
        let added = self.cni("ADD", name);
        if added.is_err() {
            Netns::delete(&netns_name)?;
        }
        let answer = added?;
        let address = answer["ips"][0]["address"].as_str().context("the plugin names no address")?;
        let ip: IpAddr =
            address.split('/').next().unwrap_or_default().parse().context("reading a pod's address")?;
        let mut command = Command::new(&self.causeway);
        command
            .args(["echo", "--listen", ":8080"])
            .env("CAUSEWAY_POD", name)
            .env("CAUSEWAY_NODE", &self.name);
        let log = logged(&mut command, &self.folders.run.join(format!("{name}.log")))?;
        let sandbox = Sandbox { netns: Some(Arc::clone(&netns)), ..self.machine.sandbox() };
        let program = Some(Program::start_in(name, command, log, sandbox)?);
        Ok(Pod { name: name.into(), ip, netns, netns_name, program })
    }

    /// Takes it away again.
    pub(crate) fn remove_pod(&self, mut pod: Pod) -> Result<()> {
        if let Some(program) = pod.program.take() {
            program.kill()?;
        }
        self.cni("DEL", &pod.name)?;
        Ok(Netns::delete(&pod.netns_name)?)
    }

    /// Runs the plugin as a container runtime does.
    fn cni(&self, verb: &str, pod: &str) -> Result<Value> {
        let config = json!({ "cniVersion": "1.1.0", "name": "causeway", "type": "causeway" });
        let mut command = Command::new(&self.causeway);
        command.arg("cni").env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("CNI_COMMAND", verb).env("CNI_PATH", self.causeway.parent().unwrap_or(Path::new("/")));
        command.env("CNI_CONTAINERID", format!("e2e-{pod}")).env("CNI_IFNAME", "eth0");
        command.env("CNI_NETNS", netns::path_of(&format!("{NAME}_{pod}"))?);
        command.env("CNI_ARGS", format!("IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME={pod}"));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let sandbox = Sandbox { die_with_parent: true, ..self.machine.sandbox() };
        let mut child = sandbox::spawn(command, &sandbox).context("starting the CNI plugin")?;
        child.stdin.take().context("standard input is a pipe")?.write_all(config.to_string().as_bytes())?;
        let output = child.wait_with_output()?;
        let said = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() {
            bail!("CNI {verb} of {pod} on {}: {said}\nthe agent's log ends with:\n{}", self.name, self.log());
        }
        if verb == "ADD" { Ok(serde_json::from_str(&said)?) } else { Ok(Value::Null) }
    }

    /// Asks an address for half a second, from inside a pod of this node, with a new connection each time.
    pub(crate) fn ask(&self, from: &Pod, url: &str) -> Result<Asked> {
        let mut command = Command::new(&self.causeway);
        command.args([
            "lab",
            "load",
            "--url",
            url,
            "--rate",
            "50",
            "--duration",
            "500ms",
            "--timeout",
            "500ms",
        ]);
        command.args(["--output", "json"]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let sandbox =
            Sandbox { netns: Some(Arc::clone(&from.netns)), die_with_parent: true, ..self.machine.sandbox() };
        let output = sandbox::spawn(command, &sandbox)?.wait_with_output()?;
        let mut asked = Asked::default();
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            let sample: Value = serde_json::from_str(line).context("reading what became of a connection")?;
            match sample["answer"]["pod"].as_str() {
                Some(pod) => drop(asked.by.insert(pod.to_string())),
                None => asked.failed += 1,
            }
        }
        if asked == Asked::default() {
            bail!("asking {url}: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(asked)
    }
}

/// What became of half a second of connections.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Asked {
    /// Which pods answered.
    pub(crate) by: BTreeSet<String>,
    /// How many connections were not answered.
    pub(crate) failed: usize,
}

impl Asked {
    /// All were answered, by all of these pods and nobody else.
    pub(crate) fn exactly(&self, pods: &[&Pod]) -> bool {
        self.failed == 0 && self.by == pods.iter().map(|p| p.name.clone()).collect()
    }
}

fn logged(command: &mut Command, path: &Path) -> Result<PathBuf> {
    let file = std::fs::File::options().create(true).append(true).open(path);
    let file = file.with_context(|| format!("opening {}", path.display()))?;
    command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
    Ok(path.to_path_buf())
}

fn write(path: &Path, text: &str) -> Result<()> {
    let file = std::fs::File::options().create(true).truncate(true).write(true).mode(0o600).open(path);
    let wrote = file.and_then(|mut file| file.write_all(text.as_bytes()));
    wrote.with_context(|| format!("writing {}", path.display()))
}
