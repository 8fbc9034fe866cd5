//! The verbs of `./x`: what they run, in which order.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum as _;

use crate::{abi, image, suite};

/// What `./x bench` measures.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Bench {
    /// The user-space tunnel: streams, small datagrams, round trips, handshakes and memory, against wireguard-go and whatever
    /// is named. `--peer NAME=PATH`, `--rounds N`, `--seconds N`, `--wires on-1420,off-8920`, `-o json`.
    Wireguard,
    /// The controller's side of a large cluster: listed, indexed, planned from, and changing, over the API server of
    /// `dev/apiserver`.
    Kubernetes,
    /// Many clusters' exchange: two real controllers among clusters that only speak the protocol, and etcd used as a
    /// cluster mesh uses it, with Cilium's JSON and with tuned values.
    Mesh,
    /// A pod's network, through the plugins' processes: ours, and Debian's bridge, host-local and portmap.
    Cni,
    /// The node's DNS server, against Debian's knot and unbound, on one zone whose endpoints change.
    Dns,
    /// Services: new connections, requests, streams and datagrams through a virtual address, with up to 50,000 of them,
    /// against dialling the pod and against rules as kube-proxy writes them. `--full`, `--outside` (clients outside the
    /// cluster, at node ports), `--out DIR`, `--rounds N`.
    Services,
    /// Policies: streams and new connections between pods that they are about, against pods that nobody judges and against
    /// sets of nftables and ipset; how long a change takes, planned and in the kernel, and what the maps take. `--rounds N`,
    /// `--window MS`.
    Policy,
}

/// The repository's root.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("xtask lives in dev/xtask").to_path_buf()
}

pub(crate) fn cargo(args: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(args).current_dir(root());
    command
}

pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("starting {:?}", command.get_program()))?;
    if !status.success() {
        let args: Vec<_> = command.get_args().map(|a| a.to_string_lossy()).collect();
        bail!("{} {} failed: {status}", command.get_program().to_string_lossy(), args.join(" "));
    }
    Ok(())
}

/// The folder that cargo builds into.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |dir| root().join(dir))
}

fn causeway() -> Result<PathBuf> {
    run(&mut cargo(&["build", "-p", "causeway-cli"]))?;
    Ok(target().join("debug/causeway"))
}

/// Three clouds, the demo, and down again.
pub(crate) fn lab(file: Option<PathBuf>, keep: bool) -> Result<()> {
    let causeway = causeway()?;
    // Past the build nothing here needs cargo: a user of a packaged binary types the same three lines.
    let mut up = Command::new(&causeway);
    up.args(["lab", "up"]);
    if let Some(file) = &file {
        up.arg("--file").arg(file);
    }
    run(&mut up)?;
    let shown = if file.is_none() { run(Command::new(&causeway).args(["lab", "demo"])) } else { Ok(()) };
    if keep || file.is_some() {
        println!("\nThe lab stays up. {0} lab status; {0} lab down", causeway.display());
        return shown;
    }
    run(Command::new(&causeway).args(["lab", "down"]))?;
    shown
}

/// Every test, or those that cargo is told.
pub(crate) fn test(rest: &[String]) -> Result<()> {
    if let [first, rest @ ..] = rest
        && first == "kubernetes"
    {
        return kubernetes(rest);
    }
    image::helm()?;
    if !rest.is_empty() {
        let rest: Vec<&str> = rest.iter().map(String::as_str).collect();
        return run(cargo(&["test"]).args(rest));
    }
    suite::run_all()
}

/// Against a real API server: the cases that keep its double honest, then everything end to end.
fn kubernetes(rest: &[String]) -> Result<()> {
    let causeway = causeway()?;
    run(cargo(&["run", "-q", "-p", "causeway-e2e", "--", "--causeway"]).arg(causeway).args(rest))
}

/// Everything that can be said of the code without running it.
pub(crate) fn lint() -> Result<()> {
    run(&mut cargo(&["fmt", "--all", "--check"]))?;
    run(&mut cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    tool("cargo-deny", &["deny", "--version"])?;
    run(&mut cargo(&["deny", "--all-features", "check", "bans", "licenses", "sources"]))?;
    // The database of advisories is on the network; without it the rest still counts.
    if cargo(&["deny", "fetch", "db"]).output().is_ok_and(|o| o.status.success()) {
        run(&mut cargo(&["deny", "--all-features", "check", "advisories"]))?;
    } else {
        eprintln!("x: the advisory database cannot be fetched: advisories are not checked");
    }
    crate::tidy::report(&crate::tidy::check(&root())?)
}

/// Builds a cargo tool from its registry if it is not there yet.
fn tool(package: &str, version: &[&str]) -> Result<()> {
    if cargo(version).output().is_ok_and(|o| o.status.success()) {
        return Ok(());
    }
    eprintln!("x: installing {package}");
    run(&mut cargo(&["install", "--locked", package]))
}

/// Runs a benchmark; all of them if none is named. The rest is passed on to it.
pub(crate) fn bench(what: Option<Bench>, rest: &[String]) -> Result<()> {
    match what {
        None => Bench::value_variants().iter().try_for_each(|what| bench(Some(*what), &[])),
        Some(Bench::Services) => {
            run(cargo(&["bench", "-p", "causeway-kernel", "--bench", "services", "--"]).args(rest))
        }
        Some(Bench::Wireguard) => {
            run(&mut cargo(&["bench", "-p", "causeway-engine", "--bench", "mesh"]))?;
            run(cargo(&["bench", "-p", "causeway-kernel", "--bench", "wireguard", "--"]).args(rest))
        }
        Some(Bench::Policy) => {
            run(cargo(&["bench", "-p", "causeway-kernel", "--bench", "policy", "--"]).args(rest))?;
            run(&mut cargo(&["bench", "-p", "causeway-engine", "--bench", "policy"]))
        }
        Some(what) if !rest.is_empty() => {
            let name = what.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
            bail!("bench {name} takes no arguments: {}", rest.join(" "))
        }
        Some(Bench::Kubernetes) => {
            run(&mut cargo(&["build", "--release", "-p", "causeway-apiserver"]))?;
            run(cargo(&["bench", "-p", "causeway-cluster", "--bench", "kubernetes"])
                .env("CAUSEWAY_APISERVER", target().join("release/apiserver")))
        }
        Some(Bench::Dns) => run(&mut cargo(&["bench", "-p", "causeway-serve", "--bench", "dns"])),
        Some(Bench::Mesh) => {
            run(&mut cargo(&["build", "--release", "-p", "causeway-cli"]))?;
            run(cargo(&["bench", "-p", "causeway-link", "--bench", "mesh"])
                .env("CAUSEWAY", target().join("release/causeway")))
        }
        Some(Bench::Cni) => {
            // The plugin and the agent as nodes have them.
            let arch = image::Arch::here()?;
            let causeway = image::binary(arch)?;
            let mut bench = cargo(&["bench", "-p", "causeway-agent", "--bench", "cni"]);
            image::build_statically(&mut bench, arch)?;
            run(bench.env("CAUSEWAY", causeway))
        }
    }
}

/// Runs the fuzz targets on the stable toolchain.
pub(crate) fn fuzz(target: Option<String>, seconds: u64) -> Result<()> {
    tool("cargo-fuzz", &["fuzz", "--version"])?;
    let targets = match target {
        Some(target) => vec![target],
        None => fuzz_targets()?,
    };
    for target in targets {
        println!("x: fuzzing {target} for {seconds} s");
        // libFuzzer's instrumentation hides behind unstable flags; nothing that ships is built this way.
        run(cargo(&["fuzz", "run", &target, "--sanitizer", "none", "--"])
            .arg(format!("-max_total_time={seconds}"))
            .env("RUSTC_BOOTSTRAP", "1"))?;
    }
    Ok(())
}

fn fuzz_targets() -> Result<Vec<String>> {
    let folder = root().join("fuzz/fuzz_targets");
    let entries = std::fs::read_dir(&folder).with_context(|| format!("listing {}", folder.display()))?;
    let mut names: Vec<String> = entries
        .filter_map(|e| e.ok()?.path().file_stem().map(|s| s.to_string_lossy().into_owned()))
        .collect();
    names.sort();
    Ok(names)
}

/// Builds the book into `docs/book` and the API documentation into `target/doc`.
pub(crate) fn docs() -> Result<()> {
    if !Command::new("mdbook").arg("--version").output().is_ok_and(|o| o.status.success()) {
        eprintln!("x: installing mdbook");
        run(&mut cargo(&["install", "--locked", "mdbook"]))?;
    }
    run(Command::new("mdbook").arg("build").arg(root().join("docs")))?;
    run(cargo(&["doc", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings"))
}

/// What is generated here: the path below the root, and the text that ought to stand there. The chart has a test of its
/// own, so that these chores need nothing of Kubernetes to be built.
fn generated(root: &Path) -> [(&'static str, String); 4] {
    [
        (abi::TARGET, abi::generate(root)),
        (abi::CONSTANTS, abi::generate_constants(root)),
        (abi::REASONS, abi::generate_reasons(root)),
        (abi::TABLE, abi::generate_table(root)),
    ]
}

/// Writes the generated files anew.
pub(crate) fn generate() -> Result<()> {
    for (path, text) in generated(&root()) {
        std::fs::write(root().join(path), text).with_context(|| format!("writing {path}"))?;
        println!("{path}");
    }
    let tests = ["test", "-q", "-p", "causeway-install", "--test", "fresh", "--test", "manifests"];
    run(cargo(&tests).env("CAUSEWAY_BLESS", "1"))
}

/// Names the generated files that are not what they ought to be.
pub(crate) fn stale_generated(root: &Path, broken: &mut Vec<String>) {
    for (path, text) in generated(root) {
        if std::fs::read_to_string(root.join(path)).ok().as_deref() != Some(&text) {
            broken.push(format!("{path}: stale; run ./x generate"));
        }
    }
}
