//! Runs a pod: a network namespace and a control group on a node, wired by our CNI plugin, with programs in them.

mod cni;
mod container;
mod env;
mod life;
pub mod resolv;

use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kernel::cgroup::Cgroup;
use kernel::netns::{self, Netns};
use kernel::sandbox::Sandbox;
use model::ObjectName;
use tokio::sync::{OnceCell, mpsc, watch};
use tokio::task::{JoinHandle, JoinSet, spawn_blocking};
use tokio::time::timeout;
use tracing::{info, warn};

use self::cni::{Attachment, CniError, Plugin};
use self::container::Container;
use crate::plan::NodePlan;
use crate::probe::{Prober, readiness};
use crate::state;
use crate::supervise::Program;

pub use env::{EnvError, Facts, base as base_environment, command_line, environment};
pub use life::{Event, Life, RestartPolicy};

/// Between two attempts to wire a pod up, at first and at most.
const RETRY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// How long the network of a pod that is gone is tried to be taken down in order.
const UNWIRE: Duration = Duration::from_secs(3);

/// What Kubernetes grants a pod that says nothing.
const DEFAULT_GRACE: Duration = Duration::from_secs(30);

/// Where pods of one node run.
#[derive(Debug, Clone)]
pub struct Host {
    /// The node.
    pub node: Arc<NodePlan>,
    /// Its namespaces, for the CNI plugin.
    pub sandbox: Sandbox,
    /// Who asks readiness probes.
    pub prober: Prober,
    /// The `causeway` binary: the CNI plugin, and what pods find first on their path.
    pub causeway: PathBuf,
    /// Set once what pods of an earlier life had was given back.
    clean: Arc<OnceCell<()>>,
}

impl Host {
    /// A node that has just been started.
    pub fn new(node: Arc<NodePlan>, sandbox: Sandbox, prober: Prober, causeway: PathBuf) -> Self {
        Self { node, sandbox, prober, causeway, clean: Arc::default() }
    }

    fn plugin(&self) -> Plugin {
        Plugin { binary: self.causeway.clone(), node: self.sandbox.clone() }
    }
}

/// A pod's place on the machine.
#[derive(Debug, Clone)]
pub struct Place {
    /// The pod.
    pub pod: ObjectName,
    /// The name of its network namespace.
    pub netns: String,
    /// Its control group, relative to the root.
    pub cgroup: String,
}

impl Place {
    /// The place of a pod on a node.
    pub fn new(node: &NodePlan, pod: &ObjectName) -> Self {
        Self {
            pod: pod.clone(),
            netns: state::pod_netns(&node.name.cluster, pod),
            cgroup: state::pod_cgroup(&node.cgroup, pod),
        }
    }
}

/// A pod that runs, or tries to.
#[derive(Debug)]
pub struct Running {
    /// Its place.
    pub place: Place,
    stop: watch::Sender<bool>,
    over: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Running {
    /// Starts a pod. `report` is told at every change, `ended` when nothing of it is left.
    pub fn start(
        host: Host,
        pod: Pod,
        place: Place,
        report: impl Fn(&Life) + Send + Sync + 'static,
        ended: impl FnOnce() + Send + 'static,
    ) -> Self {
        let (stop, stopped) = watch::channel(false);
        let life = Live { life: Life::new(&pod), host, pod, place: place.clone(), report: Box::new(report) };
        let over = Arc::new(AtomicBool::new(false));
        let task = tokio::spawn({
            let over = Arc::clone(&over);
            async move {
                life.run(stopped).await;
                over.store(true, Ordering::Release);
                ended();
            }
        });
        Self { place, stop, over, task }
    }

    /// Asks it to end. Asking again changes nothing.
    pub fn terminate(&self) {
        self.stop.send_replace(true);
    }

    /// Whether nothing of it is left.
    pub fn ended(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// Forgets it: its processes are dead already, its node with them.
    pub fn forget(self) -> Place {
        self.task.abort();
        self.place
    }
}

struct Live {
    host: Host,
    pod: Pod,
    place: Place,
    life: Life,
    report: Box<dyn Fn(&Life) + Send + Sync>,
}

impl Live {
    async fn run(mut self, mut stop: watch::Receiver<bool>) {
        (self.report)(&self.life);
        let set_up = self.set_up(&mut stop).await;
        if let Some((attachment, cgroup, sandbox)) = set_up {
            self.serve(sandbox, &cgroup, &mut stop).await;
            self.tear_down(attachment, cgroup).await;
        }
        info!(pod = %self.place.pod, node = %self.host.node.name, "pod is gone");
    }

    fn tell(&mut self, event: Event) {
        self.life.handle(event);
        (self.report)(&self.life);
    }

    /// Makes its namespace and wires it up, however often that takes. None when it was stopped meanwhile.
    async fn set_up(&mut self, stop: &mut watch::Receiver<bool>) -> Option<(Attachment, Cgroup, Sandbox)> {
        let mut wait = RETRY.0;
        let (netns, cgroup) = loop {
            match self.place_on_machine().await {
                Ok(made) => break made,
                Err(e) => self.tell(Event::Stuck(format!("{e:#}"))),
            }
            if pause(stop, &mut wait).await {
                return None;
            }
        };
        let uid = self.pod.metadata.uid.clone().unwrap_or_default();
        let attachment = Attachment {
            plugin: self.host.plugin(),
            container_id: format!("{}_{uid}", self.place.netns),
            netns: netns::path_of(&self.place.netns).unwrap_or_default(),
            pod: self.place.pod.clone(),
        };
        let mut sandbox = Sandbox {
            netns: Some(Arc::new(netns)),
            mount: None,
            cgroup: Some(cgroup.path().to_path_buf()),
            new_session: true,
            die_with_parent: false,
        };
        wait = RETRY.0;
        loop {
            match self.wire(&attachment).await {
                Ok(ips) => {
                    match self.own_resolver(&ips).await {
                        Ok(view) => sandbox.mount = Some(Arc::new(view)),
                        Err(e) => {
                            warn!(pod = %self.place.pod, "it resolves names as the machine does: {e:#}")
                        }
                    }
                    self.tell(Event::Wired(ips));
                    return Some((attachment, cgroup, sandbox));
                }
                Err(e) => self.tell(Event::Stuck(e.to_string())),
            }
            if pause(stop, &mut wait).await {
                self.tear_down(attachment, cgroup).await;
                return None;
            }
        }
    }

    /// The first pod of a node sweeps before it moves in.
    async fn wire(&self, attachment: &Attachment) -> Result<Vec<IpAddr>, CniError> {
        self.host.clean.get_or_try_init(async || attachment.plugin.collect_garbage().await).await?;
        attachment.add().await
    }

    async fn own_resolver(&self, ips: &[IpAddr]) -> anyhow::Result<OwnedFd> {
        let file = resolv::write(&self.host.node, &self.place.pod, ips)?;
        spawn_blocking(move || resolv::view(&file)).await?
    }

    async fn place_on_machine(&self) -> anyhow::Result<(Netns, Cgroup)> {
        let place = self.place.clone();
        spawn_blocking(move || {
            // A name that a crash has left stands for nothing any more.
            Netns::delete(&place.netns)?;
            Ok((Netns::create(&place.netns)?, Cgroup::create(&place.cgroup)?))
        })
        .await?
    }

    /// Runs its containers until it is told to stop and all have ended.
    async fn serve(&mut self, sandbox: Sandbox, cgroup: &Cgroup, stop: &mut watch::Receiver<bool>) {
        let (events, mut happened) = mpsc::unbounded_channel();
        let mut tasks = JoinSet::new();
        let containers = self.pod.spec.iter().flat_map(|spec| &spec.containers).cloned().enumerate();
        for (index, container) in containers.collect::<Vec<_>>() {
            match self.container(index, &container, &sandbox) {
                Ok(container) => drop(tasks.spawn(container.keep(events.clone(), stop.clone()))),
                Err(e) => self.tell(Event::Impossible(index, e.to_string())),
            }
        }
        drop(events);
        loop {
            tokio::select! {
                Some(event) = happened.recv() => self.tell(event),
                () = told(stop) => break,
            }
        }
        self.tell(Event::Terminating);
        let grace = grace(&self.pod);
        let all_ended = async { while tasks.join_next().await.is_some() {} };
        if timeout(grace, all_ended).await.is_err() {
            warn!(pod = %self.place.pod, ?grace, "pod does not end; killing it");
        }
        // What a container left behind ends with it.
        if let Err(error) = cgroup.kill() {
            warn!(pod = %self.place.pod, %error, "cannot kill the pod");
        }
        while tasks.join_next().await.is_some() {}
    }

    fn container(
        &self,
        index: usize,
        container: &k8s_openapi::api::core::v1::Container,
        sandbox: &Sandbox,
    ) -> anyhow::Result<Container> {
        let node = &self.host.node;
        let bin = self.host.causeway.parent().map(|p| p.display().to_string()).unwrap_or_default();
        let facts = Facts { pod: &self.pod, node, ips: self.life.ips(), bin: &bin };
        let env = environment(&facts, container)?;
        let command = command_line(container, &env)?;
        let program = Program {
            name: format!("{}/{}/{}", node.name.cluster, self.place.pod, container.name),
            command: command.into_iter().map(Into::into).collect(),
            env,
            folder: Some(container.working_dir.clone().unwrap_or_else(|| "/".into()).into()),
            sandbox: sandbox.clone(),
            log: state::pod_log(&node.name.cluster, &self.place.pod),
        };
        Ok(Container {
            index,
            program,
            policy: RestartPolicy::of(&self.pod),
            probe: readiness(&self.pod, container)?,
            prober: self.host.prober.clone(),
            ip: first_of(self.life.ips()),
        })
    }

    /// Takes everything away again. What does not go is told and left to `lab down`.
    async fn tear_down(&self, attachment: Attachment, cgroup: Cgroup) {
        let unwire = async {
            let mut wait = RETRY.0;
            while let Err(error) = attachment.del().await {
                warn!(pod = %self.place.pod, %error, "cannot unwire the pod yet");
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(RETRY.1);
            }
        };
        if timeout(UNWIRE, unwire).await.is_err() {
            warn!(pod = %self.place.pod, "the pod's addresses stay taken until its node's agent cleans up");
        }
        resolv::remove(&self.host.node, &self.place.pod);
        let name = self.place.netns.clone();
        let removed = spawn_blocking(move || -> anyhow::Result<()> {
            cgroup.kill()?;
            cgroup.remove_tree()?;
            Ok(Netns::delete(&name)?)
        });
        match removed.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => warn!(pod = %self.place.pod, %error, "cannot remove the pod"),
            Err(error) => warn!(pod = %self.place.pod, %error, "cannot remove the pod"),
        }
    }
}

/// Waits to be told to stop. Whoever could tell is gone: that is the same.
async fn told(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Waits, longer each time. True when it was stopped meanwhile.
async fn pause(stop: &mut watch::Receiver<bool>, wait: &mut Duration) -> bool {
    let stopped = timeout(*wait, told(stop)).await.is_ok();
    *wait = (*wait * 2).min(RETRY.1);
    stopped
}

/// Probes ask the first address: `status.podIP`.
fn first_of(ips: &[IpAddr]) -> Option<IpAddr> {
    ips.first().copied()
}

fn grace(pod: &Pod) -> Duration {
    let deletion = pod.metadata.deletion_grace_period_seconds;
    let said = deletion.or(pod.spec.as_ref().and_then(|spec| spec.termination_grace_period_seconds));
    said.map_or(DEFAULT_GRACE, |seconds| Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
}
