//! `causeway status`: what an agent or a controller says of itself.

pub(crate) mod render;
mod text;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use wire::local::{AgentStatus, ControllerStatus};

pub(crate) use render::{authority as render_authority, links as render_links};
pub(crate) use text::{bytes, date, duration, milliseconds, table};

/// Where an agent answers.
pub(crate) const AGENT: &str = "/run/causeway/agent.sock";

/// Where a controller answers.
pub(crate) const CONTROLLER: &str = "/run/causeway/controller.sock";

/// What `causeway status` is told.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The agent's or controller's socket [default: this machine's agent, else its controller, else all of its lab].
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// How to print it.
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// For whom something is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Output {
    /// For eyes.
    Text,
    /// For programs.
    Json,
}

/// Asks and prints. Exit status 0 when the daemon is ready, 1 when it is not.
pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    let socket = match args.socket {
        Some(socket) => socket,
        None if only_a_lab() => return crate::lab::status(args.output).await,
        None => this_machines()?,
    };
    let answer: Value = serve::client::get(&socket, "/v1/status").await?;
    let status =
        Status::parse(answer).with_context(|| format!("reading the answer of {}", socket.display()))?;
    match args.output {
        Output::Text => print!("{}", status.render()),
        Output::Json => println!("{}", serde_json::to_string_pretty(&status.to_json())?),
    }
    Ok(if status.ready() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Whether this machine has no daemon of its own, but a lab: then the lab is meant.
pub(crate) fn only_a_lab() -> bool {
    ![AGENT, CONTROLLER].into_iter().any(|path| Path::new(path).exists()) && lab::state::socket().exists()
}

/// The socket of whatever runs on this machine.
pub(crate) fn this_machines() -> Result<PathBuf> {
    let here = [AGENT, CONTROLLER].into_iter().map(Path::new).find(|path| path.exists());
    match here {
        Some(path) => Ok(path.into()),
        None => bail!(
            "neither {AGENT} nor {CONTROLLER} exists: no agent or controller runs here \
             (for a lab ask `causeway lab status`, for another place give --socket)"
        ),
    }
}

/// Whoever answered.
#[derive(Debug)]
enum Status {
    Agent(Box<AgentStatus>),
    Controller(Box<ControllerStatus>),
}

impl Status {
    /// An agent speaks of its node, a controller of its cluster.
    fn parse(answer: Value) -> Result<Self> {
        if answer.get("node").is_some() {
            Ok(Self::Agent(serde_json::from_value(answer)?))
        } else if answer.get("cluster").is_some() {
            Ok(Self::Controller(Box::new(serde_json::from_value(answer)?)))
        } else {
            bail!("neither an agent nor a controller answered: is it a daemon of this version?")
        }
    }

    fn ready(&self) -> bool {
        match self {
            Self::Agent(status) => status.ready,
            Self::Controller(status) => status.ready,
        }
    }

    fn render(&self) -> String {
        match self {
            Self::Agent(status) => render::agent(status),
            Self::Controller(status) => render::controller(status),
        }
    }

    fn to_json(&self) -> Value {
        let json = match self {
            Self::Agent(status) => serde_json::to_value(status),
            Self::Controller(status) => serde_json::to_value(status),
        };
        json.expect("a status is JSON")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_answered() {
        let controller = serde_json::json!({
            "cluster": "aws", "version": "1", "pid": 1, "ready": true, "rssBytes": 1, "revision": 1,
            "agents": [], "links": [], "problems": [],
        });
        assert!(matches!(Status::parse(controller), Ok(Status::Controller(_))));
        let agent = serde_json::to_value(render::tests::an_agent()).unwrap();
        assert!(matches!(Status::parse(agent), Ok(Status::Agent(_))));
        for strange in
            [serde_json::json!({}), serde_json::json!([1]), serde_json::json!({"node": "aws/aws-1"})]
        {
            assert!(Status::parse(strange.clone()).is_err(), "{strange}");
        }
    }
}
