//! The ledger on disk: a journal, one line for every change, written before the kernel is told.
//!
//! Nothing is ever synced. A record is in the page cache when `write(2)` returns, and stays there when the agent is
//! killed; when the kernel itself goes, or the power, all pods go with it, and what is lost told of pods that are no
//! more. Whatever is missing or damaged, the wires on the node tell which addresses are taken
//! ([`Ledger::keep_wired`], [`Ledger::adopt`]): an address is free only if neither the journal nor a wire has it.
//!
//! A line is a checksum, a space and a record in JSON. Each checksum covers all lines before, too: a record that was
//! changed, lost or left over from another file ends what is believed.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::hash::Hasher as _;
use std::io::{self, Read as _, Write as _};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher13;

use super::ledger::{Entry, Ledger};
use super::request::Attachment;

/// What a journal begins with.
const HEADER: &str = "causeway pods 2\n";

/// The largest file that is read: a hundred thousand pods would fit.
const FILE_MAX: u64 = 32 << 20;

/// The longest line: a container with a thousand host ports takes a tenth of it.
const LINE_MAX: usize = 1 << 20;

/// How much a journal grows, at least, before it is written anew with nothing but what is in use.
const GROWTH: u64 = 256 << 10;

/// How long another agent may take to end.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the name of the journal before this one ends in.
const OLDER: &str = "older";

/// A change.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Record {
    /// What was freed before this journal began, the oldest first.
    Freed(Vec<IpAddr>),
    /// A container has this from now on.
    Given(Entry),
    /// A container has nothing any more.
    Released(Attachment),
}

/// Why a journal is believed up to a point only, or not at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// The last line has no end: whoever wrote it was killed, and never heard that it was written.
    #[error("its last line is cut off")]
    Torn,
    /// It does not begin as ours do.
    #[error("it is no journal of this version")]
    Foreign,
    /// A line is not what was written.
    #[error("line {0} is not what was written")]
    Line(usize),
    /// It contradicts itself.
    #[error("line {0} gives {1} to a second container")]
    Twice(usize, IpAddr),
    /// It is too large.
    #[error("it has more than {FILE_MAX} bytes")]
    Large,
}

/// What a journal says.
#[derive(Debug, PartialEq, Eq)]
pub struct Replayed {
    /// What was handed out, at the end of what is believed.
    pub ledger: Ledger,
    /// How many bytes are believed.
    pub believed: usize,
    /// What is wrong behind them.
    pub damage: Option<Damage>,
}

/// Reads a journal, as far as it can be believed.
pub fn replay(bytes: &[u8]) -> Replayed {
    let Some(mut rest) = bytes.strip_prefix(HEADER.as_bytes()) else {
        return Replayed { ledger: Ledger::default(), believed: 0, damage: Some(Damage::Foreign) };
    };
    let (mut reader, mut damage) = (Reader::default(), None);
    let (mut sum, mut number, mut believed) = (0, 1, HEADER.len());
    while !rest.is_empty() {
        number += 1;
        let end = rest.iter().take(LINE_MAX).position(|byte| *byte == b'\n');
        let Some(end) = end else {
            damage = Some(if rest.len() < LINE_MAX { Damage::Torn } else { Damage::Line(number) });
            break;
        };
        let Some((next, record)) = read(sum, &rest[..end]) else {
            damage = Some(Damage::Line(number));
            break;
        };
        if let Err(ip) = reader.apply(record) {
            damage = Some(Damage::Twice(number, ip));
            break;
        }
        sum = next;
        believed += end + 1;
        rest = &rest[end + 1..];
    }
    Replayed { ledger: reader.ledger, believed, damage }
}

/// The bytes of a journal that says just this.
pub fn written(ledger: &Ledger) -> Vec<u8> {
    whole(ledger).0
}

/// A journal with these lines, whatever they are, each with its right checksum.
pub fn sealed<'a>(lines: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    seal(lines).0
}

fn whole(ledger: &Ledger) -> (Vec<u8>, u64) {
    let freed = Record::Freed(ledger.freed.clone());
    let given = ledger.entries.values().map(|entry| Record::Given(entry.clone()));
    let records: Vec<_> = std::iter::once(freed).chain(given).map(|record| record.to_json()).collect();
    seal(records.iter().map(Vec::as_slice))
}

fn seal<'a>(lines: impl IntoIterator<Item = &'a [u8]>) -> (Vec<u8>, u64) {
    let (mut bytes, mut sum) = (HEADER.as_bytes().to_vec(), 0);
    for text in lines {
        let (line, next) = line(sum, text);
        bytes.extend(line);
        sum = next;
    }
    (bytes, sum)
}

fn line(before: u64, text: &[u8]) -> (Vec<u8>, u64) {
    let sum = checksum(before, text);
    ([format!("{sum:016x} ").as_bytes(), text, b"\n"].concat(), sum)
}

impl Record {
    fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("plain values have a form in JSON")
    }
}

fn read(before: u64, line: &[u8]) -> Option<(u64, Record)> {
    let (sum, text) = (line.get(..16)?, line.get(17..)?);
    let expected = checksum(before, text);
    if sum != format!("{expected:016x}").as_bytes() || line[16] != b' ' {
        return None;
    }
    Some((expected, serde_json::from_slice(text).ok()?))
}

fn checksum(before: u64, text: &[u8]) -> u64 {
    let mut hasher = SipHasher13::new();
    hasher.write_u64(before);
    hasher.write(text);
    hasher.finish()
}

/// A ledger that is being read, and whose each address is.
#[derive(Default)]
struct Reader {
    ledger: Ledger,
    holders: BTreeMap<IpAddr, Attachment>,
}

impl Reader {
    /// Takes in a change; the address that another container has, if it cannot be.
    fn apply(&mut self, record: Record) -> Result<(), IpAddr> {
        match record {
            Record::Freed(freed) => self.ledger.set_freed(freed),
            Record::Given(entry) => {
                let had = self.ledger.entries.get(&entry.attachment).map(|entry| entry.ips.clone());
                had.iter().flatten().for_each(|ip| drop(self.holders.remove(ip)));
                for ip in &entry.ips {
                    if self.holders.insert(*ip, entry.attachment.clone()).is_some() {
                        return Err(*ip);
                    }
                }
                self.ledger.give(entry);
            }
            Record::Released(attachment) => {
                let had = self.ledger.entries.get(&attachment).map(|entry| entry.ips.clone());
                had.iter().flatten().for_each(|ip| drop(self.holders.remove(ip)));
                self.ledger.release(&attachment);
            }
        }
        Ok(())
    }
}

/// What is known when an agent starts.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) journal: Journal,
    pub(super) ledger: Ledger,
    /// What was wrong, and where the file is now.
    pub(super) set_aside: Option<(Damage, PathBuf)>,
    /// The journal before, as far as it can be read: who has lost this one knows more by it.
    pub(super) older: Ledger,
}

/// The file, and what it takes to write on.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    file: File,
    /// Of all lines so far.
    sum: u64,
    length: u64,
    /// Where it is to be written anew.
    limit: u64,
    /// Whether a line may have been written in part.
    torn: bool,
    /// Held as long as this agent lives: two would hand out the same.
    _lock: File,
}

impl Journal {
    /// Opens the journal, or begins one. Blocks; waits for an agent that is about to end.
    pub(super) fn open(path: &Path) -> io::Result<Opened> {
        Self::open_within(PATIENCE, path)
    }

    fn open_within(patience: Duration, path: &Path) -> io::Result<Opened> {
        let lock = lock(&beside(path, "lock"), patience)?;
        let older = match read_file(&beside(path, OLDER))? {
            Some(bytes) => bytes.map(|bytes| replay(&bytes).ledger).unwrap_or_default(),
            None => Ledger::default(),
        };
        let (mut ledger, mut set_aside) = (Ledger::default(), None);
        if let Some(bytes) = read_file(path)? {
            let replayed = match bytes {
                Ok(bytes) => replay(&bytes),
                Err(damage) => Replayed { ledger: Ledger::default(), believed: 0, damage: Some(damage) },
            };
            ledger = replayed.ledger;
            if let Some(damage) = replayed.damage.filter(|damage| *damage != Damage::Torn) {
                let free =
                    |n: u32| Some(beside(path, &format!("corrupt-{n}"))).filter(|aside| !aside.exists());
                let aside = (1..).find_map(free).expect("some number is free");
                fs::rename(path, &aside)?;
                set_aside = Some((damage, aside));
            }
        }
        let (file, sum, length) = begin(path, &ledger)?;
        let limit = length + GROWTH.max(length);
        let journal = Self { path: path.into(), file, sum, length, limit, torn: false, _lock: lock };
        Ok(Opened { journal, ledger, set_aside, older })
    }

    /// Writes down that a container has something; it counts when this returns.
    pub(super) fn give(&mut self, ledger: &mut Ledger, entry: Entry) -> io::Result<()> {
        self.append(ledger, &Record::Given(entry.clone()))?;
        ledger.give(entry);
        Ok(())
    }

    /// Writes down that a container has nothing any more.
    pub(super) fn release(&mut self, ledger: &mut Ledger, attachment: &Attachment) -> io::Result<()> {
        self.append(ledger, &Record::Released(attachment.clone()))?;
        ledger.release(attachment);
        Ok(())
    }

    fn append(&mut self, ledger: &Ledger, record: &Record) -> io::Result<()> {
        if self.torn || self.length > self.limit {
            self.compact(ledger)?;
        }
        let (line, sum) = line(self.sum, &record.to_json());
        // One call: a reader of a file that nobody writes any more finds all of it, or a last line without an end.
        self.torn = true;
        self.file.write_all(&line)?;
        self.torn = false;
        self.sum = sum;
        self.length += line.len() as u64;
        Ok(())
    }

    /// Writes the journal anew with nothing but what is in use.
    pub(super) fn compact(&mut self, ledger: &Ledger) -> io::Result<()> {
        (self.file, self.sum, self.length) = begin(&self.path, ledger)?;
        self.limit = self.length + GROWTH.max(self.length);
        self.torn = false;
        Ok(())
    }
}

/// Puts a new journal in the place of the one there is, which stays beside it.
fn begin(path: &Path, ledger: &Ledger) -> io::Result<(File, u64, u64)> {
    let (new, older) = (beside(path, "new"), beside(path, OLDER));
    let (bytes, sum) = whole(ledger);
    let mut file = File::create(&new)?;
    file.write_all(&bytes)?;
    if path.exists() {
        // A link first: at no moment is there no journal.
        match fs::remove_file(&older) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => fs::hard_link(path, &older)?,
        }
    }
    fs::rename(&new, path)?;
    Ok((file, sum, bytes.len() as u64))
}

/// What a file holds, unless it is too large; none if there is none.
fn read_file(path: &Path) -> io::Result<Option<Result<Vec<u8>, Damage>>> {
    let file = match File::open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let mut bytes = Vec::new();
    file.take(FILE_MAX + 1).read_to_end(&mut bytes)?;
    Ok(Some(if bytes.len() as u64 > FILE_MAX { Err(Damage::Large) } else { Ok(bytes) }))
}

/// Only one agent hands out this node's addresses: the lock ends with its process.
fn lock(path: &Path, patience: Duration) -> io::Result<File> {
    let file = File::options().create(true).truncate(false).write(true).open(path)?;
    let begun = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if begun.elapsed() < patience => {
                #[expect(
                    clippy::disallowed_methods,
                    reason = "a lock with a time limit has no event to await"
                )]
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(TryLockError::WouldBlock) => {
                let why =
                    "another agent has this state directory: end it, or give this one a stateDir of its own";
                return Err(io::Error::new(io::ErrorKind::WouldBlock, why));
            }
            Err(TryLockError::Error(e)) => return Err(e),
        }
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_os_string();
    name.push(".");
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn entry(container: &str, ips: &[&str]) -> Entry {
        let ips = ips.iter().map(|ip| ip.parse().unwrap()).collect();
        Entry { ips, ..Entry::unknown(Attachment::new(container, "eth0").unwrap()) }
    }

    /// A journal in a folder of its own.
    fn folder() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pods.journal");
        (folder, path)
    }

    /// Some containers come and some go. Returns what was known after each change, and where its line ended.
    fn history(path: &Path) -> Vec<(u64, Ledger)> {
        let Opened { mut journal, mut ledger, .. } = Journal::open(path).unwrap();
        let mut known = vec![(journal.length, ledger.clone())];
        for n in 0..12_u8 {
            let ips = [format!("10.1.0.{}", 2 + n % 5), format!("fd00::{n:x}")];
            if let Some(before) = n.checked_sub(4) {
                let attachment = Attachment::new(&format!("c{before}"), "eth0").unwrap();
                journal.release(&mut ledger, &attachment).unwrap();
                known.push((journal.length, ledger.clone()));
            }
            let new = entry(&format!("c{n}"), &[&ips[0], &ips[1]]);
            journal.give(&mut ledger, new).unwrap();
            known.push((journal.length, ledger.clone()));
        }
        known
    }

    #[test]
    fn there_and_back() {
        let mut ledger = Ledger { freed: vec!["10.1.0.9".parse().unwrap()], ..Ledger::default() };
        for whole in [false, true] {
            if whole {
                ledger.give(entry("a", &["10.1.0.2", "fd00::2"]));
                ledger.give(Entry { netns: "/run/netns/b\n".into(), ..entry("b", &["10.1.0.3"]) });
            }
            let bytes = written(&ledger);
            let all = Replayed { ledger: ledger.clone(), believed: bytes.len(), damage: None };
            assert_eq!(replay(&bytes), all);
        }
    }

    #[test]
    fn cut_off_anywhere_it_says_what_was_written_before() {
        let (_folder, path) = folder();
        let known = history(&path);
        let bytes = fs::read(&path).unwrap();
        assert_eq!(known.last().unwrap().0, bytes.len() as u64);
        for length in 0..=bytes.len() {
            let replayed = replay(&bytes[..length]);
            let before = known.iter().rev().find(|(end, _)| *end <= length as u64);
            let Some((end, ledger)) = before else {
                assert!(replayed.ledger.entries.is_empty());
                continue;
            };
            assert_eq!(&replayed.ledger, ledger, "{length}");
            let torn = (*end < length as u64).then_some(Damage::Torn);
            assert_eq!((replayed.believed as u64, replayed.damage), (*end, torn), "{length}");
        }
    }

    #[test]
    fn one_wrong_bit_anywhere_ends_what_is_believed() {
        let (_folder, path) = folder();
        let known = history(&path);
        let bytes = fs::read(&path).unwrap();
        for at in HEADER.len()..bytes.len() {
            let mut wrong = bytes.clone();
            wrong[at] ^= 1 << (at % 8);
            let replayed = replay(&wrong);
            assert!(replayed.damage.is_some() && replayed.believed <= at, "{at}");
            let then = known.iter().find(|(end, _)| *end == replayed.believed as u64);
            assert_eq!(replayed.ledger, then.map(|(_, ledger)| ledger.clone()).unwrap_or_default(), "{at}");
        }
        // A line that was lost, and one that stands there twice.
        let text = String::from_utf8(bytes).unwrap();
        let lines: Vec<&str> = text.split_inclusive('\n').collect();
        for n in 1..lines.len() - 1 {
            let without = [&lines[..n], &lines[n + 1..]].concat().concat();
            assert!(matches!(replay(without.as_bytes()).damage, Some(Damage::Line(line)) if line == n + 1));
            let again = [&lines[..=n], &lines[n..]].concat().concat();
            assert!(matches!(replay(again.as_bytes()).damage, Some(Damage::Line(line)) if line == n + 2));
        }
    }

    #[test]
    fn contradictions_and_other_files() {
        let mut ledger = Ledger::default();
        ledger.give(entry("a", &["10.1.0.2"]));
        ledger.give(entry("b", &["10.1.0.2"]));
        let twice = Damage::Twice(4, "10.1.0.2".parse().unwrap());
        let mut repeated = Ledger::default();
        repeated.give(entry("a", &["10.1.0.2", "10.1.0.2"]));
        for (bytes, expected) in [
            (written(&ledger), twice),
            (written(&repeated), Damage::Twice(3, "10.1.0.2".parse().unwrap())),
            (Vec::new(), Damage::Foreign),
            (b"{\"layout\":1}".to_vec(), Damage::Foreign),
            (b"causeway pods 3\n".to_vec(), Damage::Foreign),
            ([HEADER.as_bytes(), b"\n"].concat(), Damage::Line(2)),
            ([HEADER.as_bytes(), b"0123456789abcdef"].concat(), Damage::Torn),
            ([HEADER.as_bytes(), &vec![b'x'; LINE_MAX]].concat(), Damage::Line(2)),
        ] {
            assert_eq!(replay(&bytes).damage, Some(expected));
        }
    }

    #[test]
    fn it_stays_short_and_the_one_before_stays_beside_it() {
        let (folder, path) = folder();
        let Opened { mut journal, mut ledger, .. } = Journal::open(&path).unwrap();
        journal.give(&mut ledger, entry("stays", &["10.1.0.2"])).unwrap();
        let new = entry("comes-and-goes", &["10.1.0.3"]);
        let mut lengths = BTreeSet::new();
        for _ in 0..5_000 {
            journal.give(&mut ledger, new.clone()).unwrap();
            journal.release(&mut ledger, &new.attachment).unwrap();
            lengths.insert(fs::metadata(&path).unwrap().len() / GROWTH);
        }
        assert_eq!(lengths, [0, 1].into(), "written anew when it has grown enough");
        assert_eq!(replay(&fs::read(&path).unwrap()).ledger, ledger);
        drop(journal);
        let expected = ledger.clone();
        assert_eq!(Journal::open(&path).unwrap().ledger, expected);
        fs::remove_file(&path).unwrap();
        let lost = Journal::open(&path).unwrap();
        assert_eq!((lost.ledger, lost.older, lost.set_aside), (Ledger::default(), expected, None));
        drop(lost.journal);
        for n in 1..3 {
            fs::write(&path, "{").unwrap();
            let (damage, aside) = Journal::open(&path).unwrap().set_aside.unwrap();
            let named = folder.path().join(format!("pods.journal.corrupt-{n}"));
            assert_eq!((damage, aside), (Damage::Foreign, named));
        }
    }

    #[test]
    fn what_could_not_be_written_is_not_read() {
        let (_folder, path) = folder();
        let Opened { mut journal, mut ledger, .. } = Journal::open(&path).unwrap();
        journal.give(&mut ledger, entry("a", &["10.1.0.2"])).unwrap();
        // As after a write that was stopped half way: the next one finds it, and does not write behind it.
        (&journal.file).write_all(b"0123456789abcdef {\"giv").unwrap();
        journal.torn = true;
        journal.give(&mut ledger, entry("b", &["10.1.0.3"])).unwrap();
        let bytes = fs::read(&path).unwrap();
        assert_eq!(replay(&bytes), Replayed { ledger, believed: bytes.len(), damage: None });
        // A file that cannot be written: nothing was given.
        let mut ledger = Ledger::default();
        journal.file = File::open(&path).unwrap();
        assert!(journal.give(&mut ledger, entry("c", &["10.1.0.4"])).is_err());
        assert_eq!(ledger, Ledger::default());
    }

    #[test]
    fn two_agents() {
        let (_folder, path) = folder();
        let first = Journal::open(&path).unwrap();
        let refused = Journal::open_within(Duration::ZERO, &path).unwrap_err();
        assert!(refused.to_string().contains("another agent"), "{refused}");
        // One that is about to end is waited for.
        let second = std::thread::scope(|scope| {
            let waiting = scope.spawn(|| Journal::open(&path));
            drop(first);
            waiting.join().unwrap()
        });
        second.unwrap();
    }
}
