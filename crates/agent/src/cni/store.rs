//! Who has which address, on disk.
//!
//! Written as a whole, beside the old one, then put in its place: whoever reads sees the one or the other. It has to
//! survive the agent, not the machine: after a power cut no wire is left, and what has no wire is let go.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Read as _};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use kernel::pod::Found;
use model::ObjectName;
use serde::{Deserialize, Serialize};

use super::extras::Extras;
use super::request::Attachment;

/// How many freed addresses are remembered, of each family: those of a whole IPv4 /24.
const FREED_MAX: usize = 256;

/// What the name of the file before the last change ends in.
const OLDER: &str = "older";

/// The layout of the file.
const LAYOUT: u32 = 1;

/// The largest file that is read: a hundred thousand pods would fit.
const FILE_MAX: u64 = 32 << 20;

/// One wired container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// Which.
    #[serde(flatten)]
    pub attachment: Attachment,
    /// The interface on the node.
    pub host_ifname: String,
    /// Its addresses.
    pub ips: Vec<IpAddr>,
    /// The pod, if the runtime said so.
    pub pod: Option<ObjectName>,
    /// The file of its network namespace; empty if that is not known, as when the wire is all that told of it.
    #[serde(default)]
    pub netns: PathBuf,
    /// Host ports and limits.
    #[serde(default)]
    pub extras: Extras,
}

/// Everything that was handed out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ledger {
    /// What is in use.
    pub entries: BTreeMap<Attachment, Entry>,
    /// What was freed, the oldest first.
    pub freed: Vec<IpAddr>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    layout: u32,
    entries: Vec<Entry>,
    freed: Vec<IpAddr>,
}

/// Why a file is not a ledger.
#[derive(Debug, thiserror::Error)]
pub enum CorruptError {
    /// Not JSON of this form.
    #[error("it is not what we write: {0}")]
    Json(#[from] serde_json::Error),
    /// From another version of ours.
    #[error("its layout is {0}, ours is {LAYOUT}")]
    Layout(u32),
    /// It contradicts itself.
    #[error("it gives {0} to two containers")]
    Twice(String),
    /// It is too large.
    #[error("it has {0} bytes, more than {FILE_MAX}")]
    Large(u64),
}

impl Ledger {
    /// The addresses in use.
    pub fn used(&self) -> BTreeSet<IpAddr> {
        self.entries.values().flat_map(|entry| entry.ips.iter().copied()).collect()
    }

    /// Takes an entry out and remembers its addresses as freed.
    pub fn release(&mut self, attachment: &Attachment) {
        let Some(entry) = self.entries.remove(attachment) else { return };
        self.freed.retain(|ip| !entry.ips.contains(ip));
        self.freed.extend(entry.ips);
        for v4 in [true, false] {
            let count = self.freed.iter().filter(|ip| ip.is_ipv4() == v4).count();
            let mut surplus = count.saturating_sub(FREED_MAX);
            self.freed.retain(|ip| {
                let old = ip.is_ipv4() == v4 && surplus > 0;
                surplus -= usize::from(old);
                !old
            });
        }
    }

    /// Reads what [`Ledger::to_bytes`] wrote.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CorruptError> {
        let file: File = serde_json::from_slice(bytes)?;
        if file.layout != LAYOUT {
            return Err(CorruptError::Layout(file.layout));
        }
        let mut ledger = Self { freed: file.freed, ..Self::default() };
        let mut seen = BTreeSet::new();
        for entry in file.entries {
            let twice = entry.ips.iter().find(|ip| !seen.insert(**ip));
            if let Some(ip) = twice {
                return Err(CorruptError::Twice(ip.to_string()));
            }
            let attachment = entry.attachment.clone();
            if ledger.entries.insert(attachment, entry.clone()).is_some() {
                return Err(CorruptError::Twice(format!("{:?}", entry.attachment)));
            }
        }
        Ok(ledger)
    }

    /// The file's bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let entries = self.entries.values().cloned().collect();
        let file = File { layout: LAYOUT, entries, freed: self.freed.clone() };
        serde_json::to_vec(&file).expect("plain values have a form in JSON")
    }

    /// Lets go of what has no wire on the node any more: its namespace is gone, and perhaps the machine went with it.
    /// Returns how many.
    pub fn keep_wired(&mut self, wires: &BTreeMap<String, Found>) -> usize {
        let gone = self.entries.values().filter(|entry| !wires.contains_key(&entry.host_ifname));
        let gone: Vec<Attachment> = gone.map(|entry| entry.attachment.clone()).collect();
        gone.iter().for_each(|attachment| self.release(attachment));
        gone.len()
    }

    /// Puts a ledger together from the wires that are on the node. They tell addresses and names; the rest is known
    /// of those that an older ledger tells the same of.
    pub fn from_wires(wires: &BTreeMap<String, Found>, older: &Self) -> Self {
        let entries = wires.values().filter_map(|found| {
            let (attachment, pod) = parse_note(&found.note)?;
            let same = |entry: &&Entry| entry.host_ifname == found.host_ifname && entry.ips == found.ips;
            if let Some(entry) = older.entries.get(&attachment).filter(same) {
                return Some((attachment, entry.clone()));
            }
            let entry = Entry {
                attachment: attachment.clone(),
                host_ifname: found.host_ifname.clone(),
                ips: found.ips.clone(),
                pod,
                netns: PathBuf::new(),
                extras: Extras::default(),
            };
            (kernel::pod::host_ifname(&attachment.container_id, &attachment.ifname) == found.host_ifname)
                .then_some((attachment, entry))
        });
        Self { entries: entries.collect(), freed: older.freed.clone() }
    }
}

impl Entry {
    /// What is written on the node's interface, so that a lost file can be put together again.
    pub fn note(&self) -> String {
        let Attachment { container_id, ifname } = &self.attachment;
        let short = format!("{container_id}/{ifname}");
        match &self.pod {
            // The kernel's limit: IFALIASZ.
            Some(pod) if short.len() + pod.to_string().len() < 255 => format!("{short}/{pod}"),
            _ => short,
        }
    }
}

fn parse_note(note: &str) -> Option<(Attachment, Option<ObjectName>)> {
    let mut parts = note.splitn(3, '/');
    let attachment = Attachment::new(parts.next()?, parts.next()?).ok()?;
    Some((attachment, parts.next().and_then(|pod| pod.parse().ok())))
}

/// What the file held.
#[derive(Debug)]
pub(super) enum Loaded {
    /// A ledger.
    Ledger(Ledger),
    /// Nothing: there is no file.
    Nothing,
    /// Something else, now under another name.
    SetAside(PathBuf, CorruptError),
}

/// Reads the file; one that is not a ledger is set aside as `NAME.corrupt-N`.
pub(super) fn load(path: &Path) -> io::Result<Loaded> {
    let size = match fs::metadata(path) {
        Ok(metadata) => metadata.len(),
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Loaded::Nothing),
        Err(e) => return Err(e),
    };
    let parsed = match size {
        size if size > FILE_MAX => Err(CorruptError::Large(size)),
        _ => Ledger::from_bytes(&fs::read(path)?),
    };
    match parsed {
        Ok(ledger) => Ok(Loaded::Ledger(ledger)),
        Err(e) => {
            let aside = (1..)
                .map(|n| beside(path, &format!("corrupt-{n}")))
                .find(|aside| !aside.exists())
                .expect("some number is free");
            fs::rename(path, &aside)?;
            Ok(Loaded::SetAside(aside, e))
        }
    }
}

/// The ledger before the last change, or an empty one: what is left when the file itself is lost.
pub(super) fn load_older(path: &Path) -> Ledger {
    let file = fs::File::open(beside(path, OLDER)).map(|file| file.take(FILE_MAX));
    let mut bytes = Vec::new();
    match file.and_then(|mut file| file.read_to_end(&mut bytes)) {
        Ok(_) => Ledger::from_bytes(&bytes).unwrap_or_default(),
        Err(_) => Ledger::default(),
    }
}

/// Writes the file; the one before stays beside it.
pub(super) fn save(path: &Path, ledger: &Ledger) -> io::Result<()> {
    let (new, older) = (beside(path, "new"), beside(path, OLDER));
    fs::write(&new, ledger.to_bytes())?;
    match fs::rename(path, older) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    fs::rename(&new, path)
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_os_string();
    name.push(".");
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(container: &str, ips: &[&str]) -> Entry {
        let attachment = Attachment::new(container, "eth0").unwrap();
        Entry {
            host_ifname: kernel::pod::host_ifname(container, "eth0"),
            ips: ips.iter().map(|ip| ip.parse().unwrap()).collect(),
            pod: Some("demo/echo-0".parse().unwrap()),
            netns: "/run/netns/pod".into(),
            extras: Extras::default(),
            attachment,
        }
    }

    fn ledger(entries: &[Entry]) -> Ledger {
        let entries = entries.iter().map(|entry| (entry.attachment.clone(), entry.clone())).collect();
        Ledger { entries, freed: vec!["10.1.0.9".parse().unwrap()] }
    }

    fn without_namespaces(ledger: &Ledger) -> BTreeMap<Attachment, Entry> {
        let without = |entry: &Entry| Entry { netns: PathBuf::new(), ..entry.clone() };
        ledger.entries.iter().map(|(attachment, entry)| (attachment.clone(), without(entry))).collect()
    }

    #[test]
    fn there_and_back() {
        let full = ledger(&[entry("a", &["10.1.0.2", "fd00::2"]), entry("b", &["10.1.0.3"])]);
        assert_eq!(Ledger::from_bytes(&full.to_bytes()).unwrap(), full);
        assert_eq!(Ledger::from_bytes(&Ledger::default().to_bytes()).unwrap(), Ledger::default());
    }

    #[test]
    fn from_before_namespaces_were_kept() {
        let full = ledger(&[entry("a", &["10.1.0.2"])]);
        let text = String::from_utf8(full.to_bytes()).unwrap();
        let extras = ",\"extras\":{\"limits\":{}}";
        let old = text.replace(",\"netns\":\"/run/netns/pod\"", "").replace(extras, "");
        assert!(text.contains(extras), "{text}");
        assert_ne!(old, text);
        assert_eq!(Ledger::from_bytes(old.as_bytes()).unwrap().entries, without_namespaces(&full));
    }

    #[test]
    fn corrupt() {
        let twice = ledger(&[entry("a", &["10.1.0.2"]), entry("b", &["10.1.0.2"])]);
        let good = String::from_utf8(Ledger::default().to_bytes()).unwrap();
        let cases = [
            (b"".to_vec(), "not what we write"),
            (b"\0\0\0".to_vec(), "not what we write"),
            (twice.to_bytes(), "10.1.0.2 to two containers"),
            (good.replace("\"layout\":1", "\"layout\":2").into(), "its layout is 2"),
            (good.replace("\"freed\"", "\"fred\"").into(), "not what we write"),
            (good[..good.len() - 1].into(), "not what we write"),
        ];
        for (bytes, expected) in cases {
            let error = Ledger::from_bytes(&bytes).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn what_was_freed_is_remembered_in_order_and_bounded() {
        let mut ledger = ledger(&[entry("a", &["10.1.0.2"]), entry("b", &["10.1.0.9"])]);
        ledger.release(&Attachment::new("b", "eth0").unwrap());
        ledger.release(&Attachment::new("a", "eth0").unwrap());
        ledger.release(&Attachment::new("a", "eth0").unwrap());
        let freed: Vec<String> = ledger.freed.iter().map(IpAddr::to_string).collect();
        assert_eq!(freed, ["10.1.0.9", "10.1.0.2"]);
        for n in 0..600_u16 {
            let name = format!("c{n}");
            let new = entry(&name, &[&format!("10.2.{}.{}", n / 256, n % 256), &format!("fd00::{n:x}")]);
            ledger.entries.insert(new.attachment.clone(), new);
            ledger.release(&Attachment::new(&name, "eth0").unwrap());
        }
        assert_eq!(ledger.freed.len(), 2 * FREED_MAX);
        assert_eq!(ledger.freed.last().unwrap().to_string(), "fd00::257");
    }

    #[test]
    fn from_what_stands_on_the_wires() {
        let full = ledger(&[entry("a", &["10.1.0.2"]), entry(&"b".repeat(200), &["10.1.0.3"])]);
        let wires = full.entries.values().map(|entry| Found {
            host_ifname: entry.host_ifname.clone(),
            host_index: 7,
            note: entry.note(),
            ips: entry.ips.clone(),
        });
        let mut wires: BTreeMap<String, Found> =
            wires.map(|found| (found.host_ifname.clone(), found)).collect();
        let nothing = Ledger::default();
        assert_eq!(Ledger::from_wires(&wires, &nothing).entries, without_namespaces(&full));
        assert_eq!(Ledger::from_wires(&wires, &full).entries, full.entries);
        // An older ledger that tells something else of a wire is not believed about it.
        let mut other = full.clone();
        other.entries.values_mut().for_each(|entry| entry.ips = vec!["10.1.0.99".parse().unwrap()]);
        assert_eq!(Ledger::from_wires(&wires, &other).entries, without_namespaces(&full));
        let mut more = full.clone();
        let gone = entry("gone", &["10.1.0.7"]);
        more.entries.insert(gone.attachment.clone(), gone);
        assert_eq!((more.keep_wired(&wires), &more.entries), (1, &full.entries));
        assert_eq!(more.freed.last().unwrap().to_string(), "10.1.0.7");
        // Not ours, or not any more: the name does not follow from the note.
        for found in wires.values_mut() {
            found.note.insert(0, 'x');
        }
        assert_eq!(Ledger::from_wires(&wires, &nothing), nothing);
        assert!(full.entries.values().all(|entry| entry.note().len() <= 255));
    }

    #[test]
    fn set_aside() {
        let directory = std::env::temp_dir().join(format!("causeway-cni-store-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let path = directory.join("ipam.json");
        assert!(matches!(load(&path).unwrap(), Loaded::Nothing));
        let full = ledger(&[entry("a", &["10.1.0.2"])]);
        save(&path, &full).unwrap();
        assert!(matches!(load(&path).unwrap(), Loaded::Ledger(found) if found == full));
        assert_eq!(load_older(&path), Ledger::default());
        let next = ledger(&[entry("b", &["10.1.0.3"])]);
        save(&path, &next).unwrap();
        assert_eq!(load_older(&path), full);
        for n in 1..3 {
            fs::write(&path, "{").unwrap();
            let expected = directory.join(format!("ipam.json.corrupt-{n}"));
            assert!(matches!(load(&path).unwrap(), Loaded::SetAside(aside, _) if aside == expected));
            assert!(!path.exists());
        }
        fs::remove_dir_all(&directory).unwrap();
    }
}
