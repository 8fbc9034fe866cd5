//! All tests of the workspace. The machines they run on are shared: one that fails is run once more, with nothing beside it,
//! and named at the end if it passes then. Failing twice is failing; so is failing in numbers.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context as _, Result, bail};

use crate::run::{cargo, run};

/// More tests than this do not fail by accident.
const UNSTEADY: usize = 3;

/// What cargo said of tests that failed.
#[derive(Debug, Default, PartialEq, Eq)]
struct Failed {
    /// Their names.
    tests: Vec<String>,
    /// The words by which cargo finds their programs.
    targets: Vec<Vec<String>>,
}

/// Cargo runs one program of tests after the other, so what needs the whole machine (the lab) is alone; and the workspace is
/// one selection, or its dependencies are built anew for every set of features. There are no tests in documentation; looking for
/// them reads every crate once more.
pub(crate) fn run_all() -> Result<()> {
    let (passed, failed) = watch(cargo(&["test", "--workspace", "--tests", "--no-fail-fast"]))?;
    if passed {
        return Ok(());
    }
    let Failed { tests, targets } = failed;
    if tests.is_empty() || targets.is_empty() || tests.len() > UNSTEADY {
        bail!("{} tests failed", tests.len());
    }
    eprintln!("x: once more, with nothing beside it: {}", tests.join(", "));
    for target in &targets {
        // The same selection, so that nothing is built.
        let mut again = cargo(&["test", "--workspace"]);
        again.args(target).args(["--", "--exact", "--test-threads=1"]).args(&tests);
        run(&mut again).context("what failed failed again")?;
    }
    eprintln!("x: every test passed, but not at once; these are unsteady: {}", tests.join(", "));
    Ok(())
}

/// Runs tests, shows what they say, and keeps what failed.
fn watch(mut command: Command) -> Result<(bool, Failed)> {
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting {:?}", command.get_program()))?;
    let stdout = child.stdout.take().context("the tests' output")?;
    let stderr = child.stderr.take().context("cargo's output")?;
    let tests = thread::spawn(move || pass_on(stdout, std::io::stdout(), test_of));
    let targets = thread::spawn(move || pass_on(stderr, std::io::stderr(), target_of));
    let status = child.wait().context("waiting for the tests")?;
    let lost = || anyhow::anyhow!("the tests' output could not be passed on");
    let failed =
        Failed { tests: tests.join().map_err(|_| lost())??, targets: targets.join().map_err(|_| lost())?? };
    Ok((status.success(), failed))
}

/// Copies line by line, and keeps what is found in lines.
fn pass_on<T>(from: impl Read, mut to: impl Write, find: impl Fn(&str) -> Option<T>) -> Result<Vec<T>> {
    let mut from = BufReader::new(from);
    let (mut found, mut line) = (Vec::new(), Vec::new());
    while from.read_until(b'\n', &mut line)? > 0 {
        to.write_all(&line)?;
        to.flush()?;
        found.extend(find(String::from_utf8_lossy(&line).trim()));
        line.clear();
    }
    Ok(found)
}

/// The test that a line says has failed.
fn test_of(line: &str) -> Option<String> {
    let name = line.strip_prefix("test ")?.strip_suffix(" ... FAILED")?;
    Some(name.into())
}

/// The program of tests that a line of cargo's last words names.
fn target_of(line: &str) -> Option<Vec<String>> {
    let words = line.strip_prefix('`')?.strip_suffix('`')?;
    let mut words = words.split(' ').map(String::from);
    (words.next()? == "-p").then(|| words.skip(1).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_is_found_in_what_is_said() {
        let said = "running 2 tests\ntest a::b ... ok\ntest a::c ... FAILED\n\nfailures:\n    a::c\n";
        let mut copy = Vec::new();
        assert_eq!(pass_on(said.as_bytes(), &mut copy, test_of).unwrap(), ["a::c"]);
        assert_eq!(copy, said.as_bytes());
        let last =
            "error: 2 targets failed:\n    `-p causeway-serve --test dns`\n    `-p xtask --bin xtask`\n";
        let targets = pass_on(last.as_bytes(), &mut copy, target_of).unwrap();
        assert_eq!(targets, [vec!["--test", "dns"], vec!["--bin", "xtask"]]);
    }
}
