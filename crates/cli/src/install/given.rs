//! What the command line says of settings, as the values that the chart would take.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use install::Settings;
use install::decide::{Decision, suit_flavour};
use install::facts::Flavour;
use install::settings::merge;
use ipnet::IpNet;
use serde_json::{Value, json};

/// What is given of the settings.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Given {
    /// The cluster's name, unique among linked clusters.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// The cluster's number, unique among linked clusters.
    #[arg(long, value_name = "1-511")]
    id: Option<u16>,
    /// A range that pods take addresses from; once for each.
    #[arg(long = "pod-cidr", value_name = "CIDR")]
    pod_cidrs: Vec<IpNet>,
    /// A range that services take addresses from; once for each.
    #[arg(long = "service-cidr", value_name = "CIDR")]
    service_cidrs: Vec<IpNet>,
    /// A node that runs a controller; once for each.
    #[arg(long = "controller-node", value_name = "NODE")]
    nodes: Vec<String>,
    /// Where a controller is reached, ADDRESS or ADDRESS:PORT; once for each.
    #[arg(long = "controller-address", value_name = "ADDRESS", value_parser = parse_address)]
    addresses: Vec<Address>,
    /// The image, as NAME or NAME:TAG.
    #[arg(long)]
    image: Option<String>,
    /// Whose Kubernetes it is [default: found out].
    #[arg(long, value_parser = parse_flavour)]
    flavour: Option<Flavour>,
    /// A file of settings, as the Helm chart takes them; the last one wins.
    #[arg(short = 'f', long, value_name = "FILE")]
    values: Vec<PathBuf>,
    /// One setting, such as agent.underlay=ens5; the value is YAML.
    #[arg(long = "set", value_name = "SETTING=VALUE")]
    set: Vec<String>,
}

/// An address whose port may be left to the settings.
#[derive(Debug, Clone, Copy)]
struct Address {
    ip: IpAddr,
    port: Option<u16>,
}

impl Given {
    /// Everything that is given, the more particular over the more general: files, then `--set`, then flags.
    pub(crate) fn values(&self, namespace: Option<&str>) -> Result<Value> {
        let mut values = json!({});
        for path in &self.values {
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("reading the settings {}", path.display()))?;
            let file: Value =
                serde_saphyr::from_str(&text).with_context(|| format!("{}: not YAML", path.display()))?;
            Settings::default().with(&file).with_context(|| format!("{}: not settings", path.display()))?;
            merge(&mut values, &file);
        }
        for assignment in &self.set {
            let Some((path, value)) = assignment.split_once('=') else {
                bail!("--set {assignment}: write it as SETTING=VALUE, such as agent.underlay=ens5");
            };
            let value =
                serde_saphyr::from_str(value).with_context(|| format!("--set {assignment}: not YAML"))?;
            let one = at(path, value);
            Settings::default().with(&one).with_context(|| {
                format!("--set {assignment}: no such setting, or no value of it (see docs/settings.md)")
            })?;
            merge(&mut values, &one);
        }
        self.flags(namespace).into_iter().for_each(|(path, value)| merge(&mut values, &at(path, value)));
        let settings =
            Settings::default().with(&values).context("these are not settings (see docs/settings.md)")?;
        if !self.addresses.is_empty() {
            let port = settings.controllers.port;
            let full = |a: &Address| SocketAddr::new(a.ip, a.port.unwrap_or(port)).to_string();
            let addresses: Vec<String> = self.addresses.iter().map(full).collect();
            merge(&mut values, &at("controllers.addresses", json!(addresses)));
        }
        Ok(values)
    }

    fn flags(&self, namespace: Option<&str>) -> Vec<(&'static str, Value)> {
        let texts = |ranges: &[IpNet]| ranges.iter().map(ToString::to_string).collect::<Vec<_>>();
        let mut flags = Vec::new();
        let mut flag = |path, value: Option<Value>| flags.extend(value.map(|value| (path, value)));
        flag("namespace", namespace.map(Value::from));
        flag("cluster.name", self.name.clone().map(Value::from));
        flag("cluster.id", self.id.map(Value::from));
        flag("cluster.podCIDRs", non_empty(texts(&self.pod_cidrs)));
        flag("cluster.serviceCIDRs", non_empty(texts(&self.service_cidrs)));
        flag("controllers.nodes", non_empty(self.nodes.clone()));
        if let Some(image) = &self.image {
            let (repository, tag) = split_image(image);
            flag("image.repository", Some(repository.into()));
            flag("image.tag", tag.map(Value::from));
        }
        flags
    }

    /// Settings for when no cluster is asked.
    pub(crate) fn without_cluster(&self, values: &Value) -> Result<Decision> {
        Ok(suit_flavour(self.flavour.unwrap_or_default(), values)?)
    }
}

/// A setting's value in one line, as a person would write it.
pub(crate) fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(", "),
        Value::Object(fields) => {
            fields.iter().map(|(key, value)| format!("{key} {}", plain(value))).collect::<Vec<_>>().join(", ")
        }
        other => other.to_string(),
    }
}

fn non_empty(items: Vec<String>) -> Option<Value> {
    if items.is_empty() { None } else { Some(json!(items)) }
}

/// A tag is behind the last colon, unless that is a registry's port.
fn split_image(image: &str) -> (&str, Option<&str>) {
    match image.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository, Some(tag)),
        _ => (image, None),
    }
}

fn at(path: &str, value: Value) -> Value {
    path.rsplit('.').fold(value, |value, key| json!({ key: value }))
}

fn parse_flavour(text: &str) -> Result<Flavour, String> {
    let names = Flavour::ALL.map(Flavour::name).join(", ");
    Flavour::ALL
        .into_iter()
        .find(|flavour| flavour.name() == text)
        .ok_or_else(|| format!("write one of {names}"))
}

fn parse_address(text: &str) -> Result<Address, String> {
    if let Ok(full) = text.parse::<SocketAddr>() {
        return Ok(Address { ip: full.ip(), port: Some(full.port()) });
    }
    let ip = text.parse().map_err(|_| "write an IP address, or ADDRESS:PORT ([ADDRESS]:PORT for IPv6)")?;
    Ok(Address { ip, port: None })
}

/// A time such as 90s, 5m or 1h.
pub(crate) fn parse_wait(text: &str) -> Result<Duration, String> {
    // A number alone counts seconds.
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let time = if is_number { model::parse_time(&format!("{text}s")) } else { model::parse_time(text) };
    time.ok_or_else(|| "write a time such as 90s, 5m or 1h".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_particular_wins() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let text = "cluster: {name: file, id: 3}\nagent: {underlay: eth9}\ncontrollers: {port: 7}\n";
        std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
        let given = Given {
            name: Some("flag".into()),
            values: vec![file.path().into()],
            set: vec!["cluster.name=set".into(), "cluster.id=4".into(), "agent.tolerations=[]".into()],
            image: Some("registry.example:5000/causeway".into()),
            addresses: vec![parse_address("192.0.2.1").unwrap(), parse_address("[2001:db8::1]:9").unwrap()],
            ..Given::default()
        };
        let settings = Settings::default().with(&given.values(Some("net")).unwrap()).unwrap();
        assert_eq!((settings.cluster.name.as_str(), settings.cluster.id), ("flag", 4));
        assert_eq!((settings.namespace.as_str(), settings.agent.underlay.as_str()), ("net", "eth9"));
        assert_eq!(settings.image.repository, "registry.example:5000/causeway");
        assert_eq!(settings.image.tag, env!("CARGO_PKG_VERSION"));
        assert!(settings.agent.tolerations.is_empty());
        let addresses: Vec<String> = settings.controllers.addresses.iter().map(ToString::to_string).collect();
        assert_eq!(addresses, ["192.0.2.1:7", "[2001:db8::1]:9"]);
    }

    #[test]
    fn what_is_no_setting() {
        for (set, said) in [
            ("agent.underlay", "SETTING=VALUE"),
            ("agent.colour=red", "colour"),
            ("cluster.id=many", "cluster"),
            ("cluster.podCIDRs=[10.0.0.0]", "settings"),
        ] {
            let given = Given { set: vec![set.into()], ..Given::default() };
            let error = format!("{:#}", given.values(None).unwrap_err());
            assert!(error.contains(said), "{set}: {error}");
        }
    }

    #[test]
    fn small_words() {
        for (image, expected) in [
            ("a/b", ("a/b", None)),
            ("a/b:1", ("a/b", Some("1"))),
            ("h:5/b", ("h:5/b", None)),
            ("h:5/b:1", ("h:5/b", Some("1"))),
        ] {
            assert_eq!(split_image(image), expected, "{image}");
        }
        for (text, expected) in [
            ("90s", Some(90)),
            ("5m", Some(300)),
            ("1h", Some(3600)),
            ("0", Some(0)),
            ("5d", Some(5 * 86_400)),
            ("99999999999999999h", None),
            ("", None),
        ] {
            assert_eq!(parse_wait(text).ok(), expected.map(Duration::from_secs), "{text}");
        }
        assert_eq!(plain(&json!({"a": ["x", 1], "b": true})), "a x, 1, b true");
    }
}
