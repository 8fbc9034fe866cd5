//! What a container runtime may ask, checked once: CNI 1.1.0, "Section 2: Execution Protocol".

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use model::ObjectName;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use wire::local::CniRequest;

use super::extras::Extras;
use super::failure::Failure;

/// The versions of the specification that we speak, oldest first.
pub const VERSIONS: [&str; 3] = ["0.4.0", "1.0.0", "1.1.0"];

/// The longest container id: it has to fit into the note on an interface.
const CONTAINER_ID_MAX: usize = 200;

/// The most attachments a `GC` may name, and the longest `CNI_ARGS`.
const LIST_MAX: usize = 100_000;
const ARGS_MAX: usize = 16_384;

/// A version of the specification that we speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// 0.4.0: addresses carry their family.
    V0_4,
    /// 1.0.0.
    V1_0,
    /// 1.1.0: interfaces carry their MTU; `STATUS` and `GC` exist.
    V1_1,
}

impl Version {
    /// The version as text.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V0_4 => VERSIONS[0],
            Self::V1_0 => VERSIONS[1],
            Self::V1_1 => VERSIONS[2],
        }
    }

    /// Reads a version as it stands in a configuration.
    pub fn parse(text: &str) -> Result<Self, Failure> {
        let known = [Self::V0_4, Self::V1_0, Self::V1_1];
        known.into_iter().find(|v| v.as_str() == text).ok_or_else(|| {
            let text: String = text.chars().take(40).collect();
            Failure::Version { found: text }
        })
    }
}

/// Which interface of which container: what the specification calls an attachment.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attachment {
    /// `CNI_CONTAINERID`.
    #[serde(rename = "containerID", alias = "containerId")]
    pub container_id: String,
    /// `CNI_IFNAME`.
    pub ifname: String,
}

impl Attachment {
    /// Checks both parts.
    pub fn new(container_id: &str, ifname: &str) -> Result<Self, Failure> {
        let environment = |variable, why| Err(Failure::Environment { variable, why });
        if !is_identifier(container_id) || container_id.len() > CONTAINER_ID_MAX {
            return environment(
                "CNI_CONTAINERID",
                "begin with a letter or digit, then letters, digits, '_', '.' or '-', at most 200 in all",
            );
        }
        // What the kernel takes for a device's name: linux/net/core/dev.c, dev_valid_name.
        let printable = ifname.bytes().all(|b| b.is_ascii_graphic() && b != b'/' && b != b':');
        if ifname.is_empty() || ifname.len() > 15 || !printable || ifname == "." || ifname == ".." {
            return environment("CNI_IFNAME", "1 to 15 printable characters without '/' and ':'");
        }
        Ok(Self { container_id: container_id.into(), ifname: ifname.into() })
    }
}

/// What is asked, checked.
#[derive(Debug, Clone, PartialEq)]
pub enum Request {
    /// Wire a container.
    Add {
        /// Which.
        attachment: Attachment,
        /// Its network namespace.
        netns: PathBuf,
        /// The pod, if the runtime said so.
        pod: Option<ObjectName>,
        /// In which words to answer.
        version: Version,
        /// The configuration's `dns`, handed on, and what plugins before us made.
        dns: Value,
        /// What plugins before us made.
        prev: Option<Value>,
        /// Host ports and limits.
        extras: Extras,
    },
    /// Take a container's wire away.
    Del {
        /// Which.
        attachment: Attachment,
    },
    /// Is a container wired as was said?
    Check {
        /// Which.
        attachment: Attachment,
        /// Its network namespace.
        netns: PathBuf,
        /// The addresses that were said.
        ips: BTreeSet<IpAddr>,
    },
    /// Would `ADD` work?
    Status,
    /// Take everything away but these.
    Gc {
        /// What is in use.
        valid: BTreeSet<Attachment>,
    },
}

/// Checks a request. Nothing in it is believed beforehand.
pub fn parse(request: &CniRequest) -> Result<Request, Failure> {
    let config = request
        .config
        .as_object()
        .ok_or(Failure::Config { field: "configuration", why: "standard input must be one JSON object" })?;
    let text = |field: &str| config.get(field).and_then(Value::as_str);
    // The first versions of the specification had no such field.
    let version = Version::parse(text("cniVersion").unwrap_or("0.1.0"))?;
    if !text("name").is_some_and(is_identifier) {
        return Err(Failure::Config {
            field: "name",
            why: "give the network a name: begin with a letter or digit, then letters, digits, '_', '.' or '-'",
        });
    }
    let attachment = || Attachment::new(&request.container_id, &request.ifname);
    match request.command.as_str() {
        "ADD" => Ok(Request::Add {
            attachment: attachment()?,
            netns: netns(&request.netns)?,
            pod: pod(&request.args)?,
            version,
            dns: config
                .get("dns")
                .filter(|dns| dns.is_object())
                .cloned()
                .unwrap_or_else(|| Value::Object(Default::default())),
            prev: config.get("prevResult").filter(|prev| !prev.is_null()).cloned(),
            extras: Extras::parse(config)?,
        }),
        "DEL" => Ok(Request::Del { attachment: attachment()? }),
        "CHECK" => Ok(Request::Check {
            attachment: attachment()?,
            netns: netns(&request.netns)?,
            ips: prev_ips(config.get("prevResult"))?,
        }),
        "STATUS" if version >= Version::V1_1 => Ok(Request::Status),
        "GC" if version >= Version::V1_1 => {
            Ok(Request::Gc { valid: valid(config.get("cni.dev/valid-attachments"))? })
        }
        "STATUS" | "GC" => Err(Failure::Config {
            field: "cniVersion",
            why: "STATUS and GC came with 1.1.0: write \"cniVersion\": \"1.1.0\"",
        }),
        _ => Err(Failure::Environment {
            variable: "CNI_COMMAND",
            why: "one of ADD, DEL, CHECK, STATUS, GC, VERSION",
        }),
    }
}

fn is_identifier(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

fn netns(path: &str) -> Result<PathBuf, Failure> {
    if path.starts_with('/') && !path.contains('\0') && path.len() < 4096 {
        Ok(path.into())
    } else {
        Err(Failure::Environment { variable: "CNI_NETNS", why: "an absolute path to a network namespace" })
    }
}

/// The pod's name from `CNI_ARGS`. Other arguments are for others.
fn pod(args: &str) -> Result<Option<ObjectName>, Failure> {
    let malformed =
        || Failure::Environment { variable: "CNI_ARGS", why: "KEY=VALUE pairs with ';' between them" };
    if args.len() > ARGS_MAX {
        return Err(malformed());
    }
    let (mut namespace, mut name) = (None, None);
    for pair in args.split(';').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=').ok_or_else(malformed)? {
            ("K8S_POD_NAMESPACE", value) => namespace = Some(value),
            ("K8S_POD_NAME", value) => name = Some(value),
            _ => {}
        }
    }
    match (namespace, name) {
        (Some(namespace), Some(name)) => {
            let why = "K8S_POD_NAMESPACE and K8S_POD_NAME must be a pod's names in Kubernetes";
            let refused = |_| Failure::Environment { variable: "CNI_ARGS", why };
            ObjectName::new(namespace, name).map(Some).map_err(refused)
        }
        _ => Ok(None),
    }
}

/// The addresses of a previous result.
fn prev_ips(prev: Option<&Value>) -> Result<BTreeSet<IpAddr>, Failure> {
    let wrong = |why| Failure::Config { field: "prevResult", why };
    let prev = prev.ok_or(wrong("CHECK needs the result of ADD"))?;
    let ips = prev.get("ips").and_then(Value::as_array).ok_or(wrong("it has no list of ips"))?;
    let address = |ip: &Value| {
        let net: Option<IpNet> = ip.get("address").and_then(Value::as_str)?.parse().ok();
        net.map(|net| net.addr())
    };
    let found: Option<BTreeSet<IpAddr>> = ips.iter().map(address).collect();
    found.ok_or(wrong("each of its ips must have an address such as 10.1.0.2/32"))
}

fn valid(list: Option<&Value>) -> Result<BTreeSet<Attachment>, Failure> {
    let wrong = |why| Failure::Config { field: "cni.dev/valid-attachments", why };
    let list = list.ok_or(wrong("GC needs the list of attachments to keep"))?;
    let list = list.as_array().ok_or(wrong("it must be a list"))?;
    if list.len() > LIST_MAX {
        return Err(wrong("it has more than 100000 entries"));
    }
    let entry = |entry: &Value| {
        let text = |field: &str| entry.get(field).and_then(Value::as_str);
        Attachment::new(text("containerID")?, text("ifname")?).ok()
    };
    let found: Option<BTreeSet<Attachment>> = list.iter().map(entry).collect();
    // One entry that is not understood could be one in use: rather nothing is deleted.
    found.ok_or(wrong("each entry must have a containerID and an ifname"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn request(command: &str, change: impl FnOnce(&mut CniRequest)) -> CniRequest {
        let mut request = CniRequest {
            command: command.into(),
            container_id: "abc-1".into(),
            netns: "/run/netns/x".into(),
            ifname: "eth0".into(),
            args: "IgnoreUnknown=1;K8S_POD_NAMESPACE=demo;K8S_POD_NAME=echo-0".into(),
            config: json!({"cniVersion": "1.1.0", "name": "mesh", "type": "causeway"}),
        };
        change(&mut request);
        request
    }

    fn code(command: &str, change: impl FnOnce(&mut CniRequest)) -> u32 {
        parse(&request(command, change)).map_or_else(|e| e.code(), |_| 0)
    }

    #[test]
    fn good() {
        let attachment = Attachment { container_id: "abc-1".into(), ifname: "eth0".into() };
        let added = parse(&request("ADD", |_| {})).unwrap();
        let Request::Add { attachment: found, pod, version, .. } = added else { panic!("{added:?}") };
        assert_eq!((found, version), (attachment.clone(), Version::V1_1));
        assert_eq!(pod.unwrap().to_string(), "demo/echo-0");
        // DEL needs neither a namespace nor a result.
        let del = parse(&request("DEL", |r| r.netns.clear())).unwrap();
        assert_eq!(del, Request::Del { attachment: attachment.clone() });
        let check =
            request("CHECK", |r| r.config["prevResult"] = json!({"ips": [{"address": "10.1.0.2/32"}]}));
        assert!(
            matches!(parse(&check).unwrap(), Request::Check { ips, .. } if ips == ["10.1.0.2".parse().unwrap()].into())
        );
        assert_eq!(parse(&request("STATUS", |_| {})).unwrap(), Request::Status);
        let gc = request("GC", |r| {
            r.config["cni.dev/valid-attachments"] = json!([{"containerID": "abc-1", "ifname": "eth0"}]);
        });
        assert_eq!(parse(&gc).unwrap(), Request::Gc { valid: [attachment].into() });
    }

    #[test]
    fn refused() {
        type Change = fn(&mut CniRequest);
        let cases: [(&str, Change, u32); 28] = [
            ("ADD", |r| r.config = json!([]), 7),
            ("ADD", |r| r.config["cniVersion"] = json!("2.0.0"), 1),
            ("ADD", |r| r.config["cniVersion"] = json!(1), 1),
            ("ADD", |r| drop(r.config.as_object_mut().unwrap().remove("cniVersion")), 1),
            ("ADD", |r| r.config["name"] = json!(""), 7),
            ("ADD", |r| r.config["name"] = json!("-x"), 7),
            ("ADD", |r| r.container_id.clear(), 4),
            ("ADD", |r| r.container_id = "../x".into(), 4),
            ("ADD", |r| r.container_id = "x".repeat(201), 4),
            ("DEL", |r| r.container_id = "a b".into(), 4),
            ("ADD", |r| r.ifname.clear(), 4),
            ("ADD", |r| r.ifname = "..".into(), 4),
            ("ADD", |r| r.ifname = "a/b".into(), 4),
            ("ADD", |r| r.ifname = "sixteen-letters-".into(), 4),
            ("ADD", |r| r.netns.clear(), 4),
            ("ADD", |r| r.netns = "run/netns/x".into(), 4),
            ("ADD", |r| r.args = "K8S_POD_NAMESPACE".into(), 4),
            ("ADD", |r| r.args = "K8S_POD_NAMESPACE=Demo;K8S_POD_NAME=x".into(), 4),
            ("ADD", |r| r.config["runtimeConfig"] = json!({"portMappings": 80}), 7),
            ("ADD", |r| r.config["runtimeConfig"] = json!({"bandwidth": {"egressRate": "1M"}}), 7),
            ("CHECK", |_| {}, 7),
            ("CHECK", |r| r.config["prevResult"] = json!({"ips": [{"address": "10.1.0.2"}]}), 7),
            ("GC", |_| {}, 7),
            ("GC", |r| r.config["cni.dev/valid-attachments"] = json!([{"containerID": "a"}]), 7),
            ("GC", |r| r.config["cniVersion"] = json!("1.0.0"), 7),
            ("STATUS", |r| r.config["cniVersion"] = json!("0.4.0"), 7),
            ("add", |_| {}, 4),
            ("", |_| {}, 4),
        ];
        for (command, change, expected) in cases {
            let asked = request(command, change);
            assert_eq!(code(command, change), expected, "{asked:?}");
        }
        assert_eq!(code("ADD", |r| r.args = "A=1;;K8S_POD_NAME=only".into()), 0);
    }
}
