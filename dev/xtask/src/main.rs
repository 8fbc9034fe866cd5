//! Chores of this repository, behind `./x`.

mod abi;
mod image;
mod run;
mod suite;
mod tidy;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// What `./x` can do.
#[derive(Parser)]
#[command(name = "x", about = "Build, run, test and measure Causeway", disable_help_subcommand = true)]
struct Args {
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Subcommand)]
enum Verb {
    /// The main job: three clouds on this machine, then the demo.
    Lab {
        /// A lab file instead of the built-in one.
        #[arg(long)]
        file: Option<PathBuf>,
        /// Leave the lab up afterwards.
        #[arg(long)]
        keep: bool,
    },
    /// Every test, from functions to namespaces. Needs root and a kernel with eBPF.
    ///
    /// `test kubernetes` is a tier of its own: against the API server whose binaries are in KUBEBUILDER_ASSETS, or
    /// against the cluster of KUBECONFIG.
    Test {
        /// Passed on to `cargo test`, such as `-p causeway-engine`; or `kubernetes`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        rest: Vec<String>,
    },
    /// Formatting, clippy, licences and advisories, and the rules of the house.
    Lint,
    /// Measure, never judge: floors and peers in the same interleaved run.
    Bench {
        /// What to measure.
        #[arg(value_enum)]
        what: Option<run::Bench>,
        /// Passed on to the benchmark.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        rest: Vec<String>,
    },
    /// Run every fuzz target for a while, or one of them.
    Fuzz {
        /// The target; all of them if left out.
        target: Option<String>,
        /// Seconds for each target.
        #[arg(long, default_value_t = 30)]
        seconds: u64,
    },
    /// Build the book and the API documentation.
    Docs,
    /// Build the static binary, and an image of it that nodes can import. Needs no Docker.
    Image {
        /// For which machines; this one's if left out.
        #[arg(long, value_enum)]
        arch: Option<image::Arch>,
    },
    /// Write the generated files anew.
    Generate,
    /// Check the rules of the house only.
    Tidy,
}

fn main() -> Result<()> {
    match Args::parse().verb {
        None => {
            use clap::CommandFactory as _;
            Args::command().print_help()?;
            Ok(())
        }
        Some(Verb::Lab { file, keep }) => run::lab(file, keep),
        Some(Verb::Test { rest }) => run::test(&rest),
        Some(Verb::Lint) => run::lint(),
        Some(Verb::Bench { what, rest }) => run::bench(what, &rest),
        Some(Verb::Fuzz { target, seconds }) => run::fuzz(target, seconds),
        Some(Verb::Docs) => run::docs(),
        Some(Verb::Image { arch }) => image::image(arch),
        Some(Verb::Generate) => run::generate(),
        Some(Verb::Tidy) => tidy::report(&tidy::check(&run::root())?),
    }
}
