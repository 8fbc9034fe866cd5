//! How the API server is reached: a kubeconfig, or what every pod is given.

use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper::header::{HeaderValue, USER_AGENT};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use super::Error;

/// What the API server's log calls us.
pub const AGENT: &str = concat!("causeway/", env!("CARGO_PKG_VERSION"));

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(5);
/// How long a connection may be silent in the middle of an answer. Watches notice earlier, by themselves.
const READ: Duration = Duration::from_secs(90);
/// How long an answer's request may take to be sent.
const WRITE: Duration = Duration::from_secs(30);
/// A name that is in the certificate of every API server.
const WELL_KNOWN: &str = "kubernetes.default.svc";

/// Which API server, and as whom.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientOptions {
    /// A kubeconfig. Without one: `$KUBECONFIG`, else what a pod is given, else `~/.kube/config`.
    pub kubeconfig: Option<PathBuf>,
    /// Which of its contexts, in place of its current one.
    pub context: Option<String>,
    /// The API server's URL in place of the one found: one that needs no Service to be reached.
    pub server: Option<String>,
}

/// A client of the API server. Says who we are, waits for nothing forever, and tries nothing again by itself: whoever
/// asks knows best when to. A pod's token is read again as it is renewed.
///
/// # Errors
/// No configuration, or one that cannot be used. That the API server answers is not tried.
pub async fn client(options: &ClientOptions) -> Result<Client, Error> {
    let (mut config, origin) = config(options).await?;
    if let Some(server) = &options.server {
        config.cluster_url = server.parse().map_err(|error| Error::Config {
            tried: format!("{server:?} is no URL: {error}"),
            check: "write the server as https://ADDRESS:PORT".into(),
        })?;
        if matches!(origin, Origin::Pod) {
            config.tls_server_name = Some(WELL_KNOWN.into());
        }
    }
    config.connect_timeout = Some(CONNECT);
    config.read_timeout = Some(READ);
    config.write_timeout = Some(WRITE);
    config.default_retry = false;
    config.headers.push((USER_AGENT, HeaderValue::from_static(AGENT)));
    Client::try_from(config).map_err(|error| Error::Config {
        tried: format!("what {origin} says cannot be used: {}", super::error::chain(&error)),
        check: "check its certificates and keys".into(),
    })
}

/// Where a configuration was found.
#[derive(Debug, Clone)]
enum Origin {
    File(PathBuf),
    Environment,
    Pod,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => write!(f, "the kubeconfig {}", path.display()),
            Self::Environment => write!(f, "$KUBECONFIG ({})", environment().unwrap_or_default()),
            Self::Pod => f.write_str("this pod's ServiceAccount"),
        }
    }
}

fn environment() -> Option<String> {
    std::env::var("KUBECONFIG").ok().filter(|value| !value.is_empty())
}

async fn config(options: &ClientOptions) -> Result<(Config, Origin), Error> {
    let choice = KubeConfigOptions { context: options.context.clone(), ..KubeConfigOptions::default() };
    if let Some(path) = &options.kubeconfig {
        return from_file(path, &choice).await;
    }
    if environment().is_some() {
        let read = Config::from_kubeconfig(&choice).await;
        return read.map(|config| (config, Origin::Environment)).map_err(|error| Error::Config {
            tried: format!("{}: {}", Origin::Environment, super::error::chain(&error)),
            check: "check the files it names, or unset it".into(),
        });
    }
    let pod = match Config::incluster() {
        Ok(config) if options.context.is_none() => return Ok((config, Origin::Pod)),
        Ok(_) => "a context was asked for, which a pod's ServiceAccount does not have".to_string(),
        Err(error) => format!("this is no pod with a ServiceAccount ({})", super::error::chain(&error)),
    };
    let home = std::env::home_dir().map(|home| home.join(".kube/config"));
    match home.filter(|path| path.exists()) {
        Some(path) => from_file(&path, &choice).await,
        None => Err(Error::Config {
            tried: format!("$KUBECONFIG is not set, {pod}, and there is no ~/.kube/config"),
            check: "name a kubeconfig".into(),
        }),
    }
}

async fn from_file(path: &Path, choice: &KubeConfigOptions) -> Result<(Config, Origin), Error> {
    let origin = Origin::File(path.to_path_buf());
    let failed = |error: kube::config::KubeconfigError| Error::Config {
        tried: format!("{origin}: {}", super::error::chain(&error)),
        check: "check that it is there and readable, and that its context, cluster and user are".into(),
    };
    let read = Kubeconfig::read_from(path).map_err(failed)?;
    let config = Config::from_custom_kubeconfig(read, choice).await.map_err(failed)?;
    Ok((config, origin))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_wrong_with_a_configuration_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config");
        let good = "apiVersion: v1\nkind: Config\ncurrent-context: a\nclusters: [{name: c, cluster: {server: \
                    \"https://127.0.0.1:1\"}}]\nusers: [{name: u, user: {token: t}}]\ncontexts: [{name: a, context: \
                    {cluster: c, user: u}}]\n";
        let options = |context: Option<&str>, server: Option<&str>| ClientOptions {
            kubeconfig: Some(path.clone()),
            context: context.map(Into::into),
            server: server.map(Into::into),
        };
        let said = async |options: ClientOptions| match client(&options).await {
            Ok(_) => String::new(),
            Err(error) => error.to_string().replace(&*path.to_string_lossy(), "FILE"),
        };
        assert!(
            said(options(None, None)).await.contains("the kubeconfig FILE: "),
            "a file that is not there"
        );
        std::fs::write(&path, good).unwrap();
        assert_eq!(said(options(None, None)).await, "");
        assert!(said(options(Some("b"), None)).await.contains("context"), "a context that is not there");
        assert!(said(options(None, Some("no url"))).await.contains("is no URL"));
        assert_eq!(said(options(None, Some("https://192.0.2.1:6443"))).await, "");
        std::fs::write(&path, "{").unwrap();
        assert!(said(options(None, None)).await.contains("FILE"), "a file that is no kubeconfig");
    }
}
