//! A machine that forwards for its pods: the settings of the kernel that this takes, changed without taking away
//! what the machine lives by.
//!
//! An IPv6 router believes no router advertisement, unless it is told to (`accept_ra` 2), and a machine that becomes a
//! router forgets the default route it learned (`addrconf_fixup_forwarding`, net/ipv6/addrconf.c). Clouds announce
//! IPv6 default routes so: devices that take advertisements are told to go on before forwarding begins.
//!
//! Reverse-path filters are left alone: every path of ours is symmetrical, so a strict filter passes it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

const V4: &str = "net/ipv4/ip_forward";
const V6: &str = "net/ipv6/conf/all/forwarding";
const V6_DEVICES: &str = "net/ipv6/conf";

/// A setting that is not as it ought to be, and could not be changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot set {setting} to {value}: {why}; set it on the machine (sysctl), pods need it")]
pub struct Refused {
    /// Its name, as sysctl(8) writes it.
    pub setting: String,
    /// What it ought to be.
    pub value: &'static str,
    /// What the kernel said.
    pub why: String,
}

/// Which families pods speak.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Families {
    /// IPv4.
    pub v4: bool,
    /// IPv6.
    pub v6: bool,
}

/// Turns forwarding on in this thread's network namespace, where it is off. Returns what could not be changed; what is
/// right already is not touched.
pub fn ensure(families: Families) -> Vec<Refused> {
    ensure_in(Path::new("/proc/sys"), families)
}

fn ensure_in(root: &Path, families: Families) -> Vec<Refused> {
    let mut refused = Vec::new();
    if families.v4 {
        refused.extend(set(root, Path::new(V4), "1").err());
    }
    if families.v6 && value(root, Path::new(V6)).is_ok_and(|value| value != "1") {
        let advised: Vec<PathBuf> = advised_devices(root);
        for device in &advised {
            refused.extend(set(root, device, "2").err());
        }
        // Better no forwarding than a machine that loses its own way out.
        if refused.iter().all(|refused| !refused.setting.ends_with("accept_ra")) {
            refused.extend(set(root, Path::new(V6), "1").err());
        }
    } else if families.v6 {
        refused.extend(set(root, Path::new(V6), "1").err());
    }
    refused
}

/// Devices that take router advertisements now, and would not if they forwarded.
fn advised_devices(root: &Path) -> Vec<PathBuf> {
    let Ok(devices) = fs::read_dir(root.join(V6_DEVICES)) else { return Vec::new() };
    let names =
        devices.flatten().map(|entry| entry.file_name()).filter(|name| name != "all" && name != "default");
    let paths = names.map(|name| Path::new(V6_DEVICES).join(name));
    let takes = |path: &PathBuf| {
        let is = |file: &str, expected| value(root, &path.join(file)).is_ok_and(|value| value == expected);
        is("accept_ra", "1") && is("forwarding", "0")
    };
    let mut advised: Vec<_> = paths.filter(takes).map(|path| path.join("accept_ra")).collect();
    advised.sort();
    advised
}

fn value(root: &Path, setting: &Path) -> io::Result<String> {
    Ok(fs::read_to_string(root.join(setting))?.trim().to_string())
}

fn set(root: &Path, setting: &Path, wanted: &'static str) -> Result<(), Refused> {
    let refused = |e: io::Error| Refused {
        setting: setting.display().to_string().replace('/', "."),
        value: wanted,
        why: e.to_string(),
    };
    if value(root, setting).map_err(refused)? == wanted {
        return Ok(());
    }
    fs::write(root.join(setting), wanted).map_err(refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: Families = Families { v4: true, v6: true };

    /// A tree of settings as the kernel shows it.
    fn tree(settings: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, value) in settings {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, format!("{value}\n")).unwrap();
        }
        root
    }

    #[test]
    fn devices_that_take_advertisements_go_on_taking_them() {
        let root = tree(&[
            (V4, "0"),
            (V6, "0"),
            ("net/ipv6/conf/eth0/accept_ra", "1"),
            ("net/ipv6/conf/eth0/forwarding", "0"),
            ("net/ipv6/conf/eth1/accept_ra", "0"),
            ("net/ipv6/conf/eth1/forwarding", "0"),
            ("net/ipv6/conf/cw1/accept_ra", "1"),
            ("net/ipv6/conf/cw1/forwarding", "1"),
            ("net/ipv6/conf/default/accept_ra", "1"),
            ("net/ipv6/conf/default/forwarding", "0"),
        ]);
        assert_eq!(ensure_in(root.path(), BOTH), []);
        let is = |path: &str| value(root.path(), Path::new(path)).unwrap();
        assert_eq!((is(V4), is(V6)), ("1".into(), "1".into()));
        for (device, expected) in [("eth0", "2"), ("eth1", "0"), ("cw1", "1"), ("default", "1")] {
            assert_eq!(is(&format!("net/ipv6/conf/{device}/accept_ra")), expected, "{device}");
        }
    }

    #[test]
    fn what_pods_do_not_speak_is_left_alone() {
        let root = tree(&[(V4, "0"), (V6, "0")]);
        assert_eq!(ensure_in(root.path(), Families { v4: true, v6: false }), []);
        assert_eq!(value(root.path(), Path::new(V6)).unwrap(), "0");
    }

    #[test]
    fn what_is_missing_is_said() {
        let root = tree(&[(V4, "1")]);
        let refused = ensure_in(root.path(), BOTH);
        assert_eq!(refused.len(), 1);
        let text = refused[0].to_string();
        assert!(text.contains("net.ipv6.conf.all.forwarding to 1"), "{text}");
    }
}
