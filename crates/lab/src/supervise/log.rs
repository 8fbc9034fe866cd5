//! Log files: appended to by the process itself, cut back by us when they grow.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

/// A log is cut back when it is longer than this.
pub const LONGEST: u64 = 4 << 20;

/// How much of a log stays when it is cut back.
const KEPT: u64 = 1 << 20;

/// Opens a log to be appended to. Every write goes to the end, so cutting it back under the writer is safe.
pub fn open(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    OpenOptions::new().create(true).append(true).open(path)
}

/// Cuts every log below `folder` back that is too long.
pub fn trim_all(folder: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            trim_all(&entry.path())?;
        } else if entry.metadata()?.len() > LONGEST {
            trim(&entry.path())?;
        }
    }
    Ok(())
}

fn trim(path: &Path) -> io::Result<()> {
    let tail = tail_bytes(path, KEPT)?;
    let start = tail.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let mut file = OpenOptions::new().append(true).open(path)?;
    // Lines written between the two steps are lost; a log that grows so fast has others.
    file.set_len(0)?;
    file.write_all(&tail[start..])
}

fn tail_bytes(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(most)))?;
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The last lines of a log; none when there is no log.
pub fn tail(path: &Path, lines: usize) -> String {
    let bytes = tail_bytes(path, KEPT).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_and_is_cut() {
        let folder = std::env::temp_dir().join(format!("causeway-log-{}", std::process::id()));
        let path = folder.join("a/b.log");
        let mut log = open(&path).unwrap();
        let line = [b'x'; 1023];
        for number in 0..5000 {
            log.write_all(&line).unwrap();
            writeln!(log, "{number}").unwrap();
        }
        trim_all(&folder).unwrap();
        assert!(std::fs::metadata(&path).unwrap().len() <= KEPT);
        writeln!(log, "after").unwrap();
        let end = tail(&path, 2);
        assert!(end.ends_with("x4999\nafter"), "{}", &end[end.len() - 20..]);
        assert_eq!(tail(&folder.join("none"), 5), "");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
