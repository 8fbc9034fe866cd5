//! `causeway lab demo`: the story of a service over three clouds.

use std::io::IsTerminal as _;
use std::process::ExitCode;

use lab::demo::{Event, Plain, Screen, Table};

use crate::status::Output;

/// What was typed.
#[derive(Debug, clap::Args)]
#[command(after_help = "Needs the default lab, up: causeway lab up. It leaves the lab as it found it.\n\
                        Exit status: 0 when everything was as it should be, 1 when not.")]
pub(crate) struct Args {
    /// How to tell it.
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// Tells it.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let story = match args.output {
        Output::Json => {
            let story = lab::demo::run(&mut |_| {}).await?;
            println!("{}", serde_json::to_string_pretty(&story)?);
            story
        }
        Output::Text => {
            let out = std::io::stdout();
            let mut table: Box<dyn Table> =
                if out.is_terminal() { Box::new(Screen::new(out)) } else { Box::new(Plain::new(out)) };
            let mut shown = Ok(());
            let mut show = |event: Event<'_>| {
                if shown.is_ok() {
                    shown = table.show(&event);
                }
            };
            let story = lab::demo::run(&mut show).await?;
            shown?;
            table.close(&story)?;
            story
        }
    };
    Ok(if story.ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
