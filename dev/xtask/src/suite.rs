//! All tests of the workspace. A lab waits for most of its time, so what needs no more than a processor runs beside the labs,
//! in the time that they leave. The machines all this runs on are shared: what fails is run once more, with nothing beside it,
//! and named at the end if it passes then. Failing twice is failing; so is failing in numbers.

mod program;

use std::path::Path;
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};

use crate::run::{cargo, root, target};
use program::{Pace, Place, Program, Ran};

/// More tests than this do not fail by accident.
const UNSTEADY: usize = 3;

/// The workspace is built as one selection, or its dependencies are built anew for every set of features. There are no tests in
/// documentation; looking for them reads every crate once more.
pub(crate) fn run_all() -> Result<()> {
    let begun = Instant::now();
    let programs = build()?;
    let built = begun.elapsed();
    let logs = target().join("tests");
    std::fs::create_dir_all(&logs).with_context(|| format!("making {}", logs.display()))?;
    let at = |place| {
        let mut queue: Vec<_> = programs.iter().filter(|program| program.place == place).collect();
        // Who begins last should not be who takes longest.
        queue.sort_by_key(|program| program.is_large());
        Mutex::new(queue)
    };
    let (labs, nodes, rest) = (at(Place::Lab), at(Place::Node), at(Place::Anywhere));
    let mut failed = run_lanes(&logs, &[(&labs, Pace::First), (&rest, Pace::Nice)])?;
    failed.extend(run_lanes(&logs, &[(&nodes, Pace::First), (&nodes, Pace::First)])?);
    let (built, ran) = (built.as_secs(), (begun.elapsed() - built).as_secs());
    println!("\nx: {} programs of tests, built in {built} s and run in {ran} s", programs.len());
    if failed.is_empty() { Ok(()) } else { once_more(&logs, &failed) }
}

/// Builds every program of tests; none of them runs.
fn build() -> Result<Vec<Program>> {
    let mut cargo = cargo(&["test", "--workspace", "--tests", "--no-run"]);
    cargo.arg("--message-format=json-render-diagnostics").stderr(Stdio::inherit());
    let output = cargo.output().context("starting cargo")?;
    if !output.status.success() {
        bail!("the tests cannot be built: {}", output.status);
    }
    let said = String::from_utf8(output.stdout).context("what cargo built")?;
    let programs = program::all(&root(), &said)?;
    if programs.is_empty() {
        bail!("cargo named no program of tests");
    }
    Ok(programs)
}

/// Who is still to run, the first one last.
type Queue<'a> = Mutex<Vec<&'a Program>>;

/// Each lane runs one program after the other, from its queue; who failed.
fn run_lanes<'a>(logs: &Path, lanes: &[(&Queue<'a>, Pace)]) -> Result<Vec<(&'a Program, Ran)>> {
    let run_lane = |queue: &Queue<'a>, pace| -> Result<Vec<(&'a Program, Ran)>> {
        let mut failed = Vec::new();
        loop {
            let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let Some(program) = next else { return Ok(failed) };
            let ran = program.run(logs, pace, &[])?;
            ran.show(program);
            if !ran.passed {
                failed.push((program, ran));
            }
        }
    };
    std::thread::scope(|scope| {
        let lanes: Vec<_> =
            lanes.iter().map(|(queue, pace)| scope.spawn(move || run_lane(queue, *pace))).collect();
        let mut failed = Vec::new();
        for lane in lanes {
            failed.extend(lane.join().map_err(|_| anyhow::anyhow!("a lane of tests panicked"))??);
        }
        Ok(failed)
    })
}

/// Runs what failed again, if it was so little that it may have been an accident.
fn once_more(logs: &Path, failed: &[(&Program, Ran)]) -> Result<()> {
    let names = |(program, ran): &(&Program, Ran)| match ran.failed.as_slice() {
        [] => format!("{}: {}", program.name, ran.status),
        tests => tests.iter().map(|test| format!("{}: {test}", program.name)).collect::<Vec<_>>().join(", "),
    };
    let all: Vec<String> = failed.iter().map(names).collect();
    let all = all.join(", ");
    let count: usize = failed.iter().map(|(_, ran)| ran.failed.len()).sum();
    // One that names no test did not come to its end.
    if count > UNSTEADY || failed.iter().any(|(_, ran)| ran.failed.is_empty()) {
        bail!("tests failed: {all}");
    }
    eprintln!("x: once more, with nothing beside it: {all}");
    for (program, ran) in failed {
        let again = program.run(logs, Pace::First, &ran.failed)?;
        again.show(program);
        if !again.passed {
            bail!("what failed failed again: {all}");
        }
    }
    eprintln!("x: every test passed, but not at once; these are unsteady: {all}");
    Ok(())
}
