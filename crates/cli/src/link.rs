//! `causeway link`: joining clusters with each other, by asking the controllers on either side.

mod doctor;
mod token;

use std::process::ExitCode;

use anyhow::Result;
use serde::Serialize;
use serde::de::DeserializeOwned;
use wire::local::{AuthorityStatus, ControllerStatus, LinkJoin, LinkJoined, LinkTerms, Rotate, Token};

pub(crate) use token::expiry;

use crate::seat::Seat;
use crate::status::Output;

/// What to do with links.
#[derive(Debug, clap::Subcommand)]
#[command(after_help = "\
Examples:
  causeway link token > token                    at the one cluster
  causeway link join token                       at the other
  causeway link token | ssh OTHER causeway link join -
  causeway link list
  causeway link doctor gcp
  causeway link remove gcp

On Kubernetes, in the controller's pod that leads:
  kubectl -n kube-system exec deploy/causeway-controller -- /causeway link token > token
  kubectl -n kube-system exec -i deploy/causeway-controller -- /causeway link join - < token")]
pub(crate) enum Verb {
    /// Print a token that lets another cluster link with this one. Secret.
    #[command(
        after_help = "Examples:\n  causeway link token > token\n  causeway link token --expires 1h --uses 3 > token"
    )]
    Token {
        /// How long it can be used, such as 15m or 2h.
        #[arg(long, default_value = "15m", value_parser = token::expiry, value_name = "DURATION")]
        expires: u64,
        /// How many clusters may use it.
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000), value_name = "N")]
        uses: u32,
        #[command(flatten)]
        seat: Seat,
    },
    /// Link with the cluster that made a token.
    #[command(after_help = "Examples:\n  causeway link join token\n  causeway link join - < token\n\
                        A token that is written as an argument is taken, too, but everybody on this machine can read it there.")]
    Join {
        /// The file that holds the token; `-` for standard input.
        #[arg(value_name = "FILE")]
        token: String,
        #[command(flatten)]
        seat: Seat,
    },
    /// The links of this cluster.
    List {
        /// How to print them.
        #[arg(short, long, value_enum, default_value_t = Output::Text)]
        output: Output,
        #[command(flatten)]
        seat: Seat,
    },
    /// End a link, and withdraw everything that it has brought.
    #[command(after_help = "Example: causeway link remove gcp")]
    Remove {
        /// The other cluster.
        cluster: String,
        #[command(flatten)]
        seat: Seat,
    },
    /// Make the next root of this cluster's CA now. Who is linked or joined follows by itself.
    #[command(after_help = "\
Examples:
  causeway link rotate               the old root still counts, for those who are away
  causeway link rotate --finish      it does not any more: who has not followed yet and has a certificate of the old
                                     root has to join again")]
    Rotate {
        /// Make no new root, but drop all that are older than the newest.
        #[arg(long)]
        finish: bool,
        /// How to print the CA as it is then.
        #[arg(short, long, value_enum, default_value_t = Output::Text)]
        output: Output,
        #[command(flatten)]
        seat: Seat,
    },
    /// Find out why a link does not work: the first thing that is wrong, and what to do.
    Doctor(doctor::Args),
}

/// Does it.
///
/// # Errors
/// No controller answers, or it refuses; in its words.
pub(crate) async fn run(verb: Verb) -> Result<ExitCode> {
    match verb {
        Verb::Token { expires, uses, seat } => {
            let terms = LinkTerms { uses: Some(uses), expires_seconds: Some(expires) };
            let token: Token = seat.post("/v1/tokens/link", &terms).await?;
            println!("{}", token.token);
        }
        Verb::Join { token, seat } => {
            let join = LinkJoin { token: token::read(&token)? };
            let joined: LinkJoined = seat.post("/v1/links", &join).await?;
            println!("linked with {}; see: causeway clusters", joined.cluster);
        }
        Verb::List { output, seat } => {
            let status: ControllerStatus = seat.get("/v1/status").await?;
            print(&status.links, output, |links| crate::status::render_links(links))?;
        }
        Verb::Remove { cluster, seat } => {
            let () = seat.delete(&format!("/v1/links/{}", model::ClusterName::new(&cluster)?)).await?;
            println!("the link with {cluster} is removed, and what it had brought is withdrawn");
        }
        Verb::Rotate { finish, output, seat } => {
            let authority: AuthorityStatus = seat.post("/v1/authority/rotate", &Rotate { finish }).await?;
            print(&authority, output, crate::status::render_authority)?;
        }
        Verb::Doctor(args) => return doctor::run(args).await,
    }
    Ok(ExitCode::SUCCESS)
}

fn print<T: Serialize + DeserializeOwned>(
    value: &T,
    output: Output,
    text: impl FnOnce(&T) -> String,
) -> Result<()> {
    match output {
        Output::Text => print!("{}", text(value)),
        Output::Json => println!("{}", serde_json::to_string_pretty(value)?),
    }
    Ok(())
}
