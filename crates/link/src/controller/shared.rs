//! What the listener, the streams and the handle share.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use engine::exchange::{Limits, Teller};
use model::{Change, ClusterName, NodeName, Object, ObjectName};
use tokio::sync::{mpsc, watch};
use wire::pb;

use super::links::Links;
use super::review::Patience;
use super::session::Session;
use super::wishes::Wishes;
use super::{ControllerEvent, ControllerOptions};
use crate::pki::{Authority, Credentials, Trust};
use crate::tally::{Refused, Tally};
use crate::tokens::Tokens;
use crate::{Address, Error, frames};

/// Events waiting for the controller. A frame brings at most four.
const EVENTS: usize = 64;

/// Everything there is one of.
pub(crate) struct Shared {
    pub(crate) options: ControllerOptions,
    pub(crate) local: SocketAddr,
    authority: ArcSwap<Authority>,
    /// Held while the CA is replaced.
    pub(crate) turning: Mutex<()>,
    /// Ticks when the CA's roots have changed.
    pub(crate) rooted: watch::Sender<()>,
    pub(crate) trust: Arc<Trust>,
    pub(crate) credentials: Arc<Credentials>,
    pub(crate) tokens: Tokens,
    pub(crate) tally: Tally,
    pub(crate) teller: Mutex<Teller>,
    /// Ticks when there is something to tell; false until the first time.
    pub(crate) published: watch::Sender<bool>,
    /// The services whose endpoints in other clusters are of use here; none before anything was published.
    pub(crate) wanted: watch::Sender<Option<Arc<BTreeSet<ObjectName>>>>,
    /// The clusters whose pods agents want.
    pub(crate) wishes: Wishes,
    /// Whether nothing is to be told for now.
    pub(crate) holding: AtomicBool,
    /// Ticks when the own certificate has been renewed.
    pub(crate) renewed: watch::Sender<()>,
    /// Whether this is the controller that others talk with, where a cluster has several.
    pub(crate) leads: watch::Sender<bool>,
    /// Ticks when a file of [`super::state`] was written.
    pub(crate) saved: watch::Sender<()>,
    /// Whose tokens proved nothing.
    pub(crate) patience: Patience,
    /// Turns true when the last handle is gone.
    pub(crate) stop: watch::Sender<bool>,
    pub(crate) events: mpsc::Sender<ControllerEvent>,
    agents: Mutex<BTreeMap<NodeName, Session>>,
    links: Mutex<Links>,
}

impl Shared {
    /// Loads what is on disk.
    pub(crate) fn open(
        mut options: ControllerOptions,
        local: SocketAddr,
        epoch: u64,
    ) -> Result<(Self, mpsc::Receiver<ControllerEvent>), Error> {
        let dir: PathBuf = options.state_dir.clone();
        let own = options.cluster.clone();
        let authority = Authority::open(&dir, &own.name, options.lifetimes.clone(), SystemTime::now())?;
        let saved = watch::Sender::new(());
        let held = std::mem::take(&mut options.held);
        let wishes = Wishes::new(&held);
        let links = Links::open(&dir, own.clone(), held, saved.clone(), options.links)?;
        let trust = Trust::default();
        trust.set(&own.name, authority.roots().clone());
        for record in links.iter().map(|link| &link.record).chain(links.removed()) {
            trust.set(&record.cluster.name, record.roots.clone());
        }
        let mut teller = Teller::new(own.name.clone(), epoch, Limits::default());
        teller.apply(Change::Upsert(Object::Cluster(own)));
        let (events, receiver) = mpsc::channel(EVENTS);
        let shared = Self {
            tokens: Tokens::open(&dir, saved.clone())?,
            leads: watch::Sender::new(options.leads),
            saved,
            patience: Patience::default(),
            options,
            local,
            authority: ArcSwap::from_pointee(authority),
            turning: Mutex::new(()),
            rooted: watch::Sender::default(),
            trust: Arc::new(trust),
            credentials: Arc::default(),
            tally: Tally::default(),
            teller: Mutex::new(teller),
            published: watch::Sender::default(),
            wanted: watch::Sender::default(),
            wishes,
            holding: AtomicBool::new(false),
            renewed: watch::Sender::default(),
            stop: watch::Sender::default(),
            events,
            agents: Mutex::default(),
            links: Mutex::new(links),
        };
        Ok((shared, receiver))
    }

    pub(crate) fn name(&self) -> &ClusterName {
        &self.options.cluster.name
    }

    /// Where linked clusters reach this one.
    pub(crate) fn advertised(&self) -> Vec<Address> {
        match &*self.options.advertise_to_clusters {
            [] => self.options.advertise.iter().copied().map(Address::Ip).collect(),
            addresses => addresses.to_vec(),
        }
    }

    pub(crate) fn authority(&self) -> Arc<Authority> {
        self.authority.load_full()
    }

    /// From now on this CA signs, and its roots count.
    pub(crate) fn set_authority(&self, authority: Authority) -> Result<(), Error> {
        let leaf = authority.own_leaf(SystemTime::now())?;
        self.trust.set(self.name(), authority.roots().clone());
        self.authority.store(Arc::new(authority));
        self.credentials.set(&leaf);
        self.saved.send_replace(());
        self.rooted.send_replace(());
        Ok(())
    }

    /// The first frame of a stream.
    pub(crate) fn hello(&self) -> pb::Frame {
        let authority = self.authority();
        frames::hello(authority.roots(), authority.crosses())
    }

    pub(crate) fn links(&self) -> MutexGuard<'_, Links> {
        self.links.lock().expect("no panic while the links are locked")
    }

    pub(crate) fn agents(&self) -> MutexGuard<'_, BTreeMap<NodeName, Session>> {
        self.agents.lock().expect("no panic while the agents are locked")
    }

    pub(crate) fn teller(&self) -> MutexGuard<'_, Teller> {
        self.teller.lock().expect("no panic while the teller is locked")
    }

    /// Counts a refusal, and says the first of its kind. An event too many is dropped: the log has it.
    pub(crate) fn refuse(&self, why: Refused, origin: &str, detail: &str) {
        if let Some(line) = self.tally.refuse(why, origin, detail) {
            let _ = self.events.try_send(ControllerEvent::Problem(line));
        }
    }

    /// Whether this is the controller that others talk with.
    pub(crate) fn leads(&self) -> bool {
        *self.leads.borrow()
    }

    /// That something is only to be had from the controller that leads.
    ///
    /// # Errors
    /// This is another.
    pub(crate) fn must_lead(&self) -> Result<(), Error> {
        match self.leads() {
            true => Ok(()),
            false => Err(Error::Standby("ask the one that leads".into())),
        }
    }

    /// Waits until this controller leads.
    pub(crate) async fn elected(&self) {
        // The sender is `self`'s own, so this ends with `true` only.
        let _ = self.leads.subscribe().wait_for(|leads| *leads).await;
    }

    /// Waits until it does not.
    pub(crate) async fn deposed(&self) {
        let _ = self.leads.subscribe().wait_for(|leads| !*leads).await;
    }

    /// Waits until everything has to end.
    pub(crate) async fn stopped(&self) {
        // The sender is `self`'s own, so this ends with `true` only.
        let _ = self.stop.subscribe().wait_for(|stop| *stop).await;
    }

    /// Says that objects of links that are gone are gone too.
    pub(crate) async fn take_leave(&self) {
        let leaving = self.links().leaving();
        for cluster in leaving {
            let Ok(room) = self.events.reserve().await else { return };
            if let Some(held) = self.links().take_leaving(&cluster) {
                let changes = held.deletions();
                room.send(ControllerEvent::PeerChanges { cluster, changes, position: None });
            }
        }
    }
}
