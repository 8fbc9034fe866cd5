//! Wires a pod up by running our CNI plugin, as a container runtime does (CNI specification 1.1.0).

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use ipnet::IpNet;
use kernel::sandbox::{Sandbox, enter_before_exec};
use model::ObjectName;
use serde::Deserialize;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// The longest a plugin may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// The device inside the pod.
pub(super) const DEVICE: &str = "eth0";

/// The plugin on one node.
#[derive(Debug, Clone)]
pub(super) struct Plugin {
    /// `causeway`, called as `causeway cni`.
    pub(super) binary: PathBuf,
    /// The node's own namespaces and control group: where a runtime would run.
    pub(super) node: Sandbox,
}

/// Everything a plugin is told about one pod.
#[derive(Debug, Clone)]
pub(super) struct Attachment {
    /// The plugin.
    pub(super) plugin: Plugin,
    /// Unique on the node, and another one for each life of the pod.
    pub(super) container_id: String,
    /// The pod's network namespace, as a path.
    pub(super) netns: PathBuf,
    /// The pod.
    pub(super) pod: ObjectName,
}

/// Why a pod is not wired up. Worth another try unless it says otherwise.
#[derive(Debug, thiserror::Error)]
pub(super) enum CniError {
    /// The plugin could not be run, or did not end.
    #[error("CNI {command}: cannot run {plugin}: {source}")]
    Run {
        /// `ADD`, `DEL` or `GC`.
        command: &'static str,
        /// The plugin.
        plugin: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// It took too long.
    #[error("CNI {command}: no end after {PATIENCE:?}: is the node's agent stuck?")]
    Timeout {
        /// `ADD`, `DEL` or `GC`.
        command: &'static str,
    },
    /// The plugin answered with an error.
    #[error("CNI {command}: {said}")]
    Refused {
        /// `ADD`, `DEL` or `GC`.
        command: &'static str,
        /// What it said.
        said: String,
    },
    /// The plugin's answer is no CNI result.
    #[error("CNI ADD: the plugin's answer is no CNI result: {0}")]
    Answer(serde_json::Error),
}

#[derive(Deserialize)]
struct CniResult {
    ips: Vec<CniIp>,
}

#[derive(Deserialize)]
struct CniIp {
    address: IpNet,
}

#[derive(Deserialize)]
struct CniFailure {
    code: u32,
    msg: String,
    #[serde(default)]
    details: String,
}

impl Attachment {
    /// `ADD`: gives the pod its device and addresses.
    pub(super) async fn add(&self) -> Result<Vec<IpAddr>, CniError> {
        let answer = self.plugin.run("ADD", &self.words(), config()).await?;
        let result: CniResult = serde_json::from_slice(&answer).map_err(CniError::Answer)?;
        Ok(result.ips.iter().map(|ip| ip.address.addr()).collect())
    }

    /// `DEL`: takes them away again.
    pub(super) async fn del(&self) -> Result<(), CniError> {
        self.plugin.run("DEL", &self.words(), config()).await.map(drop)
    }

    fn words(&self) -> [(&'static str, OsString); 4] {
        let ObjectName { namespace, name } = &self.pod;
        let args = format!("IgnoreUnknown=1;K8S_POD_NAMESPACE={namespace};K8S_POD_NAME={name}");
        [
            ("CNI_CONTAINERID", self.container_id.clone().into()),
            ("CNI_NETNS", self.netns.clone().into()),
            ("CNI_IFNAME", DEVICE.into()),
            ("CNI_ARGS", args.into()),
        ]
    }
}

fn config() -> serde_json::Value {
    serde_json::json!({"cniVersion": "1.1.0", "name": "causeway", "type": "causeway"})
}

impl Plugin {
    /// `GC` on a node on which no pod runs: gives back what pods had that a power cut has taken.
    pub(super) async fn collect_garbage(&self) -> Result<(), CniError> {
        let mut config = config();
        config["cni.dev/valid-attachments"] = serde_json::json!([]);
        self.run("GC", &[], config).await.map(drop)
    }

    async fn run(
        &self,
        command: &'static str,
        words: &[(&str, OsString)],
        config: serde_json::Value,
    ) -> Result<Vec<u8>, CniError> {
        let failed = |source| CniError::Run { command, plugin: self.binary.clone(), source };
        let mut plugin = Command::new(&self.binary);
        plugin
            .arg("cni")
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("CNI_COMMAND", command)
            .env("CNI_PATH", self.binary.parent().unwrap_or(&self.binary))
            .envs(words.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        enter_before_exec(plugin.as_std_mut(), &self.node).map_err(failed)?;
        let mut child = plugin.spawn().map_err(failed)?;
        let mut stdin = child.stdin.take().expect("standard input was asked for as a pipe");
        let whole = async {
            match stdin.write_all(config.to_string().as_bytes()).await {
                // It may answer without having read.
                Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => return Err(e),
                _ => drop(stdin),
            }
            child.wait_with_output().await
        };
        let output = match tokio::time::timeout(PATIENCE, whole).await {
            Ok(output) => output.map_err(failed)?,
            Err(_) => return Err(CniError::Timeout { command }),
        };
        if output.status.success() {
            return Ok(output.stdout);
        }
        let said = match serde_json::from_slice::<CniFailure>(&output.stdout) {
            Ok(CniFailure { code, msg, details }) => format!("{msg} ({details}; code {code})"),
            Err(_) => format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim()),
        };
        Err(CniError::Refused { command, said })
    }
}
