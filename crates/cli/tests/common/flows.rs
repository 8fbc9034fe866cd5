//! Numbered packets and connections between the pods of a lab, and what was lost of them.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use kernel::netns::Netns;
use serde_json::Value;

/// Nobody says this by accident.
pub(crate) const MARK: &[u8] = b"causeway-said-by-a-pod-0f3c9a";
const PORT: u16 = 7007;
/// How long a connection may be silent before it counts as broken, unless somebody has more patience.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two packets of a flow.
const PACE: Duration = Duration::from_millis(5);

pub(crate) fn addresses(pod: &Value) -> Vec<IpAddr> {
    let texts = pod["ips"].as_array().into_iter().flatten().filter_map(Value::as_str);
    texts.map(|text| text.parse().expect("an address")).collect()
}

pub(crate) fn netns(name: &str) -> Netns {
    Netns::open(name).unwrap_or_else(|e| panic!("{e}"))
}

/// Numbered packets between pods, all pairs, both ways, both families.
pub(crate) struct Flows {
    /// Whence and whither.
    pub(crate) names: Vec<String>,
    /// How many were sent of each, and which have come.
    sent: Arc<AtomicU64>,
    pub(crate) come: Arc<Mutex<Vec<BTreeSet<u64>>>>,
    stop: Arc<AtomicBool>,
}

impl Flows {
    pub(crate) fn begin(pods: &[Value]) -> Self {
        let mut sockets: BTreeMap<(String, bool), Arc<UdpSocket>> = BTreeMap::new();
        let mut all: Vec<(String, IpAddr)> = Vec::new();
        for pod in pods {
            let netns = netns(pod["netns"].as_str().expect("a namespace"));
            let name = pod["name"].as_str().expect("a name");
            for ip in addresses(pod) {
                let socket = netns.run(|| UdpSocket::bind((ip, PORT))).expect("netns").expect("bind");
                socket.set_read_timeout(Some(Duration::from_millis(100))).expect("a timeout");
                sockets.insert((name.into(), ip.is_ipv4()), Arc::new(socket));
                all.push((name.into(), ip));
            }
        }
        let mut flows = Vec::new();
        for (from, own) in &all {
            for (to, ip) in all.iter().filter(|(to, ip)| to != from && ip.is_ipv4() == own.is_ipv4()) {
                let socket = sockets[&(from.clone(), ip.is_ipv4())].clone();
                flows.push((format!("{from} to {to} at {ip}"), socket, SocketAddr::new(*ip, PORT)));
            }
        }
        let names: Vec<String> = flows.iter().map(|(name, ..)| name.clone()).collect();
        let come = Arc::new(Mutex::new(vec![BTreeSet::new(); flows.len()]));
        let (sent, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        for socket in sockets.into_values() {
            let (come, stop) = (come.clone(), stop.clone());
            thread::spawn(move || {
                let mut bytes = [0; 128];
                while !stop.load(Ordering::Relaxed) {
                    // Errors are answers of others' kernels to what was sent before.
                    let Ok(len) = socket.recv(&mut bytes) else { continue };
                    let Some(rest) = bytes[..len].strip_prefix(MARK) else { continue };
                    let (flow, number) = rest.split_at(8);
                    let word = |bytes: &[u8]| u64::from_be_bytes(bytes.try_into().expect("8 bytes"));
                    come.lock().expect("no panic")[word(flow) as usize].insert(word(number));
                }
            });
        }
        let (counter, stopped) = (sent.clone(), stop.clone());
        thread::spawn(move || {
            let begun = Instant::now();
            for number in 0_u64.. {
                for (flow, (_, socket, to)) in flows.iter().enumerate() {
                    let packet = [MARK, &(flow as u64).to_be_bytes(), &number.to_be_bytes()].concat();
                    let _ = socket.send_to(&packet, to);
                }
                counter.store(number + 1, Ordering::Relaxed);
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                let due = PACE * u32::try_from(number + 1).expect("few");
                #[expect(clippy::disallowed_methods, reason = "packets have a pace")]
                thread::sleep(due.saturating_sub(begun.elapsed()));
            }
        });
        Self { names, sent, come, stop }
    }

    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Waits for so many more.
    pub(crate) fn go_on(&self, time: Duration) {
        #[expect(clippy::disallowed_methods, reason = "packets are to flow for a while")]
        thread::sleep(time);
    }

    /// What was sent since then and has not come, two seconds after the last.
    pub(crate) fn lost(&self, since: u64) -> (u64, Vec<String>) {
        let to = self.sent();
        let missing = || {
            let come = self.come.lock().expect("no panic");
            let of = |come: &BTreeSet<u64>| (since..to).filter(|n| !come.contains(n)).collect::<Vec<_>>();
            let missing = self.names.iter().zip(come.iter().map(of));
            let said = |(name, lost): (&String, Vec<u64>)| {
                let at = PACE * u32::try_from(lost.first()? - since).expect("few");
                Some(format!("{name}: {} from {at:?} on", lost.len()))
            };
            missing.filter_map(said).collect::<Vec<_>>()
        };
        let until = Instant::now() + Duration::from_secs(2);
        while !missing().is_empty() && Instant::now() < until {
            self.go_on(Duration::from_millis(20));
        }
        (to - since, missing())
    }

    /// Waits until all flows flow.
    pub(crate) fn await_all(&self, what: &str) {
        let until = Instant::now() + Duration::from_secs(40);
        loop {
            let since = self.sent();
            self.go_on(Duration::from_millis(300));
            let come = self.come.lock().expect("no panic");
            let silent: Vec<&String> = self
                .names
                .iter()
                .zip(come.iter())
                .filter(|(_, come)| come.range(since..).count() == 0)
                .map(|(name, _)| name)
                .collect();
            if silent.is_empty() {
                return;
            }
            assert!(Instant::now() < until, "{what}: {silent:?}");
        }
    }
}

impl Drop for Flows {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// A TCP connection that says something and hears it again, for as long as it is not stopped.
pub(crate) struct Talk {
    pub(crate) name: String,
    stop: Arc<AtomicBool>,
    longest: Arc<Mutex<Duration>>,
    talk: thread::JoinHandle<()>,
}

impl Talk {
    pub(crate) fn begin(from: &Value, to: &Value, v4: bool) -> Self {
        Self::patient(from, to, v4, PATIENCE)
    }

    /// One that may be silent for so long.
    pub(crate) fn patient(from: &Value, to: &Value, v4: bool, patience: Duration) -> Self {
        let ip = addresses(to).into_iter().find(|ip| ip.is_ipv4() == v4).expect("of that family");
        let there = netns(to["netns"].as_str().expect("a namespace"));
        let listener = there.run(|| TcpListener::bind((ip, 0))).expect("netns").expect("listen");
        let at = listener.local_addr().expect("its address");
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("accept");
            let mut answers = stream.try_clone().expect("the same stream");
            let _ = std::io::copy(&mut stream, &mut answers);
        });
        let here = netns(from["netns"].as_str().expect("a namespace"));
        let mut stream = here.run(|| TcpStream::connect(at)).expect("netns").expect("connect");
        stream.set_read_timeout(Some(patience)).expect("a timeout");
        stream.set_nodelay(true).expect("no delay");
        let (stop, longest) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Duration::ZERO)));
        let (stopped, silence) = (stop.clone(), longest.clone());
        let talk = thread::spawn(move || {
            let mut answer = [0; MARK.len()];
            while !stopped.load(Ordering::Relaxed) {
                let asked = Instant::now();
                let heard = stream.write_all(MARK).and_then(|()| stream.read_exact(&mut answer));
                heard.expect("the stream goes on");
                let mut longest = silence.lock().expect("no panic");
                *longest = longest.max(asked.elapsed());
                drop(longest);
                #[expect(clippy::disallowed_methods, reason = "it has a pace")]
                thread::sleep(PACE);
            }
        });
        let name = format!("{} to {} at {ip}", from["name"], to["name"]);
        Self { name, stop, longest, talk }
    }

    /// The longest silence since this was last asked.
    pub(crate) fn silence(&self) -> Duration {
        std::mem::take(&mut *self.longest.lock().expect("no panic"))
    }

    /// Ends it; the longest silence since it was last asked for.
    pub(crate) fn end(self) -> Duration {
        self.stop.store(true, Ordering::Relaxed);
        let longest = self.longest.clone();
        self.talk.join().expect("the stream lived");
        std::mem::take(&mut *longest.lock().expect("no panic"))
    }
}
