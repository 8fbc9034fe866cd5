//! Asks probes' questions from inside a node, as its kubelet would.

use std::net::IpAddr;
use std::sync::Arc;

use kernel::netns::Netns;
use kernel::sandbox::Sandbox;
use tokio::sync::{mpsc, oneshot};

use super::{Answer, Spec, ask};

struct Job {
    spec: Spec,
    ip: IpAddr,
    sandbox: Sandbox,
    reply: oneshot::Sender<Answer>,
}

/// A thread that lives in a node's network namespace and asks from there. Clones share it; it ends with the last.
#[derive(Debug, Clone)]
pub struct Prober {
    jobs: mpsc::UnboundedSender<Job>,
}

impl Prober {
    /// Starts the thread.
    pub fn start(netns: Arc<Netns>) -> std::io::Result<Self> {
        let (jobs, mut queue) = mpsc::unbounded_channel::<Job>();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let serve = move || {
            runtime.block_on(async {
                while let Some(Job { spec, ip, sandbox, reply }) = queue.recv().await {
                    tokio::spawn(async move {
                        // Whoever asked may be gone; then nobody misses the answer.
                        let _ = reply.send(ask(&spec, ip, &sandbox).await);
                    });
                }
            });
        };
        let thread = std::thread::Builder::new().name("prober".into());
        thread.spawn(move || {
            if let Err(error) = netns.run(serve) {
                tracing::error!(%error, "no readiness probes on this node");
            }
        })?;
        Ok(Self { jobs })
    }

    /// Asks once.
    pub async fn ask(&self, spec: &Spec, ip: IpAddr, sandbox: &Sandbox) -> Answer {
        let gone = |_| "the node's prober has ended".to_string();
        let (reply, answer) = oneshot::channel();
        let job = Job { spec: spec.clone(), ip, sandbox: sandbox.clone(), reply };
        self.jobs.send(job).map_err(|_| gone(()))?;
        answer.await.map_err(|_| gone(()))?
    }
}
