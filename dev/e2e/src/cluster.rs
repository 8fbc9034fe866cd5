//! The cluster under test: what is installed, its controllers as processes, its nodes.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use crate::api::{Api, PATIENCE, until};
use crate::node::{Asked, Node, Pod};
use crate::server::{Program, Server, tail};
use crate::world::HOST;

/// Where Services have their addresses, and pods.
pub(crate) const SERVICES: &str = "10.113.0.0/16";
pub(crate) const PODS: &str = "10.112.0.0/16";

/// Where everything of ours lives.
pub(crate) const SYSTEM: &str = "/api/v1/namespaces/kube-system";
const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/causeway-controller";

/// The cluster.
pub(crate) struct Cluster {
    pub(crate) server: Server,
    pub(crate) api: Api,
    pub(crate) nodes: Vec<Node>,
    controllers: Vec<Option<Program>>,
    causeway: PathBuf,
    kubectl: PathBuf,
    folder: tempfile::TempDir,
}

impl Cluster {
    pub(crate) async fn new(server: Server, causeway: &Path, assets: &Path) -> Result<Cluster> {
        let api = Api::new(&server.kubeconfig()).await?;
        let folder = tempfile::Builder::new().prefix("causeway-e2e-").tempdir().context("making a folder")?;
        let (causeway, kubectl) =
            (causeway.canonicalize().context("finding the binary")?, assets.join("kubectl"));
        let (nodes, controllers) = (Vec::new(), vec![None, None]);
        Ok(Cluster { server, api, nodes, controllers, causeway, kubectl, folder })
    }

    /// Where the controller of this number listens.
    fn address(number: usize) -> String {
        format!("{HOST}:{}", 9640 + 10 * number)
    }

    /// What `causeway install --dry-run` prints.
    pub(crate) fn manifests(&self) -> Result<String> {
        let mut command = Command::new(&self.causeway);
        command.args([
            "install",
            "--dry-run",
            "--name",
            "e2e",
            "--id",
            "1",
            "--image",
            "causeway.invalid/causeway:e2e",
        ]);
        command.args(["--pod-cidr", PODS, "--service-cidr", SERVICES]);
        for number in 0..2 {
            command.args(["--controller-node", &format!("node-{}", number + 1)]);
            command.args(["--controller-address", &Self::address(number)]);
        }
        let output = command.output().context("running causeway install")?;
        if !output.status.success() {
            bail!("causeway install --dry-run: {}", String::from_utf8_lossy(&output.stderr));
        }
        String::from_utf8(output.stdout).context("reading the manifests")
    }

    /// `kubectl apply` of these manifests.
    pub(crate) fn apply(&self, manifests: &str, flags: &[&str]) -> Result<String> {
        let mut command = Command::new(&self.kubectl);
        command.arg("--kubeconfig").arg(self.server.kubeconfig()).arg("apply").args(flags).args(["-f", "-"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().context("starting kubectl")?;
        child.stdin.take().context("standard input is a pipe")?.write_all(manifests.as_bytes())?;
        let output = child.wait_with_output()?;
        if !output.status.success() {
            bail!("kubectl apply {}: {}", flags.join(" "), String::from_utf8_lossy(&output.stderr));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// A token of a ServiceAccount of ours, as its pod would be given one.
    async fn token(&self, account: &str, spec: Value) -> Result<String> {
        let path = format!("{SYSTEM}/serviceaccounts/{account}/token");
        let answer = self.api.create(&path, json!({ "spec": spec })).await?;
        Ok(answer["status"]["token"].as_str().context("no token")?.to_string())
    }

    /// Starts a controller: a process that knows no more than its pod would.
    pub(crate) async fn start_controller(&mut self, number: usize) -> Result<()> {
        let name = format!("controller-{number}");
        let folder = self.folder.path().join(&name);
        std::fs::create_dir_all(&folder)?;
        let token = self.token("causeway-controller", json!({ "expirationSeconds": 7200 })).await?;
        let kubeconfig = folder.join("kubeconfig");
        std::fs::write(&kubeconfig, self.server.kubeconfig_for(&token, HOST)?.to_string())?;
        let config = json!({
            "cluster": { "name": "e2e", "id": 1, "podCIDRs": [PODS], "serviceCIDRs": [SERVICES] },
            "source": { "kubernetes": { "kubeconfig": kubeconfig } },
            "listen": Self::address(number),
            "advertise": [Self::address(number)],
            "httpListen": format!("127.0.0.1:{}", 9642 + 10 * number),
            "stateDir": folder.join("state"),
            "runDir": folder.join("run"),
        });
        let path = folder.join("controller.yaml");
        std::fs::write(&path, config.to_string())?;
        let log = folder.join("log");
        let file = std::fs::File::options().create(true).append(true).open(&log)?;
        // A host name of its own, as its node would have: by that, leaders are told apart.
        let mut command = Command::new("unshare");
        let script = "echo \"$0\" >/proc/sys/kernel/hostname && exec \"$@\"";
        command.args(["--uts", "--", "sh", "-c", script, &name]).arg(&self.causeway);
        command.arg("controller").arg("--config").arg(&path);
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        self.controllers[number] = Some(Program::start(&name, command, log)?);
        Ok(())
    }

    /// Kills a controller.
    pub(crate) fn kill_controller(&mut self, number: usize) -> Result<()> {
        self.controllers[number].take().context("that controller does not run")?.kill()
    }

    /// Fails if a controller or an agent has ended by itself.
    pub(crate) fn check(&mut self) -> Result<()> {
        self.nodes.iter_mut().try_for_each(Node::check)?;
        self.controllers.iter_mut().flatten().try_for_each(Program::check)
    }

    /// Which controller leads, by what the Lease says.
    pub(crate) async fn leader(&self) -> Result<Option<usize>> {
        let lease = self.api.get(LEASE).await?;
        let holder = lease["spec"]["holderIdentity"].as_str().unwrap_or_default();
        Ok((0..2).find(|n| holder.contains(&format!("controller-{n}"))))
    }

    /// The end of the controllers' logs.
    pub(crate) fn logs(&self) -> String {
        let of = |n: usize| tail(&self.folder.path().join(format!("controller-{n}/log")));
        format!("--- controller-0\n{}\n--- controller-1\n{}", of(0), of(1))
    }

    /// Makes a node, and its agent's pod; starts the agent.
    pub(crate) async fn join(&mut self, number: u8) -> Result<()> {
        let mut node = Node::build(number, self.folder.path(), &self.causeway).await?;
        self.api.create("/api/v1/nodes", node.object(number.into())).await?;
        let pod = format!("causeway-agent-{number}");
        let object = json!({
            "metadata": { "name": pod },
            "spec": { "nodeName": node.name, "serviceAccountName": "causeway-agent", "hostNetwork": true,
                      "automountServiceAccountToken": false,
                      "containers": [{ "name": "agent", "image": "causeway.invalid/causeway:e2e" }] },
        });
        let made = self.api.create(&format!("{SYSTEM}/pods"), object).await?;
        let bound = json!({ "apiVersion": "v1", "kind": "Pod", "name": pod, "uid": made["metadata"]["uid"] });
        let spec = json!({ "audiences": ["causeway"], "expirationSeconds": 3600, "boundObjectRef": bound });
        let token = self.token("causeway-agent", spec).await?;
        let roots = self.api.get(&format!("{SYSTEM}/configmaps/causeway-roots")).await?;
        node.give_secrets(&token, roots["data"]["ca.crt"].as_str().context("causeway-roots has no ca.crt")?)?;
        node.start_agent(&[Self::address(0), Self::address(1)])?;
        self.nodes.push(node);
        Ok(())
    }

    /// Wires a pod up on a node, without a word to the API server.
    pub(crate) fn wire(&self, node: usize, name: &str) -> Result<Pod> {
        self.nodes[node].add_pod(name)
    }

    /// Tells the API server of a pod what a scheduler and a kubelet would.
    pub(crate) async fn report(&self, node: usize, app: &str, pod: &Pod) -> Result<()> {
        let node = &self.nodes[node].name;
        let object = json!({
            "metadata": { "name": pod.name, "labels": { "app": app } },
            "spec": { "nodeName": node, "automountServiceAccountToken": false,
                      "containers": [{ "name": "main", "image": "i", "ports": [{ "containerPort": 8080 }] }] },
        });
        self.api.create("/api/v1/namespaces/default/pods", object).await?;
        let status = json!({ "status": { "phase": "Running", "podIP": pod.ip, "podIPs": [{ "ip": pod.ip }],
            "conditions": [{ "type": "Ready", "status": "True" }, { "type": "ContainersReady", "status": "True" }] } });
        self.api.merge(&format!("/api/v1/namespaces/default/pods/{}/status", pod.name), status).await?;
        Ok(())
    }

    /// Waits until every connection from this pod to the Service is answered, by all of these pods and nobody else.
    pub(crate) async fn until_answered(
        &self,
        from: &Pod,
        url: &str,
        by: &[&Pod],
        patience: Duration,
    ) -> Result<Duration> {
        let mut last = Asked::default();
        let names: Vec<&str> = by.iter().map(|p| p.name.as_str()).collect();
        let what = format!("{url} is answered by {} whenever {} asks", names.join(" and "), from.name);
        let answered = until(&what, patience, async || {
            last = self.nodes[0].ask(from, url)?;
            Ok(last.exactly(by))
        });
        answered.await.with_context(|| format!("the last time: {last:?}"))
    }

    /// Waits until both agents' keys are known to the cluster.
    pub(crate) async fn until_enrolled(&mut self) -> Result<Duration> {
        until("every agent's key stands in its MeshNode", PATIENCE, async || {
            for node in &mut self.nodes {
                node.check()?;
                let path = format!("/apis/causeway.io/v1alpha1/meshnodes/{}", node.name);
                let object = self.api.get(&path).await?;
                if object["status"]["publicKey"].as_str().unwrap_or_default().is_empty() {
                    return Ok(false);
                }
            }
            Ok(true)
        })
        .await
    }
}
