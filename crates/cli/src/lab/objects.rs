//! `causeway lab apply` and `causeway lab delete`.

use std::io::Read as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use lab::{api, client};
use model::ClusterName;

use super::done;
use crate::status::Output;

/// `causeway lab apply`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  causeway lab apply -f echo.yaml --cluster aws\n  kubectl create deployment … --dry-run=client -o yaml | causeway lab apply -f - --cluster gcp"
)]
pub(crate) struct Apply {
    /// The file of Kubernetes objects; `-` for standard input.
    #[arg(short, long, value_name = "FILE")]
    file: PathBuf,
    /// The cluster.
    #[arg(short, long, value_name = "NAME")]
    cluster: ClusterName,
    /// How to print it.
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// `causeway lab delete`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  causeway lab delete service demo/echo --cluster aws\n  causeway lab delete pod demo/client-aws-1 --cluster aws\n  causeway lab delete namespace demo --cluster aws"
)]
pub(crate) struct Delete {
    /// The kind: namespace, service, deployment, pod or endpointslice, or kubectl's short word for it.
    kind: String,
    /// NAMESPACE/NAME.
    #[arg(value_name = "NAMESPACE/NAME")]
    name: String,
    /// The cluster.
    #[arg(short, long, value_name = "NAME")]
    cluster: ClusterName,
    /// How to print it.
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

pub(crate) async fn apply(args: Apply) -> Result<ExitCode> {
    let (file, text) = if args.file.as_os_str() == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context("reading standard input")?;
        ("<stdin>".to_string(), text)
    } else {
        let name = args.file.display().to_string();
        let text = std::fs::read_to_string(&args.file).with_context(|| format!("reading {name}"))?;
        (name, text)
    };
    let changes = client::apply(&api::Apply { cluster: args.cluster, file, text }).await?.changes;
    done(changes, args.output)
}

pub(crate) async fn delete(args: Delete) -> Result<ExitCode> {
    let Delete { kind, name, cluster, output } = args;
    done(client::delete(&api::Delete { cluster, kind, name }).await?.changes, output)
}
