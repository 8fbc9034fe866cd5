//! Wires a pod up by running our CNI plugin, as a container runtime does (CNI specification 1.1.0).

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

/// Everything a plugin is told about one pod.
#[derive(Debug, Clone)]
pub(super) struct Attachment {
    /// The plugin: `causeway`, called as `causeway cni`.
    pub plugin: PathBuf,
    /// The node's own namespaces and control group: where a runtime would run.
    pub node: Sandbox,
    /// Unique on the node, and another one for each life of the pod.
    pub container_id: String,
    /// The pod's network namespace, as a path.
    pub netns: PathBuf,
    /// The pod.
    pub pod: ObjectName,
}

/// Why a pod is not wired up. Worth another try unless it says otherwise.
#[derive(Debug, thiserror::Error)]
pub(super) enum CniError {
    /// The plugin could not be run, or did not end.
    #[error("CNI {command} for {pod}: cannot run {plugin}: {source}")]
    Run {
        /// `ADD` or `DEL`.
        command: &'static str,
        /// The pod.
        pod: ObjectName,
        /// The plugin.
        plugin: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// It took too long.
    #[error("CNI {command} for {pod}: no end after {PATIENCE:?}: is the node's agent stuck?")]
    Timeout {
        /// `ADD` or `DEL`.
        command: &'static str,
        /// The pod.
        pod: ObjectName,
    },
    /// The plugin answered with an error.
    #[error("CNI {command} for {pod}: {said}")]
    Refused {
        /// `ADD` or `DEL`.
        command: &'static str,
        /// The pod.
        pod: ObjectName,
        /// What it said.
        said: String,
    },
    /// The plugin's answer is no CNI result.
    #[error("CNI ADD for {pod}: the plugin's answer is no CNI result: {source}")]
    Answer {
        /// The pod.
        pod: ObjectName,
        /// What is wrong with it.
        source: serde_json::Error,
    },
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
        let answer = self.run("ADD").await?;
        let result: CniResult = serde_json::from_slice(&answer)
            .map_err(|source| CniError::Answer { pod: self.pod.clone(), source })?;
        Ok(result.ips.iter().map(|ip| ip.address.addr()).collect())
    }

    /// `DEL`: takes them away again.
    pub(super) async fn del(&self) -> Result<(), CniError> {
        self.run("DEL").await.map(drop)
    }

    async fn run(&self, command: &'static str) -> Result<Vec<u8>, CniError> {
        let pod = &self.pod;
        let failed =
            |source| CniError::Run { command, pod: pod.clone(), plugin: self.plugin.clone(), source };
        let config = serde_json::json!({"cniVersion": "1.1.0", "name": "causeway", "type": "causeway"});
        let mut plugin = Command::new(&self.plugin);
        plugin
            .arg("cni")
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("CNI_COMMAND", command)
            .env("CNI_CONTAINERID", &self.container_id)
            .env("CNI_NETNS", &self.netns)
            .env("CNI_IFNAME", DEVICE)
            .env(
                "CNI_ARGS",
                format!("IgnoreUnknown=1;K8S_POD_NAMESPACE={};K8S_POD_NAME={}", pod.namespace, pod.name),
            )
            .env("CNI_PATH", self.plugin.parent().unwrap_or(&self.plugin))
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
            Err(_) => return Err(CniError::Timeout { command, pod: pod.clone() }),
        };
        if output.status.success() {
            return Ok(output.stdout);
        }
        let said = match serde_json::from_slice::<CniFailure>(&output.stdout) {
            Ok(CniFailure { code, msg, details }) => format!("{msg} ({details}; code {code})"),
            Err(_) => format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim()),
        };
        Err(CniError::Refused { command, pod: pod.clone(), said })
    }
}
