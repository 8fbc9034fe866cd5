//! Which cluster, and as whom.

use std::path::PathBuf;

use anyhow::Result;
use cluster::kubernetes::client::{ClientOptions, client};
use kube::config::Kubeconfig;

/// Where everything is unless somebody says otherwise.
pub(crate) const NAMESPACE: &str = install::settings::SYSTEM;

/// Which cluster, and as whom.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Access {
    /// The kubeconfig [default: $KUBECONFIG, else ~/.kube/config].
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Its context, in place of the current one.
    #[arg(long, value_name = "NAME")]
    pub(crate) context: Option<String>,
    /// The namespace that everything is in [default: kube-system].
    #[arg(long, value_name = "NAME")]
    pub(crate) namespace: Option<String>,
}

impl Access {
    /// A client for it.
    pub(crate) async fn client(&self) -> Result<kube::Client> {
        let options = ClientOptions {
            kubeconfig: self.kubeconfig.clone(),
            context: self.context.clone(),
            ..ClientOptions::default()
        };
        Ok(client(&options).await?)
    }

    /// Whether somebody said which.
    pub(crate) fn is_given(&self) -> bool {
        self.kubeconfig.is_some() || self.context.is_some() || self.namespace.is_some()
    }

    /// The namespace that everything is in.
    pub(crate) fn namespace(&self) -> &str {
        self.namespace.as_deref().unwrap_or(NAMESPACE)
    }
}

/// What the kubeconfig calls the cluster; empty if it does not say.
pub(crate) fn name_of_cluster(access: &Access) -> String {
    let found = access.kubeconfig.as_ref().map_or_else(Kubeconfig::read, Kubeconfig::read_from);
    let Ok(config) = found else { return String::new() };
    let context = access.context.clone().or(config.current_context).unwrap_or_default();
    let context = config.contexts.into_iter().find(|named| named.name == context);
    context.and_then(|named| named.context).map(|context| context.cluster).unwrap_or_default()
}
