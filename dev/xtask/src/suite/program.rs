//! Programs of tests: which there are, where they may run, what they say.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::Value;

/// What a program needs of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// The lab, of which there is one, or its wires; what takes less than a second is measured.
    Lab,
    /// Namespaces, control groups and programs in the kernel, with names of its own.
    Node,
    /// A processor.
    Anywhere,
}

impl Place {
    /// Of a package, by its folder below the root.
    fn of(folder: &Path) -> Self {
        match folder.to_str() {
            Some("crates/cli" | "crates/lab") => Self::Lab,
            Some("crates/kernel" | "crates/agent") => Self::Node,
            _ => Self::Anywhere,
        }
    }
}

/// Whose turn it is on a processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    /// Its own.
    First,
    /// Mostly that which nobody else takes. Not that alone: on a busy machine it would not come to its end.
    Nice,
}

/// A program of tests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Program {
    /// Its package's folder below the root, and its source in there.
    pub(super) name: String,
    pub(super) place: Place,
    executable: PathBuf,
    /// Its package, where it runs.
    folder: PathBuf,
}

/// What became of a program.
#[derive(Debug)]
pub(super) struct Ran {
    pub(super) passed: bool,
    pub(super) status: ExitStatus,
    /// The tests that it says have failed.
    pub(super) failed: Vec<String>,
    said: Vec<u8>,
    took: Duration,
}

/// Every program of tests that cargo's messages name, a line of JSON each, in their order of packages and sources.
pub(super) fn all(root: &Path, messages: &str) -> Result<Vec<Program>> {
    let mut programs = Vec::new();
    for line in messages.lines().filter(|line| line.starts_with('{')) {
        let message: Value = serde_json::from_str(line).context("a message of cargo's")?;
        if message["reason"] != "compiler-artifact" || message["profile"]["test"] != true {
            continue;
        }
        let path = |value: &Value| value.as_str().map(PathBuf::from);
        let Some(executable) = path(&message["executable"]) else { continue };
        let manifest = path(&message["manifest_path"]).context("a program's package")?;
        let source = path(&message["target"]["src_path"]).context("a program's source")?;
        let folder = manifest.parent().context("a package's folder")?.to_path_buf();
        let below = |path: &Path| path.strip_prefix(root).unwrap_or(path).to_path_buf();
        let (name, place) = (below(&source).display().to_string(), Place::of(&below(&folder)));
        programs.push(Program { name, place, executable, folder });
    }
    programs.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(programs)
}

impl Program {
    /// Whether its tests fill a folder.
    pub(super) fn is_large(&self) -> bool {
        self.name.contains("/tests/") && self.name.ends_with("/main.rs")
    }

    /// Runs all of its tests, or these alone, one after the other. What it says is in a file of its own meanwhile, so that
    /// what it leaves running keeps nobody waiting for more.
    pub(super) fn run(&self, logs: &Path, pace: Pace, tests: &[String]) -> Result<Ran> {
        let log = logs.join(self.name.replace('/', "-")).with_extension("log");
        let file = File::create(&log).with_context(|| format!("writing {}", log.display()))?;
        let mut command = match pace {
            Pace::First => Command::new(&self.executable),
            Pace::Nice => {
                let mut nice = Command::new("nice");
                nice.args(["-n", "10"]).arg(&self.executable);
                nice
            }
        };
        if !tests.is_empty() {
            command.args(["--exact", "--test-threads=1"]).args(tests);
        }
        command.current_dir(&self.folder).env("CARGO_MANIFEST_DIR", &self.folder);
        command.stdin(Stdio::null()).stdout(file.try_clone().context("a program's output")?).stderr(file);
        let begun = Instant::now();
        let status = command.status().with_context(|| format!("starting {:?}", command.get_program()))?;
        let took = begun.elapsed();
        let said = std::fs::read(&log).with_context(|| format!("reading {}", log.display()))?;
        let text = String::from_utf8_lossy(&said);
        let failed = text.lines().filter_map(|line| test_of(line.trim())).collect();
        Ok(Ran { passed: status.success(), status, failed, said, took })
    }
}

impl Ran {
    /// All that a program has said, at once.
    pub(super) fn show(&self, program: &Program) {
        let (executable, took) = (program.executable.display(), self.took.as_secs_f64());
        let title = format!("     Ran {} ({executable}) in {took:.1} s: {}\n", program.name, self.status);
        let mut out = std::io::stdout().lock();
        // Whoever does not listen any more has the files.
        let _ = out.write_all(&[title.as_bytes(), &self.said, b"\n"].concat()).and_then(|()| out.flush());
    }
}

/// The test that a line says has failed.
fn test_of(line: &str) -> Option<String> {
    let name = line.strip_prefix("test ")?.strip_suffix(" ... FAILED")?;
    Some(name.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cargo_built_is_found_in_what_it_says() {
        let artifact = |package: &str, source: &str, test: bool, executable: &str| {
            format!(
                r#"{{"reason":"compiler-artifact","manifest_path":"/r/{package}/Cargo.toml","target":{{"src_path":"/r/{package}/{source}"}},"profile":{{"test":{test}}},"executable":{executable}}}"#
            )
        };
        let messages = [
            artifact("crates/serve", "src/lib.rs", true, r#""/r/target/debug/deps/serve-1""#),
            artifact("crates/serve", "src/lib.rs", false, "null"),
            artifact("crates/cli", "src/main.rs", false, r#""/r/target/debug/causeway""#),
            r#"{"reason":"build-finished","success":true}"#.into(),
            artifact("crates/cli", "tests/lab.rs", true, r#""/r/target/debug/deps/lab-1""#),
            artifact("crates/kernel", "tests/bpf_edge/main.rs", true, r#""/r/target/debug/deps/bpf-1""#),
        ];
        let programs = all(Path::new("/r"), &messages.join("\n")).unwrap();
        let found: Vec<_> = programs.iter().map(|p| (p.name.as_str(), p.place)).collect();
        let expected = [
            ("crates/cli/tests/lab.rs", Place::Lab),
            ("crates/kernel/tests/bpf_edge/main.rs", Place::Node),
            ("crates/serve/src/lib.rs", Place::Anywhere),
        ];
        assert_eq!(found, expected);
        assert_eq!(programs[0].folder, Path::new("/r/crates/cli"));
        assert_eq!(programs[0].executable, Path::new("/r/target/debug/deps/lab-1"));
    }

    #[test]
    fn what_failed_is_found_in_what_is_said() {
        let folder = std::env::temp_dir().join(format!("causeway-xtask-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let executable = folder.join("tests.sh");
        std::fs::write(
            &executable,
            "#!/bin/sh\necho 'test a::b ... ok'; echo \"test a::c ... FAILED\"; echo \"$*\" >&2; exit 101\n",
        )
        .unwrap();
        std::fs::set_permissions(&executable, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let program =
            Program { name: "x/y.rs".into(), place: Place::Anywhere, executable, folder: folder.clone() };
        for pace in [Pace::First, Pace::Nice] {
            let ran = program.run(&folder, pace, &["a::c".into()]).unwrap();
            assert!(!ran.passed && ran.failed == ["a::c"]);
            assert!(String::from_utf8_lossy(&ran.said).ends_with("--exact --test-threads=1 a::c\n"));
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
