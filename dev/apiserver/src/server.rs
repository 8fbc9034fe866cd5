//! The server: a thread of its own with its own runtime, so that it answers whatever its client is doing.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, mpsc as std_mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::access::Access;
use crate::direct;
use crate::faults::{Ending, Faults, Watching};
use crate::http;
use crate::journal::Request;
use crate::slices;
use crate::store::Store;
use crate::tokens::{Identity, Tokens};

/// How the server behaves.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// How many changes of each resource are remembered: who asks for an older version gets a 410.
    pub history: usize,
    /// How often a quiet watch gets a bookmark; a minute on a real server.
    pub bookmarks: Duration,
    /// Whether a watch may begin with a list (`sendInitialEvents`). Off as in Kubernetes 1.33; 1.32 and 1.34 have it
    /// on.
    pub streaming_lists: bool,
    /// Whether EndpointSlices are made for Services with a selector, as kube-controller-manager does.
    pub endpoint_slices: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            history: 20_000,
            bookmarks: Duration::from_secs(60),
            streaming_lists: false,
            endpoint_slices: false,
        }
    }
}

/// What the thread and the handle share.
pub(crate) struct Shared {
    pub(crate) store: Mutex<Store>,
    pub(crate) faults: Faults,
    pub(crate) watching: watch::Sender<Watching>,
    pub(crate) watches: Mutex<BTreeMap<u64, (String, String)>>,
    pub(crate) opened: AtomicU64,
    pub(crate) journal: Mutex<VecDeque<Request>>,
    pub(crate) violations: Mutex<Vec<Request>>,
    pub(crate) access: Mutex<Access>,
    pub(crate) tokens: Mutex<Tokens>,
    pub(crate) bookmarks: Duration,
    pub(crate) streaming_lists: bool,
}

/// How many requests the journal remembers.
const JOURNAL: usize = 100_000;

impl Shared {
    pub(crate) fn log(&self, request: Request) {
        let mut journal = self.journal.lock().expect("never poisoned");
        journal.push_back(request);
        if journal.len() > JOURNAL {
            journal.pop_front();
        }
    }
}

enum Command {
    Listen(TcpListener),
    Stop(std_mpsc::Sender<()>),
}

/// A running server; gone when dropped.
pub struct Server {
    shared: Arc<Shared>,
    address: SocketAddr,
    commands: Option<mpsc::UnboundedSender<Command>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts a server on loopback.
    ///
    /// # Panics
    ///
    /// When it cannot listen or start a thread: a test can do nothing else about it either.
    pub fn start(options: Options) -> Server {
        let listener = TcpListener::bind(options.listen)
            .unwrap_or_else(|e| panic!("listening on {} for the API server: {e}", options.listen));
        let address = listener.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Shared {
            store: Mutex::new(Store::new(options.history)),
            faults: Faults::default(),
            watching: watch::Sender::new(Watching::default()),
            watches: Mutex::default(),
            opened: AtomicU64::new(0),
            journal: Mutex::default(),
            violations: Mutex::default(),
            access: Mutex::default(),
            tokens: Mutex::default(),
            bookmarks: options.bookmarks,
            streaming_lists: options.streaming_lists,
        });
        for name in ["default", "kube-system", "kube-public", "kube-node-lease"] {
            direct::namespace(&mut shared.store.lock().expect("never poisoned"), name);
        }
        let (commands, inbox) = mpsc::unbounded_channel();
        commands.send(Command::Listen(listener)).expect("the receiver is in scope");
        let (inside, slices) = (shared.clone(), options.endpoint_slices);
        let thread = std::thread::Builder::new().name("apiserver".into()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.expect("a runtime of one thread needs a few descriptors");
            runtime.block_on(async {
                if slices {
                    tokio::spawn(slices::run(inside.clone()));
                }
                run(inside, inbox).await;
            });
        });
        let thread = Some(thread.expect("starting the API server's thread"));
        Server { shared, address, commands: Some(commands), thread }
    }

    /// Where it listens: `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A kubeconfig for it, as YAML (which JSON is).
    pub fn kubeconfig(&self) -> String {
        self.kubeconfig_with(json!({}))
    }

    /// A kubeconfig whose user no rule of access concerns: for the test itself.
    pub fn admin_kubeconfig(&self) -> String {
        self.kubeconfig_with(json!({ "token": ADMIN }))
    }

    fn kubeconfig_with(&self, user: Value) -> String {
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{ "name": "test", "cluster": { "server": self.url() } }],
            "contexts": [{ "name": "test", "context": { "cluster": "test", "user": "test" } }],
            "users": [{ "name": "test", "user": user }],
        });
        config.to_string()
    }

    /// Closes the listener and every connection; what is stored stays.
    pub fn stop(&self) {
        let (done, wait) = std_mpsc::channel();
        self.command(Command::Stop(done));
        // An error means that the thread has ended, and with it every connection.
        let _ = wait.recv();
    }

    /// Listens again, on the same address.
    ///
    /// # Errors
    ///
    /// If another process has taken the port meanwhile.
    pub fn restart(&self) -> io::Result<()> {
        self.command(Command::Listen(TcpListener::bind(self.address)?));
        Ok(())
    }

    fn command(&self, command: Command) {
        if let Some(commands) = &self.commands {
            // It can only fail after the thread has panicked, which the test has seen.
            let _ = commands.send(command);
        }
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        self.shared.store.lock().expect("never poisoned")
    }

    /// Puts an object straight into the store, replacing what is there: nothing is refused or checked, and its
    /// namespace is made if need be. A `status` is taken as given; without one the old one stays. Returns what is
    /// stored.
    ///
    /// # Panics
    ///
    /// If the object is of no kind that is served.
    pub fn apply_json(&self, object: Value) -> Value {
        direct::apply(&mut self.store(), object)
    }

    /// Removes an object at once, whatever its finalizers say. `resource` is `pods` or
    /// `leases.coordination.k8s.io`, `key` is `namespace/name` or `name`. Says whether it was there.
    pub fn delete(&self, resource: &str, key: &str) -> bool {
        direct::delete(&mut self.store(), resource, key)
    }

    /// One object as it is stored; named as in [`Server::delete`].
    pub fn get(&self, resource: &str, key: &str) -> Option<Value> {
        Some(self.store().get(resource, key)?.value())
    }

    /// All objects of a resource, in the order of their keys.
    pub fn list(&self, resource: &str) -> Vec<Value> {
        let store = self.store();
        store.table(resource).map(|t| t.objects.values().map(|o| o.value()).collect()).unwrap_or_default()
    }

    /// The version of the last write.
    pub fn version(&self) -> u64 {
        self.store().version
    }

    /// Where faults are asked for.
    pub fn faults(&self) -> &Faults {
        &self.shared.faults
    }

    /// Breaks the connection of every open watch.
    pub fn cut_watches(&self) {
        self.end_watches(Ending::Cut);
    }

    /// Ends every open watch with an `ERROR` event: 410, the version is too old.
    pub fn expire_watches(&self) {
        self.end_watches(Ending::Expired);
    }

    fn end_watches(&self, how: Ending) {
        let opened = self.shared.opened.load(std::sync::atomic::Ordering::Relaxed);
        self.shared.watching.send_modify(|w| w.ending = Some((opened, how)));
    }

    /// While stalled, watches stay open and say nothing; afterwards they say all of it.
    pub fn stall_watches(&self, stalled: bool) {
        self.shared.watching.send_modify(|w| w.stalled = stalled);
    }

    /// Forgets the past: every version read so far, and every continue token, is answered with 410.
    pub fn forget_history(&self) {
        self.store().forget();
    }

    /// The open watches: resource and user agent.
    pub fn watches(&self) -> Vec<(String, String)> {
        self.shared.watches.lock().expect("never poisoned").values().cloned().collect()
    }

    /// What was asked, oldest first: the last 100,000 requests.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.journal.lock().expect("never poisoned").iter().cloned().collect()
    }

    /// Forgets what was asked.
    pub fn clear_requests(&self) {
        self.shared.journal.lock().expect("never poisoned").clear();
    }

    /// Allows what these `PolicyRule`s allow (in one namespace, or with `None` everywhere) and, from the first call
    /// on, nothing else.
    ///
    /// # Panics
    ///
    /// If they are no rules.
    pub fn enforce(&self, namespace: Option<&str>, rules: &impl Serialize) {
        let added = self.shared.access.lock().expect("never poisoned").add(namespace, rules);
        added.unwrap_or_else(|e| panic!("{e:#}"));
    }

    /// What was asked and refused for want of a rule.
    pub fn violations(&self) -> Vec<Request> {
        self.shared.violations.lock().expect("never poisoned").clone()
    }

    /// What a TokenReview says of this token. Unknown tokens are not authenticated.
    pub fn accept_token(&self, token: &str, identity: Identity) {
        self.shared.tokens.lock().expect("never poisoned").accept(token, identity);
    }

    /// No longer accepts it.
    pub fn revoke_token(&self, token: &str) {
        self.shared.tokens.lock().expect("never poisoned").revoke(token);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.commands = None;
        if let Some(thread) = self.thread.take() {
            // A panic of the server's has been printed by its own thread.
            let _ = thread.join();
        }
    }
}

/// The bearer token that no rule of access concerns.
pub(crate) const ADMIN: &str = "admin";

/// Accepts connections until the handle is gone.
async fn run(shared: Arc<Shared>, mut inbox: mpsc::UnboundedReceiver<Command>) {
    let mut listener: Option<tokio::net::TcpListener> = None;
    let mut connections = JoinSet::new();
    loop {
        let accept = async {
            match &listener {
                Some(listener) => listener.accept().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            command = inbox.recv() => match command {
                Some(Command::Listen(bound)) => {
                    bound.set_nonblocking(true).expect("a socket can be made non-blocking");
                    listener = Some(tokio::net::TcpListener::from_std(bound).expect("it is a listening socket"));
                }
                Some(Command::Stop(done)) => {
                    listener = None;
                    connections.shutdown().await;
                    // The caller may have gone away.
                    let _ = done.send(());
                }
                None => return,
            },
            accepted = accept => {
                let Ok((stream, _)) = accepted else { continue };
                // Small lines of a watch are not to wait for each other.
                let _ = stream.set_nodelay(true);
                let shared = shared.clone();
                connections.spawn(async move {
                    let service = service_fn(move |request| http::answer(shared.clone(), request));
                    // A connection that breaks is the client's business, or a fault that was asked for.
                    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}
