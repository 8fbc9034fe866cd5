//! `causeway link`: joining clusters with each other, by asking the controllers on either side.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use wire::local::{ControllerStatus, LinkJoin, Token};

use crate::status::Output;

/// Longest token file that is read, in bytes.
const LONGEST: u64 = 64 * 1024;

/// What to do with links.
#[derive(Debug, clap::Subcommand)]
#[command(after_help = "On one side:   causeway link token > token\nOn the other:  causeway link join token")]
pub(crate) enum Verb {
    /// Print a token that lets one other cluster link with this one, once, within fifteen minutes. Secret.
    Token(Common),
    /// Link with the cluster that made a token.
    Join {
        /// The file that holds it; `-` for standard input. Not the token itself: arguments are seen by everybody.
        file: PathBuf,
        #[command(flatten)]
        common: Common,
    },
    /// The links of this cluster.
    List {
        /// How to print them.
        #[arg(short, long, value_enum, default_value_t = Output::Text)]
        output: Output,
        #[command(flatten)]
        common: Common,
    },
}

/// Which controller.
#[derive(Debug, clap::Args)]
pub(crate) struct Common {
    /// The controller's socket.
    #[arg(long, default_value = "/run/causeway/controller.sock", value_name = "PATH")]
    socket: PathBuf,
}

/// Does it.
///
/// # Errors
/// No controller answers, or it refuses; in its words.
pub(crate) async fn run(verb: Verb) -> Result<ExitCode> {
    match verb {
        Verb::Token(common) => {
            let token: Token = serve::client::post(&common.socket, "/v1/tokens/link", &()).await?;
            println!("{}", token.token);
        }
        Verb::Join { file, common } => {
            let join = LinkJoin { token: read(&file)? };
            let () = serve::client::post(&common.socket, "/v1/links", &join).await?;
            println!("linked; see: causeway link list");
        }
        Verb::List { output, common } => {
            let status: ControllerStatus = serve::client::get(&common.socket, "/v1/status").await?;
            match output {
                Output::Json => println!("{}", serde_json::to_string_pretty(&status.links)?),
                Output::Text => print!("{}", crate::status::render_links(&status.links)),
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn read(file: &Path) -> Result<String> {
    let mut text = String::new();
    let reader: Box<dyn Read> = if file == Path::new("-") {
        Box::new(std::io::stdin())
    } else {
        Box::new(File::open(file).with_context(|| format!("opening the token file {}", file.display()))?)
    };
    reader.take(LONGEST).read_to_string(&mut text).context("reading the token")?;
    let text = text.trim();
    if text.is_empty() {
        bail!("{} holds no token: make one with `causeway link token` on the other side", file.display());
    }
    Ok(text.to_string())
}
