//! `causeway link` and `causeway clusters` as an operator types them, against real controllers. Needs no privileges.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;

const CAUSEWAY: &str = env!("CARGO_BIN_EXE_causeway");
/// How long anything may take. Long, for a busy machine: nothing waits for it to pass.
const LONG: Duration = Duration::from_secs(60);

/// A cluster's controller, and its folder.
struct Cluster {
    controller: Child,
    socket: PathBuf,
}

impl Cluster {
    fn start(folder: &Path, name: &str, id: u8, pods: &str) -> Self {
        let home = folder.join(format!("{name}-{id}"));
        std::fs::create_dir_all(home.join("store")).unwrap();
        let (listen, http) = (ports::free(), ports::free());
        let config = format!(
            "cluster: {{name: {name}, id: {id}, podCIDRs: [{pods}], serviceCIDRs: [10.96.0.0/16]}}\n\
             source: {{standalone: {{path: {0}/store}}}}\n\
             listen: '{listen}'\nadvertise: ['{listen}']\nhttpListen: '{http}'\n\
             stateDir: {0}/state\nrunDir: {0}/run\n",
            home.display()
        );
        std::fs::write(home.join("controller.yaml"), config).unwrap();
        let log = std::fs::File::create(home.join("log")).unwrap();
        let mut command = Command::new(CAUSEWAY);
        command.args(["controller", "--config"]).arg(home.join("controller.yaml")).stderr(log);
        let cluster = Self { controller: command.spawn().unwrap(), socket: home.join("run/controller.sock") };
        until("the controller's answer", || cluster.run(&["status"]).status.success());
        cluster
    }

    /// `causeway ARGS --socket ...`.
    fn run(&self, args: &[&str]) -> Output {
        Command::new(CAUSEWAY).args(args).arg("--socket").arg(&self.socket).output().unwrap()
    }

    /// The same, with something on standard input.
    fn run_with(&self, args: &[&str], input: &str) -> Output {
        let mut command = Command::new(CAUSEWAY);
        command.args(args).arg("--socket").arg(&self.socket);
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = piped.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    }

    fn good(&self, args: &[&str]) -> String {
        let done = self.run(args);
        assert!(done.status.success(), "{args:?}: {}", said(&done));
        String::from_utf8(done.stdout).unwrap()
    }

    fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.good(args)).unwrap()
    }

    fn token(&self, args: &[&str]) -> String {
        self.good(&[&["link", "token"], args].concat()).trim().to_string()
    }

    fn state_of(&self, name: &str) -> Value {
        let clusters = self.json(&["clusters", "-o", "json"]);
        let mut rows = clusters["clusters"].as_array().unwrap().iter();
        rows.find(|row| row["name"] == name).cloned().unwrap_or_default()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = self.controller.kill();
        let _ = self.controller.wait();
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).trim().to_string()
}

fn until(what: &str, so: impl Fn() -> bool) {
    let start = Instant::now();
    while !so() {
        assert!(start.elapsed() < LONG, "{what} did not happen");
        #[expect(clippy::disallowed_methods, reason = "another process' state has no event to await")]
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_link_from_its_token_to_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let aws = Cluster::start(folder.path(), "aws", 1, "10.1.0.0/16");
    let mut gcp = Cluster::start(folder.path(), "gcp", 2, "10.2.0.0/16");
    let azure = Cluster::start(folder.path(), "azure", 3, "10.3.0.0/16");

    // By a file, by standard input, and by what should not be done.
    let file = folder.path().join("token");
    std::fs::write(&file, aws.token(&["--expires", "1h", "--uses", "2"])).unwrap();
    let token = std::fs::read_to_string(&file).unwrap();
    assert_eq!(
        gcp.good(&["link", "join", file.to_str().unwrap()]),
        "linked with aws; see: causeway clusters\n"
    );
    let joined = azure.run_with(&["link", "join", "-"], &token);
    assert!(joined.status.success(), "{}", said(&joined));
    let joined = azure.run(&["link", "join", &gcp.token(&[])]);
    assert!(joined.status.success() && said(&joined).contains("was seen by everybody"), "{}", said(&joined));

    until("the streams", || {
        ["gcp", "azure"].iter().all(|name| aws.state_of(name)["state"] == "connected")
            && azure.state_of("gcp")["state"] == "connected"
    });
    let all = aws.json(&["clusters", "-o", "json"]);
    assert_eq!(all["from"], "aws");
    let names: Vec<_> = all["clusters"].as_array().unwrap().iter().map(|row| &row["name"]).collect();
    assert_eq!(names, ["aws", "azure", "gcp"]);
    for row in all["clusters"].as_array().unwrap() {
        for field in ["name", "id", "link", "state", "lagMs", "services", "endpoints", "nodes", "lastError"] {
            assert!(row.get(field).is_some(), "{field} is missing in {row}");
        }
    }
    assert_eq!(
        (&all["clusters"][0]["link"], &all["clusters"][2]["link"]),
        (&"self".into(), &"incoming".into())
    );
    assert_eq!(gcp.state_of("aws")["link"], "outgoing");
    assert!(aws.good(&["clusters"]).contains("azure"));
    assert_eq!(gcp.json(&["link", "list", "-o", "json"])[0]["cluster"], "aws");

    // The doctor finds nothing, then who has died.
    let report = gcp.json(&["link", "doctor", "aws", "-o", "json"]);
    let checks = report["links"][0]["checks"].as_array().unwrap();
    let names: Vec<_> = checks.iter().map(|check| check["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["DNS", "TCP", "TLS identity", "clock", "ranges", "version", "data path", "MTU"]);
    gcp.controller.kill().unwrap();
    gcp.controller.wait().unwrap();
    until("the end of the stream", || azure.state_of("gcp")["state"] != "connected");
    let doctor = azure.run(&["link", "doctor", "gcp"]);
    assert_eq!(doctor.status.code(), Some(1));
    let text = String::from_utf8_lossy(&doctor.stdout).into_owned();
    assert!(text.contains("TCP          FAILED") && text.contains("the controller of gcp runs"), "{text}");
    until("why", || azure.state_of("gcp")["lastError"].is_string());

    // The next root, seen in the status; then the end.
    let rotated = aws.json(&["link", "rotate", "-o", "json"]);
    assert_eq!(rotated["old"].as_array().unwrap().len(), 1);
    assert!(aws.good(&["status"]).contains("counts until"));
    assert_eq!(aws.json(&["link", "rotate", "--finish", "-o", "json"])["old"], Value::Array(vec![]));
    assert_eq!(
        aws.good(&["link", "remove", "azure"]),
        "the link with azure is removed, and what it had brought is withdrawn\n"
    );
    assert_eq!(aws.state_of("azure"), Value::Null);
    until("azure's notice", || azure.state_of("aws")["state"] != "connected");
}

#[test]
fn what_is_wrong_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let aws = Cluster::start(folder.path(), "aws", 1, "10.1.0.0/16");
    let other = Cluster::start(folder.path(), "gcp", 2, "10.2.0.0/16");
    let same_name = Cluster::start(folder.path(), "aws", 9, "10.9.0.0/16");
    let same_id = Cluster::start(folder.path(), "gcp", 1, "10.2.0.0/16");
    let overlapping = Cluster::start(folder.path(), "azure", 3, "10.1.128.0/17");
    let good = aws.token(&["--uses", "9"]);
    let short_lived = aws.token(&["--expires", "1s"]);
    let made = SystemTime::now();
    let mut altered = good.clone().into_bytes();
    altered[40] = if altered[40] == b'A' { b'B' } else { b'A' };

    for (cluster, token, expected) in [
        (&other, "", "- holds no token: make one with `causeway link token` on the other side"),
        (
            &other,
            "hello",
            "this is no token: one begins with \"causeway-node-v1.\" or \"causeway-link-v1.\"; copy the whole line",
        ),
        (
            &other,
            &good[..good.len() - 5],
            "the token is cut short or altered: copy the whole line again, without line breaks",
        ),
        (
            &other,
            std::str::from_utf8(&altered).unwrap(),
            "the token is cut short or altered: copy the whole line again, without line breaks",
        ),
        (&aws, &good, "the token was made by this cluster itself: run `causeway link join` at the other one"),
        (
            &same_name,
            &good,
            "the token is of another cluster that is called aws, too: names must be unique in the clusterset, and never change",
        ),
        (
            &same_id,
            &good,
            "it calls itself gcp with id 1, but aws with id 1 is known already; names and ids must be unique in the clusterset",
        ),
        (
            &overlapping,
            &good,
            "its pod ranges 10.1.128.0/17 overlap those of aws: 10.1.0.0/16; pod ranges must be unique in the clusterset",
        ),
    ] {
        let refused = cluster.run_with(&["link", "join", "-"], token);
        assert_eq!(refused.status.code(), Some(1), "{expected}");
        assert!(said(&refused).ends_with(expected), "{}\nought to end with\n{expected}", said(&refused));
    }
    // Its one use is spent by the first, and the second is told so.
    let once = aws.token(&[]);
    assert!(other.run_with(&["link", "join", "-"], &once).status.success());
    let third = Cluster::start(folder.path(), "third", 4, "10.4.0.0/16");
    let refused = third.run_with(&["link", "join", "-"], &once);
    assert!(
        said(&refused).ends_with("the token is not known here, or is used up: make a new one"),
        "{}",
        said(&refused)
    );
    until("the end of the short token", || made.elapsed().unwrap() > Duration::from_secs(2));
    let refused = third.run_with(&["link", "join", "-"], &short_lived);
    assert!(said(&refused).ends_with("the token has expired: make a new one"), "{}", said(&refused));

    for (args, code, expected) in [
        (&["link", "remove", "nowhere"][..], 1, "nowhere is not linked, and no other cluster is"),
        (&["link", "doctor", "nowhere"], 1, "nowhere is not linked, and no other cluster is"),
        (&["link", "join", "/nowhere/token"], 1, "opening the token file /nowhere/token"),
        (&["link", "token", "--expires", "soon"], 2, "write something like 90s, 15m, 2h or 7d"),
        (&["link", "token", "--uses", "0"], 2, "0"),
        (&["link", "remove", "Not_A_Name"], 1, "Not_A_Name"),
    ] {
        let refused = third.run(args);
        assert_eq!(refused.status.code(), Some(code), "{args:?}: {}", said(&refused));
        assert!(said(&refused).contains(expected), "{args:?}: {}", said(&refused));
    }
    let nobody = Command::new(CAUSEWAY).args(["clusters", "--socket", "/nowhere.sock"]).output().unwrap();
    assert!(said(&nobody).contains("kubectl -n kube-system exec"), "{}", said(&nobody));
}
