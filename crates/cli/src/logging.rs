//! Logs of the daemons: events an operator could act on, with fields, on standard error.

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For eyes.
    Text,
    /// For programs: one JSON object a line.
    Json,
}

/// What a daemon logs, and how.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct LogArgs {
    /// What to log: a level, or `tracing` directives such as `info,engine=debug`.
    #[arg(long = "log", env = "CAUSEWAY_LOG", default_value = "info", value_name = "DIRECTIVES")]
    directives: String,
    /// How log lines look.
    #[arg(long, value_enum, env = "CAUSEWAY_LOG_FORMAT", default_value_t = Format::Text)]
    log_format: Format,
}

/// Starts logging for the whole process.
pub(crate) fn start(args: &LogArgs) -> anyhow::Result<()> {
    // The client's own word on each attempt that fails: ours says once what it means. Directives may ask for it.
    let directives = format!("kube_client=off,{}", args.directives);
    let filter = EnvFilter::try_new(directives).map_err(|e| {
        anyhow::anyhow!("--log {:?}: {e}; write a level such as info or debug", args.directives)
    })?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match args.log_format {
        Format::Text => builder.with_ansi(false).init(),
        Format::Json => builder.json().flatten_event(true).init(),
    }
    Ok(())
}
