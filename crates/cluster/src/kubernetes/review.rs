//! Whether a ServiceAccount token is an agent's, and of which node: the API server says so.
//!
//! A token is handed on once and kept nowhere; nothing that is said of a failure contains it.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, TokenReviewStatus, UserInfo};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{PostParams, ResourceExt as _};
use kube::{Api, Client};

use super::Error;
use super::write::{PATIENCE, answered};

/// For whom an agent's token must be made out.
pub const AUDIENCE: &str = "causeway";

/// Where Kubernetes says which node a token's pod runs on (1.30 and later).
const NODE_NAME: &str = "authentication.kubernetes.io/node-name";
const POD_NAME: &str = "authentication.kubernetes.io/pod-name";
const POD_UID: &str = "authentication.kubernetes.io/pod-uid";

/// Why a token proves nothing.
#[derive(Debug, thiserror::Error)]
pub enum Unproved {
    /// The token is not good. The caller's to put right.
    #[error("the ServiceAccount token proves nothing: {0}")]
    Token(String),
    /// The API server was not to be had, or would not say. To be tried again.
    #[error("the ServiceAccount token cannot be checked now: {0}")]
    Unchecked(Error),
}

/// Asks the API server about tokens.
#[derive(Clone)]
pub struct TokenReviewer {
    client: Client,
    namespace: String,
    /// Whose tokens are agents'.
    user: String,
}

impl fmt::Debug for TokenReviewer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenReviewer").field("user", &self.user).finish_non_exhaustive()
    }
}

impl TokenReviewer {
    /// Takes the tokens of one ServiceAccount.
    pub fn new(client: Client, namespace: &str, service_account: &str) -> Self {
        let user = format!("system:serviceaccount:{namespace}:{service_account}");
        Self { client, namespace: namespace.into(), user }
    }

    /// The name of the node on which the token's pod runs; there is such a Node.
    ///
    /// # Errors
    /// It is no token of an agent, or that cannot be found out now.
    pub async fn review(&self, token: &str) -> Result<String, Unproved> {
        let status = self.ask(token).await?;
        let user =
            self.user(status).map_err(|problem| Unproved::Token(problem.replace(token, "(the token)")))?;
        let extra = user.extra.unwrap_or_default();
        let node = match one(&extra, NODE_NAME) {
            Some(node) => node.to_string(),
            None => self.node_of_pod(&extra).await?,
        };
        let nodes = Api::<Node>::all(self.client.clone());
        let found = answered(|| format!("get nodes/{node}"), PATIENCE, nodes.get_metadata_opt(&node)).await;
        match found.map_err(Unproved::Unchecked)? {
            Some(_) => Ok(node),
            None => Err(Unproved::Token(format!("its pod runs on {node}, and there is no such Node"))),
        }
    }

    async fn ask(&self, token: &str) -> Result<TokenReviewStatus, Unproved> {
        let review = TokenReview {
            spec: TokenReviewSpec { token: Some(token.into()), audiences: Some(vec![AUDIENCE.into()]) },
            ..TokenReview::default()
        };
        let api = Api::<TokenReview>::all(self.client.clone());
        let answer =
            answered(|| "create tokenreviews".into(), PATIENCE, api.create(&PostParams::default(), &review))
                .await
                .map_err(Unproved::Unchecked)?;
        Ok(answer.status.unwrap_or_default())
    }

    fn user(&self, status: TokenReviewStatus) -> Result<UserInfo, String> {
        if status.authenticated != Some(true) {
            let why = status.error.filter(|why| !why.is_empty());
            return Err(why.unwrap_or_else(|| "Kubernetes does not know it, or it has expired".into()));
        }
        // A server that knows nothing of audiences would say yes to a token for anybody.
        if !status.audiences.iter().flatten().any(|audience| audience == AUDIENCE) {
            return Err(format!("it is not made out for the audience {AUDIENCE}"));
        }
        let user = status.user.unwrap_or_default();
        match user.username.as_deref() {
            Some(name) if name == self.user => Ok(user),
            Some(name) => Err(format!("it is {name}'s, and agents are {}", self.user)),
            None => Err("it names nobody".into()),
        }
    }

    /// Where Kubernetes does not say in the token which node it is, the pod does.
    async fn node_of_pod(&self, extra: &BTreeMap<String, Vec<String>>) -> Result<String, Unproved> {
        let (Some(name), Some(uid)) = (one(extra, POD_NAME), one(extra, POD_UID)) else {
            return Err(Unproved::Token("it is bound to no pod: mount it as a projected volume".into()));
        };
        let pods = Api::<Pod>::namespaced(self.client.clone(), &self.namespace);
        let pod = answered(|| format!("get pods/{name}"), PATIENCE, pods.get_opt(name))
            .await
            .map_err(Unproved::Unchecked)?;
        let pod = pod.filter(|pod| pod.uid().as_deref() == Some(uid));
        let node = pod.and_then(|pod| pod.spec?.node_name).filter(|node| !node.is_empty());
        node.ok_or_else(|| {
            Unproved::Token(format!("its pod {}/{name} is gone, or on no node", self.namespace))
        })
    }
}

/// The only value of a key.
fn one<'a>(extra: &'a BTreeMap<String, Vec<String>>, key: &str) -> Option<&'a str> {
    match extra.get(key)?.as_slice() {
        [value] if !value.is_empty() => Some(value),
        _ => None,
    }
}
