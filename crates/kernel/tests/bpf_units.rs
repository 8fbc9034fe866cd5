//! Runs the cases of `bpf/tests/*.bpf.c` in the kernel (BPF_PROG_TEST_RUN). What a case is: `bpf/tests/test.h`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use aya::programs::{Program, SchedClassifier, TestRunOptions};
use aya::{Ebpf, TestRun};

/// As in `bpf/tests/test.h`.
const RUNS: u32 = 4096;
/// Room for every packet a case may write; an Ethernet header is the least the kernel takes.
const ROOM: usize = 256;
const ETHERNET: usize = 14;

fn objects() -> Vec<PathBuf> {
    let folder = Path::new(env!("OUT_DIR")).join("tests");
    let mut paths: Vec<_> = fs::read_dir(folder)
        .expect("the build script compiled the tests")
        .map(|e| e.unwrap().path())
        .collect();
    paths.sort();
    paths
}

fn load(object: &Path) -> Ebpf {
    Ebpf::load_file(object)
        .unwrap_or_else(|e| panic!("cannot load {}: {e}; this test needs root", object.display()))
}

/// A program of the object, loaded; none if there is none of that name.
fn program<'a>(ebpf: &'a mut Ebpf, name: &str) -> Option<&'a SchedClassifier> {
    let program: &mut SchedClassifier = match ebpf.program_mut(name)? {
        Program::SchedClassifier(program) => program,
        other => panic!("{name} is a {other:?}, not a tc program"),
    };
    program.load().unwrap_or_else(|e| panic!("cannot load {name}: {e}; this test needs root"));
    Some(program)
}

/// Runs a program on a packet; its verdict, and the packet as it left it.
fn run(program: &SchedClassifier, packet: &[u8], mark: u32, repeat: u32) -> (u32, Vec<u8>) {
    let mut out = vec![0; ROOM];
    // `struct __sk_buff` begins with len, pkt_type, mark.
    let mut context = [0; 192];
    context[8..12].copy_from_slice(&mark.to_ne_bytes());
    let options = TestRunOptions {
        data_in: Some(packet),
        data_out: Some(&mut out),
        ctx_in: Some(&context),
        repeat,
        ..TestRunOptions::new()
    };
    let result = program.test_run(options).expect("the kernel runs tc programs on test packets");
    out.truncate(result.data_size_out as usize);
    (result.return_value, out)
}

/// Runs one case; what went wrong, if anything.
fn case(object: &Path, under_test: &str, name: &str) -> Result<(), String> {
    let mut ebpf = load(object);
    if let Some(setup) = program(&mut ebpf, &format!("setup_{name}")) {
        let (line, _) = run(setup, &[0; ETHERNET], 0, 1);
        if line != 0 {
            return Err(format!("the setup failed at line {line}"));
        }
    }
    let mut packet = vec![0; ETHERNET];
    if let Some(writer) = program(&mut ebpf, &format!("packet_{name}")) {
        let (length, written) = run(writer, &[0; ROOM], 0, 1);
        packet = written[..length as usize].to_vec();
    }
    let mut verdict = 0;
    if let Some(step) = program(&mut ebpf, &format!("run_{name}")) {
        (verdict, packet) = run(step, &packet, 0, RUNS);
        if verdict != 0 {
            return Err(format!("the run failed at line {verdict}"));
        }
    } else if let Some(tested) = program(&mut ebpf, under_test) {
        (verdict, packet) = run(tested, &packet, 0, 1);
    }
    let check = program(&mut ebpf, &format!("check_{name}")).ok_or("it checks nothing")?;
    match run(check, &packet, verdict, 1).0 {
        0 => Ok(()),
        line => Err(format!("line {line} does not hold; the verdict was {}", verdict as i32)),
    }
}

fn cases(object: &Path) -> BTreeSet<String> {
    let ebpf = load(object);
    let names = ebpf.programs().filter_map(|(name, _)| {
        ["setup_", "packet_", "run_", "check_"]
            .iter()
            .find_map(|part| name.strip_prefix(part))
            .map(str::to_owned)
    });
    names.collect()
}

fn check(file: &str, least: usize) {
    let object = objects().into_iter().find(|o| o.file_name().is_some_and(|n| n == file)).expect(file);
    let under_test = file.trim_end_matches(".bpf.o");
    let cases = cases(&object);
    assert!(cases.len() >= least, "{file} has only {} cases: {cases:?}", cases.len());
    let failed: Vec<_> = cases
        .iter()
        .filter_map(|name| {
            case(&object, under_test, name)
                .err()
                .map(|e| format!("bpf/tests/{under_test}.bpf.c: {name}: {e}"))
        })
        .collect();
    assert!(failed.is_empty(), "{} of {} cases failed:\n{}", failed.len(), cases.len(), failed.join("\n"));
}

#[test]
fn ladder() {
    check("lb.bpf.o", 22);
}

#[test]
fn flow() {
    check("flow.bpf.o", 12);
}

#[test]
fn guard() {
    check("guard.bpf.o", 18);
}

#[test]
fn mss() {
    check("mss.bpf.o", 37);
}

#[test]
fn near() {
    check("near.bpf.o", 9);
}

#[test]
fn pod() {
    check("pod.bpf.o", 17);
}

#[test]
fn policy() {
    check("policy.bpf.o", 30);
}

#[test]
fn segment() {
    check("segment.bpf.o", 5);
}

#[test]
fn tuple() {
    check("tuple.bpf.o", 20);
}

#[test]
fn every_file_is_run() {
    assert_eq!(objects().len(), 9, "a new file in bpf/tests needs a test here");
}
