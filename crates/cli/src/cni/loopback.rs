//! The plugin `loopback`, which containerd before 2.0 calls for every pod next to the network's own: brings `lo` up.
//!
//! Part of the reference plugins and therefore on most nodes; where it is not, the agent puts a link of that name beside
//! our program, and the program knows by its name what it was called for. Needs no agent.

use std::env;
use std::ffi::OsStr;
use std::path::Path;

use kernel::netns::{Netns, NetnsError};
use serde_json::{Value, json};
use wire::local::CniResponse;

/// The versions of the specification it speaks: containerd calls it in 0.3.1.
const VERSIONS: [&str; 5] = ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];

/// Whether the program was called by this name.
pub(super) fn is_called() -> bool {
    let program = env::args_os().next().unwrap_or_default();
    Path::new(&program).file_name() == Some(OsStr::new(agent::cni::install::LOOPBACK))
}

/// Does what is asked of a pod's namespace.
pub(super) fn answer(command: &str, netns: &str, config: &Value) -> CniResponse {
    let version = config.get("cniVersion").and_then(Value::as_str).unwrap_or("1.1.0");
    if command == "VERSION" {
        return CniResponse::Result(json!({"cniVersion": version, "supportedVersions": VERSIONS}));
    }
    if !VERSIONS.contains(&version) {
        return error(
            1,
            format!("CNI version {version:?} is not supported"),
            format!("write one of {VERSIONS:?}"),
        );
    }
    match command {
        "ADD" => match up(netns) {
            Ok(()) => CniResponse::Result(added(version, netns, config)),
            Err(e) => error(5, "cannot bring lo up".into(), e),
        },
        "CHECK" => match Netns::open_path(Path::new(netns)).and_then(|netns| netns.loopback_is_up()) {
            Ok(true) => CniResponse::Result(Value::Null),
            Ok(false) => {
                error(100, "lo is down".into(), format!("in {netns}: delete the pod and add it again"))
            }
            Err(e) => error(5, "cannot look at lo".into(), e.to_string()),
        },
        // With the namespace goes the device; there is nothing of ours to clean or to be short of.
        "DEL" | "GC" | "STATUS" => CniResponse::Result(Value::Null),
        _ => error(
            4,
            "environment variable CNI_COMMAND is wrong".into(),
            "one of ADD, DEL, CHECK, GC, STATUS, VERSION".into(),
        ),
    }
}

fn up(netns: &str) -> Result<(), String> {
    let set = |netns: Netns| -> Result<(), NetnsError> { netns.set_loopback_up() };
    Netns::open_path(Path::new(netns)).and_then(set).map_err(|e| e.to_string())
}

/// What `ADD` prints: what plugins before it made, or the device.
fn added(version: &str, netns: &str, config: &Value) -> Value {
    if let Some(before) = config.get("prevResult") {
        return before.clone();
    }
    let address = |address: &str, family: &str| match version.starts_with("0.") {
        true => json!({"version": family, "interface": 0, "address": address}),
        false => json!({"interface": 0, "address": address}),
    };
    json!({
        "cniVersion": version,
        "interfaces": [{"name": "lo", "mac": "00:00:00:00:00:00", "sandbox": netns}],
        "ips": [address("127.0.0.1/8", "4"), address("::1/128", "6")],
    })
}

fn error(code: u32, msg: String, details: String) -> CniResponse {
    CniResponse::Error { code, msg, details }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(command: &str, netns: &str, version: &str) -> Result<Value, u32> {
        match answer(command, netns, &json!({"cniVersion": version, "name": "lo", "type": "loopback"})) {
            CniResponse::Result(value) => Ok(value),
            CniResponse::Error { code, .. } => Err(code),
        }
    }

    #[test]
    fn a_pods_loopback() {
        let name = format!("cwt_lo_{}", std::process::id());
        let namespace = Netns::create(&name).expect("root makes namespaces");
        let path = kernel::netns::path_of(&name).unwrap().display().to_string();
        let outcome = [
            result("ADD", &path, "0.3.1").map(|value| value["ips"][0]["version"].clone()),
            result("CHECK", &path, "0.4.0"),
            result("ADD", &path, "1.0.0").map(|value| value["ips"][1]["address"].clone()),
            result("DEL", &path, "1.0.0"),
            namespace.loopback_is_up().map(Value::from).map_err(|_| 0),
        ];
        Netns::delete(&name).unwrap();
        assert_eq!(
            outcome,
            [Ok(json!("4")), Ok(Value::Null), Ok(json!("::1/128")), Ok(Value::Null), Ok(json!(true))]
        );
    }

    #[test]
    fn what_cannot_be() {
        assert_eq!(result("ADD", "/nowhere/net", "1.0.0"), Err(5));
        assert_eq!(result("DEL", "/nowhere/net", "1.0.0"), Ok(Value::Null));
        assert_eq!(result("ADD", "/nowhere/net", "0.1.0"), Err(1));
        assert_eq!(result("ADDD", "", "1.0.0"), Err(4));
        assert_eq!(result("VERSION", "", "1.1.0").unwrap()["supportedVersions"], json!(VERSIONS));
        let before = json!({"cniVersion": "1.0.0", "ips": []});
        assert_eq!(added("1.0.0", "/x", &json!({"prevResult": before.clone()})), before);
    }
}
