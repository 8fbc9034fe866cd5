//! `causeway peer`: laptops, offices' routers and other WireGuard clients that are no nodes.

mod add;
mod files;
mod qr;
mod show;
pub(crate) mod view;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Subcommand;
use ipnet::IpNet;
use model::{PublicKey, SecretKey};
use wire::client::{Configuration, range};

use crate::seat::Seat;
use crate::status::Output;
pub(crate) use files::{Owned, read_configuration};
use view::View;

/// `causeway peer`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  causeway peer add alice > alice.conf                      for wg-quick; the private key is in it, and nowhere else
  causeway peer add alice --public-key KEY --expires 30d    the owner has the private key
  causeway peer add office --allow pods --allow 10.0.0.0/8 --gateway all
  causeway peer list
  causeway peer conf alice -o networkmanager --private-key alice.key
  causeway peer remove alice

The controller writes the Peer object where its cluster's objects are: into its folder, or to the API server.")]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Let a client in, and print what it has to configure.
    Add(Box<Add>),
    /// The clients of all clusters.
    List(List),
    /// One client.
    Show(Show),
    /// Let a client in no more.
    Remove(Remove),
    /// What a client has to configure.
    Conf(Conf),
    /// What a client has to configure, as a QR code for the eye of a telephone.
    Qr(Qr),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Add {
    /// Its name: a DNS name such as alice or alice.laptop.
    pub(crate) name: String,
    /// What its configuration leads into the tunnel: `pods`, `services`, or a range of addresses. Several with commas, or one
    /// after the other. What it may reach there is for policies to say.
    #[arg(long, value_name = "pods|services|CIDR", value_delimiter = ',', default_values = ["pods", "services"])]
    pub(crate) allow: Vec<model::Allow>,
    /// After which time it is let in no more, such as 12h or 30d [default: never].
    #[arg(long, value_name = "DURATION", value_parser = crate::link::expiry)]
    pub(crate) expires: Option<u64>,
    /// Its own key, if its owner has made one. Else one is made here, and shown once.
    #[arg(long, value_name = "KEY")]
    pub(crate) public_key: Option<PublicKey>,
    /// Have a preshared key, too. It is shown once.
    #[arg(long)]
    pub(crate) preshared_key: bool,
    /// Its addresses [default: free ones of the cluster's ranges for peers].
    #[arg(long, value_name = "IP|CIDR", value_delimiter = ',', value_parser = range)]
    pub(crate) address: Vec<IpNet>,
    /// The node that has its tunnel; `all`: every node with a public address, so that the client has a tunnel with each
    /// [default: one of those, chosen by the client's name].
    #[arg(long, value_name = "NODE|all")]
    pub(crate) gateway: Option<String>,
    /// Labels that policies select it by, beside causeway.io/peer=NAME.
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) label: Vec<String>,
    /// Leave names out of the configuration: where agents have no DNS server.
    #[arg(long)]
    pub(crate) no_dns: bool,
    /// Write nothing but the Peer object, to standard output.
    #[arg(long)]
    pub(crate) print: bool,
    /// What to print.
    #[arg(short, long, value_enum, default_value_t = Format::WgQuick)]
    pub(crate) output: Format,
    #[command(flatten)]
    pub(crate) seat: Seat,
}

/// What a configuration is written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// A file for wg-quick and for WireGuard's own programs.
    WgQuick,
    /// A keyfile of NetworkManager.
    #[value(name = "networkmanager")]
    NetworkManager,
    /// The former as a QR code, as a picture.
    QrPng,
    /// The former as a QR code, in letters.
    Qr,
    /// For programs.
    Json,
}

#[derive(Debug, clap::Args)]
struct List {
    /// How to print them.
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
    #[command(flatten)]
    seat: Seat,
}

#[derive(Debug, clap::Args)]
struct Show {
    /// Its name.
    name: String,
    /// How to print it.
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
    #[command(flatten)]
    seat: Seat,
}

#[derive(Debug, clap::Args)]
struct Remove {
    /// Its name.
    name: String,
    #[command(flatten)]
    seat: Seat,
}

#[derive(Debug, clap::Args)]
struct Conf {
    /// Its name.
    name: String,
    /// What to write.
    #[arg(short, long, value_enum, default_value_t = Format::WgQuick)]
    output: Format,
    #[command(flatten)]
    secrets: Secrets,
    /// Leave names out: where agents have no DNS server.
    #[arg(long)]
    no_dns: bool,
    #[command(flatten)]
    seat: Seat,
}

#[derive(Debug, clap::Args)]
struct Qr {
    /// Its name.
    name: String,
    #[command(flatten)]
    secrets: Secrets,
    /// Leave names out: where agents have no DNS server.
    #[arg(long)]
    no_dns: bool,
    #[command(flatten)]
    seat: Seat,
}

/// What the owner alone has.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Secrets {
    /// The file that holds its private key, alone or in a configuration; `-` for standard input.
    #[arg(long, value_name = "FILE")]
    private_key: Option<PathBuf>,
    /// The file that holds the preshared key, if there is one.
    #[arg(long, value_name = "FILE")]
    preshared_key: Option<PathBuf>,
}

/// Does it.
pub(crate) async fn run(args: Args) -> Result<ExitCode> {
    match args.verb {
        Verb::Add(args) => add::run(*args).await?,
        Verb::List(List { output, seat }) => {
            let view = View::of(&seat).await?;
            show::list(&view, output)?;
        }
        Verb::Show(Show { name, output, seat }) => {
            let view = View::of(&seat).await?;
            show::one(&view, &name, output)?;
        }
        Verb::Remove(Remove { name, seat }) => {
            let () = seat.delete(&format!("/v1/peers/{}", checked(&name)?)).await?;
            println!("{name} is let in no more");
        }
        Verb::Conf(Conf { name, output, secrets, no_dns, seat }) => {
            write(&configuration(&seat, &name, &secrets, no_dns).await?, output)?;
        }
        Verb::Qr(Qr { name, secrets, no_dns, seat }) => {
            write(&configuration(&seat, &name, &secrets, no_dns).await?, Format::Qr)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A name that can stand in a path.
pub(crate) fn checked(name: &str) -> Result<String> {
    let any = model::ClusterName::new("any")?;
    Ok(model::PeerName::new(any, name)?.peer)
}

/// What a client has to configure, with what its owner alone has as far as it is here.
pub(crate) async fn configuration(
    seat: &Seat,
    name: &str,
    secrets: &Secrets,
    no_dns: bool,
) -> Result<Configuration> {
    let view = View::of(seat).await?;
    let mut configuration = view.configuration(name, no_dns)?;
    secrets.of(name, &view.own(name)?.public_key)?.put_into(&mut configuration);
    Ok(configuration)
}

impl Secrets {
    /// Reads them. A private key has to be that of the peer's public key.
    pub(crate) fn of(&self, name: &str, public_key: &PublicKey) -> Result<Owned> {
        let owned = self.read()?;
        if let (Some(key), Some(file)) = (&owned.private_key, &self.private_key) {
            let public = public_half(key);
            if public != *public_key {
                bail!("{} holds another key than {name}'s: its public half is {public}", file.display());
            }
        }
        Ok(owned)
    }

    /// Reads them.
    pub(crate) fn read(&self) -> Result<Owned> {
        let mut owned = match &self.private_key {
            Some(file) => files::read_private_key(file)?,
            None => Owned::default(),
        };
        if let Some(file) = &self.preshared_key {
            owned.preshared_key = Some(files::read_preshared_key(file)?);
        }
        Ok(owned)
    }
}

fn public_half(key: &SecretKey) -> PublicKey {
    kernel::wireguard::PrivateKey::from_secret(key.0).public()
}

fn write(configuration: &Configuration, format: Format) -> Result<()> {
    use std::io::Write as _;
    match format {
        Format::WgQuick => print!("{}", configuration.wg_quick()),
        Format::NetworkManager => print!("{}", configuration.network_manager()),
        Format::Json => println!("{}", serde_json::to_string_pretty(&configuration.to_json())?),
        Format::Qr | Format::QrPng => {
            if configuration.private_key.is_none() {
                bail!("a QR code has to have the private key in it: give the file with --private-key");
            }
            let code = qr::encode(&configuration.wg_quick())?;
            match format {
                Format::QrPng => std::io::stdout().write_all(&qr::png(&code))?,
                _ => print!("{}", qr::letters(&code)),
            }
        }
    }
    Ok(())
}
