//! Load in a lab, and pods that come and go under it.

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{CAUSEWAY, good, items, status, until};

/// When a client gives up.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(3);

/// Sends a load from a pod.
pub(crate) fn load(pod: &str, url: &str, rate: usize, duration: Duration) -> Child {
    let seconds = |time: Duration| format!("{}s", time.as_secs());
    let (timeout, duration) = (seconds(TIMEOUT), seconds(duration));
    let rate = rate.to_string();
    let words = ["causeway", "lab", "load", "--url", url, "--rate", &rate, "--duration", &duration];
    let options = ["--timeout", &timeout, "-o", "json"];
    Command::new(CAUSEWAY)
        .args(["lab", "exec", pod, "--"])
        .args(words)
        .args(options)
        .stdout(Stdio::piped())
        .spawn()
        .expect("run causeway")
}

/// What became of each request.
pub(crate) fn samples(load: Child) -> Vec<Value> {
    let output = load.wait_with_output().expect("wait for the load");
    let lines = String::from_utf8(output.stdout).expect("JSON is text");
    lines.lines().map(|line| serde_json::from_str(line).expect("a sample")).collect()
}

/// Pods that are told to leave answer for a second more. A machine that stands still for a good part of it leaves nobody the
/// time to hear that they go.
pub(crate) const STILL: Duration = Duration::from_millis(500);

/// Notices when the machine stands still.
pub(crate) struct Heart {
    stop: Arc<AtomicBool>,
    beats: JoinHandle<Duration>,
}

impl Heart {
    pub(crate) fn new() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let beats = std::thread::spawn(move || {
            let (mut last, mut longest) = (Instant::now(), Duration::ZERO);
            while !stopped.load(Ordering::Relaxed) {
                #[expect(
                    clippy::disallowed_methods,
                    reason = "how long it really sleeps is what is measured"
                )]
                std::thread::sleep(Duration::from_millis(10));
                longest = longest.max(last.elapsed());
                last = Instant::now();
            }
            longest
        });
        Self { stop, beats }
    }

    pub(crate) fn longest_gap(self) -> Duration {
        self.stop.store(true, Ordering::Relaxed);
        self.beats.join().expect("it only sleeps")
    }
}

/// Deletes a pod; returns when another one of its name is ready and every cloud has heard.
pub(crate) fn restart(cluster: &str, pod: &str) {
    let named = |status: &Value| -> Value {
        let mut pods = items(status, "pods").iter();
        pods.find(|p| p["cluster"] == cluster && p["name"] == pod).cloned().unwrap_or_default()
    };
    let before = named(&status());
    good(&["delete", "pod", &format!("demo/{pod}"), "--cluster", cluster]);
    until(pod, |status| {
        let now = named(status);
        now["ready"] == true && now["ips"] != before["ips"]
    });
}
