//! A real API server of our own: etcd, kube-apiserver and, where there is one, kube-controller-manager, on loopback,
//! in a folder that goes with it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use k8s_openapi::jiff::Timestamp;
use kernel::process::Process;
use kernel::sandbox::{self, Sandbox};
use serde_json::{Value, json};

/// The token of somebody who may do everything.
const ADMIN: &str = "administrator";

/// How long a process may take to be ready.
const PATIENCE: Duration = Duration::from_secs(60);

/// The processes and their folder. Dropped, they are gone.
pub(crate) struct Server {
    assets: PathBuf,
    folder: tempfile::TempDir,
    port: u16,
    etcd_port: u16,
    etcd: Option<Program>,
    api: Option<Program>,
    manager: Option<Program>,
    /// Whether watches may begin with a list.
    streaming_lists: bool,
    /// From when to when it was starting.
    starts: Vec<(Timestamp, Timestamp)>,
}

impl Server {
    /// Starts them from the binaries in `assets`.
    pub(crate) async fn start(assets: &Path, streaming_lists: bool) -> Result<Server> {
        let folder = tempfile::Builder::new().prefix("causeway-e2e-").tempdir().context("making a folder")?;
        let (port, etcd_port) = (ports::free().port(), ports::free().port());
        let assets = assets.to_path_buf();
        let (etcd, api, manager) = (None, None, None);
        let starts = Vec::new();
        let mut server =
            Server { assets, folder, port, etcd_port, etcd, api, manager, streaming_lists, starts };
        server.write_files()?;
        server.etcd = Some(server.run_etcd()?);
        server.resume().await?;
        Ok(server)
    }

    /// A kubeconfig of somebody who may do everything.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.path("kubeconfig")
    }

    /// A kubeconfig of whom this token names, reaching the server under this address.
    pub(crate) fn kubeconfig_for(&self, token: &str, address: &str) -> Result<Value> {
        let roots = fs::read(self.path("ca.crt")).context("reading the server's CA")?;
        Ok(json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "e2e",
            "clusters": [{ "name": "e2e", "cluster": {
                "server": format!("https://{address}:{}", self.port),
                "certificate-authority-data": BASE64.encode(roots) } }],
            "contexts": [{ "name": "e2e", "context": { "cluster": "e2e", "user": "e2e" } }],
            "users": [{ "name": "e2e", "user": { "token": token } }],
        }))
    }

    /// Whether EndpointSlices are made, owners' objects collected and namespaces emptied.
    pub(crate) fn has_controllers(&self) -> bool {
        self.assets.join("kube-controller-manager").exists()
    }

    /// Every request that the server has answered so far, as the audit log tells it.
    pub(crate) fn audit(&self) -> Result<Vec<Value>> {
        let text = fs::read_to_string(self.path("audit.log")).context("reading the audit log")?;
        // The last line may be half written.
        Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
    }

    /// Ends kube-apiserver (and what hangs on it); etcd keeps everything.
    pub(crate) fn pause(&mut self) -> Result<()> {
        for program in [self.manager.take(), self.api.take()].into_iter().flatten() {
            program.stop()?;
        }
        Ok(())
    }

    /// Starts kube-apiserver again, and waits until it is ready.
    pub(crate) async fn resume(&mut self) -> Result<()> {
        let started = Timestamp::now();
        self.api = Some(self.run_api()?);
        let client = crate::api::Api::new(&self.kubeconfig()).await?;
        let begun = Instant::now();
        loop {
            if client.is_ready().await {
                break;
            }
            for program in [&mut self.etcd, &mut self.api].into_iter().flatten() {
                program.check()?;
            }
            if begun.elapsed() > PATIENCE {
                bail!("kube-apiserver is not ready after {PATIENCE:?}:\n{}", self.log("kube-apiserver"));
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        self.starts.push((started, Timestamp::now()));
        if self.has_controllers() {
            self.manager = Some(self.run_manager()?);
        }
        Ok(())
    }

    /// Whether a request was forbidden before the server was ready: until it has read its roles, everything is.
    pub(crate) fn forbade_in_starting(&self, entry: &Value) -> bool {
        if entry["responseStatus"]["code"] != 403 {
            return false;
        }
        let received = entry["requestReceivedTimestamp"].as_str().and_then(|text| text.parse().ok());
        received.is_some_and(|at: Timestamp| self.starts.iter().any(|(from, to)| (*from..=*to).contains(&at)))
    }

    /// The end of a program's log.
    fn log(&self, name: &str) -> String {
        tail(&self.path(&format!("{name}.log")))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write_files(&self) -> Result<()> {
        let key = rcgen::KeyPair::generate().context("making the ServiceAccounts' key")?;
        fs::write(self.path("accounts.key"), key.serialize_pem())?;
        fs::write(self.path("accounts.pub"), key.public_key_pem())?;
        let ca_key = rcgen::KeyPair::generate()?;
        let mut ca = rcgen::CertificateParams::default();
        ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        ca.distinguished_name.push(rcgen::DnType::CommonName, "causeway-e2e");
        let certificate = ca.self_signed(&ca_key)?;
        fs::write(self.path("ca.crt"), certificate.pem())?;
        let issuer = rcgen::Issuer::new(ca, ca_key);
        let server_key = rcgen::KeyPair::generate()?;
        let names = ["127.0.0.1", "localhost", "kubernetes.default.svc", crate::world::HOST];
        let mut server = rcgen::CertificateParams::new(names.map(String::from).to_vec())?;
        server.distinguished_name.push(rcgen::DnType::CommonName, "kube-apiserver");
        let signed = server.signed_by(&server_key, &issuer)?;
        fs::write(self.path("server.crt"), signed.pem())?;
        fs::write(self.path("server.key"), server_key.serialize_pem())?;
        fs::write(self.path("tokens.csv"), format!("{ADMIN},admin,admin,\"system:masters\"\n"))?;
        let policy = json!({
            "apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"],
            "rules": [{ "level": "Metadata" }],
        });
        fs::write(self.path("audit.json"), policy.to_string())?;
        fs::write(self.kubeconfig(), self.kubeconfig_for(ADMIN, "127.0.0.1")?.to_string())?;
        Ok(())
    }

    fn run_etcd(&self) -> Result<Program> {
        let (client, peer) = (format!("http://127.0.0.1:{}", self.etcd_port), ports::free().port());
        let peer = format!("http://127.0.0.1:{peer}");
        let data = self.path("etcd").display().to_string();
        self.run(
            "etcd",
            &[
                ("data-dir", &data),
                ("listen-client-urls", &client),
                ("advertise-client-urls", &client),
                ("listen-peer-urls", &peer),
                ("unsafe-no-fsync", "true"),
            ],
        )
    }

    fn run_api(&self) -> Result<Program> {
        let at = |name: &str| self.path(name).display().to_string();
        // A real cluster makes the account `default` of every namespace; without its controller pods need none.
        let accounts = if self.has_controllers() { "" } else { "ServiceAccount" };
        self.run(
            "kube-apiserver",
            &[
                ("etcd-servers", &format!("http://127.0.0.1:{}", self.etcd_port)),
                ("bind-address", "0.0.0.0"),
                ("advertise-address", crate::world::HOST),
                ("secure-port", &self.port.to_string()),
                ("tls-cert-file", &at("server.crt")),
                ("tls-private-key-file", &at("server.key")),
                ("service-account-issuer", "https://kubernetes.default.svc"),
                ("service-account-key-file", &at("accounts.pub")),
                ("service-account-signing-key-file", &at("accounts.key")),
                ("token-auth-file", &at("tokens.csv")),
                ("authorization-mode", "RBAC"),
                ("service-cluster-ip-range", crate::cluster::SERVICES),
                ("disable-admission-plugins", accounts),
                ("audit-log-path", &at("audit.log")),
                ("audit-policy-file", &at("audit.json")),
                // Watches end after half a minute to a minute: what a client does then is to be seen.
                ("min-request-timeout", "30"),
                ("feature-gates", &format!("WatchList={}", self.streaming_lists)),
                ("shutdown-delay-duration", "0s"),
            ],
        )
    }

    fn run_manager(&self) -> Result<Program> {
        let at = |name: &str| self.path(name).display().to_string();
        let controllers = "endpointslice-controller,namespace-controller,garbage-collector-controller,\
                           serviceaccount-controller";
        self.run(
            "kube-controller-manager",
            &[
                ("kubeconfig", &at("kubeconfig")),
                ("controllers", controllers),
                ("secure-port", "0"),
                ("leader-elect", "false"),
                ("kube-api-qps", "200"),
                ("kube-api-burst", "400"),
            ],
        )
    }

    fn run(&self, name: &'static str, flags: &[(&str, &str)]) -> Result<Program> {
        let log = self.path(&format!("{name}.log"));
        let file = File::options().create(true).append(true).open(&log).context("opening a log")?;
        let mut command = Command::new(self.assets.join(name));
        command.args(flags.iter().filter(|(_, v)| !v.is_empty()).map(|(flag, v)| format!("--{flag}={v}")));
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        command.stdout(file.try_clone()?).stderr(file);
        Program::start(name, command, log)
    }
}

/// One running program, ended when dropped, and by the kernel when this process ends.
pub(crate) struct Program {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Program {
    /// Starts it. Only from the main thread: the program ends with the thread that started it.
    pub(crate) fn start(name: &str, command: Command, log: PathBuf) -> Result<Program> {
        Program::start_in(name, command, log, Sandbox::default())
    }

    /// Starts it in a sandbox.
    pub(crate) fn start_in(name: &str, command: Command, log: PathBuf, sandbox: Sandbox) -> Result<Program> {
        let sandbox = Sandbox { die_with_parent: true, new_session: true, ..sandbox };
        let program = command.get_program().to_string_lossy().into_owned();
        let child = sandbox::spawn(command, &sandbox).with_context(|| format!("starting {program}"))?;
        Ok(Program { name: name.into(), child, log })
    }

    /// Fails if it has ended.
    pub(crate) fn check(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("{} has ended ({status}):\n{}", self.name, tail(&self.log)),
        }
    }

    /// Asks it to end, and waits until it has.
    pub(crate) fn stop(mut self) -> Result<()> {
        self.end(Duration::from_secs(10))
    }

    /// Kills it: it gets no chance to say goodbye.
    pub(crate) fn kill(mut self) -> Result<()> {
        self.child.kill().with_context(|| format!("killing {}", self.name))?;
        self.child.wait()?;
        Ok(())
    }

    fn end(&mut self, grace: Duration) -> Result<()> {
        if self.child.try_wait()?.is_none()
            && let Some(process) = Process::open(self.child.id().cast_signed(), None)?
        {
            process.stop(grace).with_context(|| format!("ending {}", self.name))?;
        }
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Nothing is left to be done about a process that cannot be ended; the kernel ends it with ours.
        let _ = self.end(Duration::from_secs(5));
    }
}

/// The last lines of a log.
pub(crate) fn tail(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}
