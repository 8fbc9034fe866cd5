//! The generations of pre-shared keys that the operator gives this node: files in a folder, which Kubernetes keeps as a Secret
//! says. They are read again and again, so that a new one counts without a restart.
//!
//! What was read is kept when nothing can be read any more: the keys are no less secret, and tunnels go on.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::Path;

use engine::preshared::{self, Generation, Preshared};
use zeroize::Zeroizing;

use crate::config::{Config, PresharedKeys};

/// So many files are looked at.
const MOST_FILES: usize = 64;

/// What was read, and from where.
#[derive(Debug, Default)]
pub(crate) struct Generations {
    from: Option<PresharedKeys>,
    held: Preshared,
}

impl Generations {
    /// Those of the folder that is configured.
    pub(crate) fn open(config: &Config) -> Self {
        let mut this = Self { from: config.preshared_keys.clone(), held: Preshared::default() };
        // It is read again before anybody is told of a problem.
        this.read();
        this
    }

    /// What is held of them.
    pub(crate) fn held(&self) -> &Preshared {
        &self.held
    }

    /// Reads them again. Returns what is wrong.
    pub(crate) fn read(&mut self) -> Option<String> {
        let PresharedKeys { folder, required } = self.from.as_ref()?;
        let (found, mut wrong) = look(folder);
        if !found.is_empty() {
            self.held = Preshared::new(found, *required);
        } else {
            let before = self.held.generations().to_vec();
            wrong.push(match before.is_empty() {
                true => "there is no generation: put one into the Secret (causeway keys preshared)".into(),
                false => "there is no generation any more: what was read before counts until the agent is started anew".into(),
            });
            self.held = Preshared::new(before, *required);
        }
        (!wrong.is_empty()).then(|| format!("pre-shared keys in {}: {}", folder.display(), wrong.join("; ")))
    }
}

/// The generations in a folder, and what is wrong with files there.
fn look(folder: &Path) -> (Vec<Generation>, Vec<String>) {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => return (Vec::new(), vec![format!("the folder cannot be read: {error}")]),
    };
    let names = entries.filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()));
    // Kubernetes has folders of its own beside the files.
    let mut names: Vec<String> = names.filter(|name| !name.starts_with('.')).take(MOST_FILES + 1).collect();
    names.sort();
    let crowd = (names.len() > MOST_FILES).then(|| format!("there are more than {MOST_FILES} files"));
    names.truncate(MOST_FILES);
    let (found, mut wrong) = preshared::collect(names, |number| read(&folder.join(number.to_string())));
    wrong.extend(crowd);
    (found, wrong)
}

/// A file's text; of one that is too long so much that it is seen.
fn read(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut text = Zeroizing::new(Vec::with_capacity(Generation::LONGEST + 1));
    File::open(path)?.take(Generation::LONGEST as u64 + 1).read_to_end(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kernel::wireguard::PrivateKey;

    fn key() -> String {
        model::PresharedKey(*PrivateKey::generate().secret()).to_base64().to_string()
    }

    #[test]
    fn generations_come_and_go() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("keys");
        let mut generations = Generations {
            from: Some(PresharedKeys { folder: folder.clone(), required: true }),
            held: Preshared::default(),
        };
        let mut numbers = || {
            let problem = generations.read();
            assert!(generations.held().is_required());
            (generations.held().generations().iter().map(Generation::number).collect::<Vec<_>>(), problem)
        };
        let put = |name: &str, text: &str| fs::write(folder.join(name), text).unwrap();
        assert!(numbers().1.unwrap().contains("cannot be read"));
        fs::create_dir(&folder).unwrap();
        assert!(numbers().1.unwrap().contains("causeway keys preshared"));
        put("1", &key());
        put("..data", "of Kubernetes");
        assert_eq!(numbers(), (vec![1], None));
        put("10", &format!("{}\n", key()));
        put("9", &key());
        assert_eq!(numbers(), (vec![10, 9, 1], None));
        let same = fs::read_to_string(folder.join("9")).unwrap();
        let long = format!("{}{}", key(), " ".repeat(200));
        let zeros = "A".repeat(43) + "=";
        for (name, text, said) in [
            ("11", "c2hvcnQ=", "44 characters"),
            ("11", "not base64", "44 characters"),
            ("11", &*zeros, "44 characters"),
            ("11", &*long, "44 characters"),
            ("11", &*same, "9 is the same as 11"),
            ("01", &*key(), "\"01\" is no number"),
            ("new", &*key(), "\"new\" is no number"),
        ] {
            put(name, text);
            let problem = numbers().1.unwrap_or_default();
            assert!(problem.contains(said), "{name}: {problem}");
            assert!(!problem.contains(text.trim()), "{problem}");
            fs::remove_file(folder.join(name)).unwrap();
        }
        fs::write(folder.join("12"), [0xff; 44]).unwrap();
        assert!(numbers().1.unwrap().contains("12: expected"));
        fs::remove_file(folder.join("12")).unwrap();
        for number in 20..30 {
            put(&number.to_string(), &key());
        }
        let (held, problem) = numbers();
        assert_eq!(held, (22..30).rev().collect::<Vec<_>>());
        assert!(problem.unwrap().contains("the newest 8 count"));
        fs::remove_dir_all(&folder).unwrap();
        fs::create_dir(&folder).unwrap();
        let (held, problem) = numbers();
        assert!(held.len() == 8 && problem.unwrap().contains("any more"), "they go on");
    }

    #[test]
    fn nothing_is_wrong_where_none_are_wanted() {
        let mut none = Generations::default();
        assert_eq!(none.read(), None);
        assert_eq!(none.held(), &Preshared::default());
    }
}
