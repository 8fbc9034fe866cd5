//! Links that objects ask for: made when a ClusterLink appears, kept while it is there, removed with it. Links that were
//! made by hand are left alone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use cluster::kubernetes::clusterlink::{self, ClusterLink, ClusterLinkStatus, Event, State, TokenRef};
use cluster::kubernetes::lease::Fence;
use cluster::kubernetes::write::Remedy;
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};
use wire::local::{LinkState, LinkStatus};

use crate::controller::Controller;
use crate::site::Site;

/// How often links are looked at.
const LOOK: Duration = Duration::from_secs(1);
/// Between two attempts to link, at first and at last.
const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(60);

/// Makes and removes links while it leads.
pub(crate) struct Declared<'a> {
    controller: Arc<Controller>,
    site: &'a Site,
    fence: Fence,
    /// What objects ask for, by name.
    wishes: BTreeMap<String, Wish>,
    /// Whether those are all.
    all: bool,
}

/// What an object asks for.
struct Wish {
    generation: Option<i64>,
    token: TokenRef,
    /// What it says has become of it.
    status: ClusterLinkStatus,
    /// When to try next, and how long to wait after that.
    at: Instant,
    pause: Duration,
    /// A token that was refused, and would be again.
    refused: Option<Vec<u8>>,
}

/// How a link stands, for its object.
struct Standing {
    cluster: String,
    id: u16,
    state: State,
    error: String,
}

impl Standing {
    fn of(link: &LinkStatus) -> Self {
        let connected = link.stream.connected;
        Self {
            cluster: link.cluster.to_string(),
            id: link.id,
            state: if connected { State::Connected } else { State::Disconnected },
            error: link.stream.last_error.clone().filter(|_| !connected).unwrap_or_default(),
        }
    }

    fn waiting(error: String) -> Self {
        Self { cluster: String::new(), id: 0, state: State::Waiting, error }
    }
}

impl<'a> Declared<'a> {
    pub(crate) fn new(controller: Arc<Controller>, site: &'a Site, fence: Fence) -> Self {
        Self { controller, site, fence, wishes: BTreeMap::new(), all: false }
    }

    /// Runs for as long as it is polled.
    ///
    /// # Errors
    /// The watch ended.
    pub(crate) async fn run(mut self) -> Result<()> {
        let mut events = clusterlink::watch_all(self.site.client.clone());
        let mut look = Instant::now();
        loop {
            tokio::select! {
                event = events.recv() => self.take(event.context("the watch of ClusterLinks ended")?),
                () = sleep_until(look) => {
                    look = Instant::now() + LOOK;
                    if self.all && self.controller.handle.leads() {
                        self.settle().await;
                    }
                }
            }
        }
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::All(objects) => {
                self.wishes.retain(|name, _| {
                    objects.iter().any(|object| object.metadata.name.as_ref() == Some(name))
                });
                objects.into_iter().for_each(|object| self.take_one(object));
                self.all = true;
            }
            Event::Upsert(object) => self.take_one(*object),
            Event::Delete(name) => drop(self.wishes.remove(&name)),
        }
    }

    fn take_one(&mut self, object: ClusterLink) {
        let (name, generation) = (object.metadata.name.unwrap_or_default(), object.metadata.generation);
        let status = object.status.unwrap_or_default();
        match self.wishes.get_mut(&name) {
            Some(wish) if wish.generation == generation => wish.status = status,
            _ => {
                let token = object.spec.token_secret_ref;
                let (at, pause) = (Instant::now(), FIRST);
                self.wishes.insert(name, Wish { generation, token, status, at, pause, refused: None });
            }
        }
    }

    /// Brings links to what objects ask for, and objects to how links stand.
    async fn settle(&mut self) {
        let handle = &self.controller.handle;
        for link in handle.links() {
            let Some(object) = link.declared_by.filter(|object| !self.wishes.contains_key(object)) else {
                continue;
            };
            match handle.remove_link(&link.cluster) {
                Ok(_) => {
                    info!(cluster = %link.cluster, object, "its ClusterLink is gone, and so is the link")
                }
                Err(error) => warn!(cluster = %link.cluster, %error, "a link could not be removed yet"),
            }
        }
        let names: Vec<String> = self.wishes.keys().cloned().collect();
        for name in names {
            // One that the other side has removed is to be made again: with a new token.
            let mut links = self.controller.handle.links();
            links.retain(|link| link.state != LinkState::Removed);
            let declared = links.iter().find(|link| link.declared_by.as_ref() == Some(&name));
            let standing = match declared {
                Some(link) => Some(Standing::of(link)),
                None => self.grant(&name, &links).await,
            };
            if let Some(standing) = standing {
                self.say(&name, &standing).await;
            }
        }
    }

    /// Tries to make the link that an object asks for. None when it is not yet time, or somebody else's turn.
    async fn grant(&mut self, name: &str, links: &[LinkStatus]) -> Option<Standing> {
        let wish = self.wishes.get_mut(name)?;
        // One that was made by hand, or before the object was.
        if let Some(link) = links.iter().find(|link| *link.cluster.as_str() == *wish.status.cluster) {
            return Some(Standing::of(link));
        }
        if wish.at > Instant::now() {
            return None;
        }
        wish.at = Instant::now() + wish.pause;
        wish.pause = (wish.pause * 2).min(LONGEST);
        let at = wish.token.clone();
        let namespace = self.site.namespace();
        let token = self.fence.keep(clusterlink::token(&self.site.client, namespace, &at)).await?;
        let token = match token {
            Ok(Some(token)) => token,
            Ok(None) => {
                return Some(Standing::waiting(format!(
                    "there is no key {} in the Secret {namespace}/{}: put there what `causeway link token` prints at the \
                     other cluster",
                    at.key, at.name
                )));
            }
            Err(error) => return Some(Standing::waiting(error.to_string())),
        };
        let text = String::from_utf8_lossy(&token).into_owned();
        let cluster = match link::token_cluster(&text) {
            Ok(cluster) => cluster,
            Err(error) => return Some(Standing::waiting(format!("{}/{}: {error}", at.name, at.key))),
        };
        if let Some(link) = links.iter().find(|link| link.cluster == cluster) {
            return Some(Standing::of(link));
        }
        let wish = self.wishes.get_mut(name)?;
        if wish.refused.as_ref() == Some(&token) {
            return None;
        }
        let joined = self.fence.keep(self.controller.handle.join_for(&text, name)).await?;
        match joined {
            Ok(cluster) => {
                info!(%cluster, object = name, "linked, as a ClusterLink asks");
                wish.pause = FIRST;
                None
            }
            Err(error) => {
                warn!(object = name, %error, "a link that a ClusterLink asks for could not be made yet");
                wish.refused = (!error.is_transient()).then_some(token);
                let cluster = cluster.to_string();
                Some(Standing { cluster, ..Standing::waiting(error.to_string()) })
            }
        }
    }

    /// Writes how a link stands into its object, if it says something else.
    async fn say(&mut self, name: &str, standing: &Standing) {
        let Some(wish) = self.wishes.get_mut(name) else { return };
        let Standing { cluster, id, state, error } = standing;
        let status = wish.status.next(wish.generation, cluster, *id, *state, error);
        if status == wish.status {
            return;
        }
        let write = clusterlink::apply_status(&self.site.client, name, &status);
        match self.fence.keep(write).await {
            Some(Ok(())) => wish.status = status,
            Some(Err(error)) if error.remedy() != Remedy::Gone => {
                warn!(object = name, %error, "the status of a ClusterLink could not be written yet");
            }
            Some(Err(_)) | None => {}
        }
    }
}
