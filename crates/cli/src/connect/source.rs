//! Where the configuration comes from: a file, a controller that answers here, or one that kubectl reaches.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use model::PublicKey;
use serde::Deserialize;
use wire::client::Configuration;

use super::Args;
use crate::install::Access;
use crate::peer::{self, Secrets};

/// The program in the controller's image.
const PROGRAM: &str = "/causeway";

/// The configuration, with a private key in it.
pub(super) async fn configuration(args: &Args) -> Result<Configuration> {
    let Some(name) = name(&args.what, Path::is_file) else {
        let mut configuration = peer::read_configuration(&args.interface, &args.what)?;
        args.secrets.read()?.put_into(&mut configuration);
        if configuration.private_key.is_none() {
            bail!(
                "{} has no PrivateKey: its owner has to put it in, or to give the file that holds it with --private-key",
                args.what.display()
            );
        }
        return Ok(configuration);
    };
    let name = peer::checked(name).with_context(|| format!("there is no file {name}, and no such peer"))?;
    let configuration = if args.access.is_given() || !(args.seat.is_named() || args.seat.answers_here()) {
        let (access, secrets, no_dns) = (args.access.clone(), args.secrets.clone(), args.no_dns);
        let asked = name.clone();
        let found =
            tokio::task::spawn_blocking(move || by_kubectl(&access, &asked, &secrets, no_dns)).await?;
        found.with_context(|| format!("{name} is taken for a peer's name, as there is no such file"))?
    } else {
        peer::configuration(&args.seat, &name, &args.secrets, args.no_dns).await?
    };
    if configuration.private_key.is_none() {
        bail!(
            "the private key of {name} is not here: give the file that holds it with --private-key, or the one that \
             `causeway peer add {name}` has written. It is kept nowhere else: who has lost it, removes the peer and adds it again"
        );
    }
    Ok(configuration)
}

/// The peer's name, if what was typed is no file.
fn name(what: &Path, is_file: impl Fn(&Path) -> bool) -> Option<&str> {
    let text = what.to_str()?;
    let says_file = text == "-" || text.contains('/') || text.ends_with(".conf");
    (!says_file && !is_file(what)).then_some(text)
}

/// What is asked of a peer beside its configuration.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    public_key: PublicKey,
}

/// Has the controller's own program asked, in its pod.
fn by_kubectl(access: &Access, name: &str, secrets: &Secrets, no_dns: bool) -> Result<Configuration> {
    let shown = run(access, &["peer", "show", name, "--output", "json"])?;
    let shown: Shown = serde_json::from_str(&shown).context("the controller's answer was not understood")?;
    let owned = secrets.of(name, &shown.public_key)?;
    let mut asked = vec!["peer", "conf", name, "--output", "wg-quick"];
    asked.extend(no_dns.then_some("--no-dns"));
    let text = run(access, &asked)?;
    let mut configuration = wire::client::parse(name, &text).context("the controller's answer")?;
    owned.put_into(&mut configuration);
    Ok(configuration)
}

fn run(access: &Access, asked: &[&str]) -> Result<String> {
    let mut command = Command::new("kubectl");
    if let Some(file) = &access.kubeconfig {
        command.arg("--kubeconfig").arg(file);
    }
    if let Some(context) = &access.context {
        command.args(["--context", context]);
    }
    let controller = format!("deployment/{}", install::Daemon::Controller.name());
    command.args(["--namespace", access.namespace(), "exec", &controller, "--", PROGRAM]).args(asked);
    let ended = command.stdin(Stdio::null()).output().context(
        "no controller answers on this machine, and kubectl, by which one in a cluster is asked, cannot be run",
    )?;
    if !ended.status.success() {
        let said = String::from_utf8_lossy(&ended.stderr);
        bail!("asking the controller by kubectl: {}", said.trim().trim_start_matches("causeway: "));
    }
    String::from_utf8(ended.stdout).context("the controller's answer is no text")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_files() {
        for (typed, is_there, expected) in [
            ("alice", false, Some("alice")),
            ("alice.laptop", false, Some("alice.laptop")),
            ("alice", true, None),
            ("alice.conf", false, None),
            ("./alice", false, None),
            ("-", false, None),
        ] {
            assert_eq!(name(Path::new(typed), |_| is_there), expected, "{typed}");
        }
    }
}
