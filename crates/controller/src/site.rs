//! The controller's place in Kubernetes: how its API server is reached, as whom, and who checks agents' tokens there.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use cluster::kubernetes::access::LEASE;
use cluster::kubernetes::client::{ClientOptions, client};
use cluster::kubernetes::lease::{Election, LeaseOptions, Timing, elect};
use cluster::kubernetes::multicluster::Multicluster;
use cluster::kubernetes::report::Reporter;
use cluster::kubernetes::review::{TokenReviewer, Unproved};
use cluster::kubernetes::state::Store;
use cluster::kubernetes::{Client, Error};
use link::controller::{NotReviewed, Review, Reviewer, state};
use model::ClusterName;
use tracing::{info, warn};

use crate::config::Source;

/// Whose tokens are agents'.
const AGENT: &str = "causeway-agent";
/// How long until the API server is asked again at the start.
const PAUSE: Duration = Duration::from_secs(1);

/// The API server, and this controller there.
pub(crate) struct Site {
    pub(crate) client: Client,
    pub(crate) store: Store,
    pub(crate) reporter: Reporter,
    pub(crate) multicluster: Multicluster,
    pub(crate) identity: String,
    pub(crate) certificate_lifetime: Duration,
    namespace: String,
}

impl Site {
    /// Finds the API server; none for a cluster without one. Whether it answers is not tried.
    pub(crate) async fn find(source: &Source) -> Result<Option<Self>> {
        let Source::Kubernetes { kubeconfig, namespace, certificate_seconds } = source else {
            return Ok(None);
        };
        let options = ClientOptions { kubeconfig: kubeconfig.clone(), ..ClientOptions::default() };
        let client = client(&options).await.context("finding the API server")?;
        let identity = identity();
        Ok(Some(Self {
            store: Store::new(client.clone(), namespace),
            reporter: Reporter::new(client.clone(), &identity),
            multicluster: Multicluster::new(client.clone()),
            client,
            identity,
            certificate_lifetime: Duration::from_secs((*certificate_seconds).into()),
            namespace: namespace.clone(),
        }))
    }

    /// The namespace that Causeway runs in.
    pub(crate) fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Stands for election among the cluster's controllers.
    pub(crate) fn elect(&self) -> Election {
        let options = LeaseOptions {
            namespace: self.namespace.clone(),
            name: LEASE.into(),
            identity: self.identity.clone(),
            timing: Timing::default(),
        };
        elect(self.client.clone(), options)
    }

    /// Who checks agents' tokens.
    pub(crate) fn reviewer(&self, nodes: Nodes) -> Arc<dyn Reviewer> {
        let tokens = TokenReviewer::new(self.client.clone(), &self.namespace, AGENT);
        Arc::new(Desk { tokens, nodes })
    }

    /// Brings the state that all controllers of the cluster share into the directory; the first of them makes it. If the
    /// API server does not answer, what the directory has must do, if it has anything.
    pub(crate) async fn fetch_state(&self, dir: &Path, cluster: &ClusterName) -> Result<()> {
        let mut said = false;
        loop {
            let error = match self.try_fetch_state(dir, cluster).await? {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            if state::has_authority(&state::read(dir)?) {
                warn!(%error, "beginning with the state on this machine's disk");
                return Ok(());
            }
            if !std::mem::replace(&mut said, true) {
                warn!(%error, "the cluster's CA is not here yet; trying again");
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn try_fetch_state(&self, dir: &Path, cluster: &ClusterName) -> Result<Result<(), Error>> {
        let shared = match self.store.load().await {
            Ok(Some(files)) => files,
            Ok(None) => match self.store.found(state::found(dir, cluster)?).await {
                Ok(files) => files,
                Err(error) => return Ok(Err(error)),
            },
            Err(error) => return Ok(Err(error)),
        };
        if !state::has_authority(&shared) {
            bail!(
                "the Secret {} has no ca.key and ca.crt: restore it from a backup, or remove it and let every node and \
                 link join again",
                cluster::kubernetes::state::STATE
            );
        }
        let written = state::write(dir, &shared)?;
        if !written.is_empty() {
            info!(?written, "the cluster's state was taken over");
        }
        Ok(Ok(()))
    }
}

/// A name that no other controller has, nor this one's next life.
fn identity() -> String {
    use std::hash::{BuildHasher as _, RandomState};
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = if host.trim().is_empty() { "controller" } else { host.trim() };
    let chance = RandomState::new().hash_one(std::process::id());
    format!("{host}_{chance:016x}")
}

/// The names of the cluster's Nodes, once they are known.
#[derive(Debug, Clone, Default)]
pub(crate) struct Nodes(Arc<RwLock<Known>>);

#[derive(Debug, Default)]
struct Known {
    names: BTreeSet<String>,
    all: bool,
}

impl Nodes {
    /// These are all.
    pub(crate) fn set(&self, names: impl Iterator<Item = String>) {
        *self.write() = Known { names: names.collect(), all: true };
    }

    pub(crate) fn add(&self, name: &str) {
        self.write().names.insert(name.into());
    }

    pub(crate) fn remove(&self, name: &str) {
        self.write().names.remove(name);
    }

    /// Whether there is such a Node, as far as is known.
    fn may_have(&self, name: &str) -> bool {
        let known = self.0.read().expect("nobody panics while holding it");
        !known.all || known.names.contains(name)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Known> {
        self.0.write().expect("nobody panics while holding it")
    }
}

/// Asks the API server about tokens, and the source about nodes.
#[derive(Debug)]
struct Desk {
    tokens: TokenReviewer,
    nodes: Nodes,
}

impl Reviewer for Desk {
    fn review<'a>(&'a self, token: &'a str) -> Review<'a> {
        Box::pin(async move {
            self.tokens.review(token).await.map_err(|error| match error {
                Unproved::Token(_) => NotReviewed::Refused(error.to_string()),
                Unproved::Unchecked(_) => NotReviewed::NotNow(error.to_string()),
            })
        })
    }

    fn is_node(&self, node: &str) -> bool {
        self.nodes.may_have(node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_taken_for_gone_before_all_are_known() {
        let nodes = Nodes::default();
        nodes.add("a");
        assert!(nodes.may_have("b"));
        nodes.set(["a".to_string()].into_iter());
        assert!(nodes.may_have("a") && !nodes.may_have("b"));
        nodes.add("b");
        nodes.remove("a");
        assert!(nodes.may_have("b") && !nodes.may_have("a"));
    }

    #[test]
    fn no_two_identities_are_the_same() {
        assert_ne!(identity(), identity());
    }
}
