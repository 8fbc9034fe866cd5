//! `causeway lab exec`.

use std::ffi::OsString;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use kernel::netns::Netns;
use kernel::sandbox::{self, Sandbox};
use lab::client;

/// `causeway lab exec`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  causeway lab exec aws/demo/client-aws-1 -- curl -s http://10.101.7.3/
  causeway lab exec client-gcp-2 -- ping -c 3 10.1.0.2
  causeway lab exec aws/aws-1 -- ip route
  causeway lab exec aws-1 -- causeway status

The program is this machine's; the network, the control group and (on a node) the view of files are the pod's or
node's; a pod resolves names through its node. Streams pass through and the exit status is the program's; 125 when it
could not be started in its place, 126 when it cannot be run, 127 when it is not found.")]
pub(crate) struct Args {
    /// The pod or node.
    target: String,
    /// The program and its arguments.
    #[arg(required = true, last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// The program could not be put in its place.
const NO_PLACE: u8 = 125;

/// Becomes the program. Returns only when that fails.
pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let entrance = client::entrance(&args.target).await?;
    let prepared = || -> Result<Sandbox> {
        let mount = entrance.mount.as_ref().map(File::open).transpose();
        let mount = mount.context("opening the node's mount namespace")?.map(OwnedFd::from);
        let resolver = entrance.resolv.as_ref().map(|file| lab::pod::resolv::view(Path::new(file)));
        let mount = mount.or(resolver.transpose()?);
        Ok(Sandbox {
            netns: Some(Arc::new(Netns::open(&entrance.netns)?)),
            mount: mount.map(Arc::new),
            cgroup: Some(PathBuf::from(&entrance.cgroup)),
            new_session: false,
            die_with_parent: false,
        })
    };
    let sandbox = match prepared() {
        Ok(sandbox) => sandbox,
        Err(e) => {
            eprintln!("causeway: cannot enter {}: {e:#}", entrance.target);
            return Ok(ExitCode::from(NO_PLACE));
        }
    };
    let (program, rest) = args.command.split_first().context("clap asks for one word at least")?;
    let mut command = Command::new(program);
    command.args(rest).envs(entrance.env).env("PATH", search_path()?);
    let error = sandbox::exec(command, &sandbox);
    eprintln!("causeway: cannot run {} in {}: {error}", program.display(), entrance.target);
    Ok(ExitCode::from(match error.kind() {
        std::io::ErrorKind::NotFound => 127,
        std::io::ErrorKind::PermissionDenied => 126,
        _ => NO_PLACE,
    }))
}

/// The caller's, with `causeway` itself first.
fn search_path() -> Result<OsString> {
    let own = std::env::current_exe().context("finding the causeway binary")?;
    let rest = std::env::var_os("PATH").unwrap_or_default();
    let folders = own.parent().map(PathBuf::from).into_iter().chain(std::env::split_paths(&rest));
    Ok(std::env::join_paths(folders)?)
}
