//! Questions about everybody else's names: passed on to an upstream server as they are, and its answer back.
//!
//! Nothing is remembered here: a cache belongs in front (CoreDNS, NodeLocal DNSCache) or behind. Each question goes
//! out from a port and with a number of its own, so that an answer cannot be guessed (RFC 5452).

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::{Duration, Instant};
use std::{fs, io};

use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::answer::refuse;
use super::message::{HEADER, code, flag, number};
use super::tcp::{read_message, write_message};
use super::{Reason, Shared, Transport, nameservers};

/// How long one server may take before the next is asked.
const PATIENCE: Duration = Duration::from_millis(1500);

/// How often every server is asked before the client is told that none answers.
const ROUNDS: usize = 2;

/// Questions that may wait for upstream servers at a time.
const MOST: usize = 1024;

/// How often the file is looked at, at most.
const LOOK: Duration = Duration::from_secs(5);

/// Bytes of an answer over UDP, whatever the client has said that it takes.
const LARGEST: usize = 4096;

/// The upstream servers.
#[derive(Debug, Default)]
pub enum Upstreams {
    /// Nobody: names of other zones are refused.
    #[default]
    None,
    /// These, in this order.
    Fixed(Vec<SocketAddr>),
    /// Those that a `resolv.conf` names whenever they are needed.
    File(PathBuf),
}

/// Asks upstream servers.
#[derive(Debug)]
pub(super) struct Forwarder {
    upstreams: Upstreams,
    shared: Arc<Shared>,
    permits: Arc<Semaphore>,
    /// The file's servers, and when they were read.
    read: Mutex<Option<(Instant, Vec<SocketAddr>)>>,
    /// Which of them answered last.
    good: AtomicUsize,
    /// Where this server listens itself.
    own: RwLock<Vec<SocketAddr>>,
}

impl Forwarder {
    pub(super) fn new(upstreams: Upstreams, shared: Arc<Shared>) -> Self {
        Self {
            upstreams,
            shared,
            permits: Arc::new(Semaphore::new(MOST)),
            read: Mutex::default(),
            good: AtomicUsize::new(0),
            own: RwLock::default(),
        }
    }

    /// Whether there is anybody to ask.
    pub(super) fn asks(&self) -> bool {
        !matches!(self.upstreams, Upstreams::None)
    }

    /// Remembers whom never to ask: ourselves.
    pub(super) fn set_own(&self, own: Vec<SocketAddr>) {
        *self.own.write().expect("nobody panics while holding it") = own;
    }

    /// A place among the questions that wait; none when there are too many.
    pub(super) fn permit(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.permits).try_acquire_owned().ok()
    }

    /// Asks until somebody answers. What comes back is to be sent to the client, and is counted already.
    pub(super) async fn ask(&self, question: &[u8], transport: Transport) -> Vec<u8> {
        let servers = self.servers();
        let good = self.good.load(Ordering::Relaxed);
        for attempt in 0..ROUNDS * servers.len() {
            let place = (good + attempt) % servers.len();
            let answer = timeout(PATIENCE, ask_one(servers[place], question, transport)).await;
            if let Ok(Ok(answer)) = answer {
                self.good.store(place, Ordering::Relaxed);
                self.shared.counters().count(Reason::Forwarded);
                self.shared.bear_witness(&answer);
                return answer;
            }
        }
        self.shared.counters().count(Reason::UpstreamFailed);
        let mut out = Vec::new();
        refuse(question, code::SERVFAIL, Reason::UpstreamFailed, &mut out);
        out
    }

    fn servers(&self) -> Vec<SocketAddr> {
        let all = match &self.upstreams {
            Upstreams::None => Vec::new(),
            Upstreams::Fixed(servers) => servers.clone(),
            Upstreams::File(path) => {
                let mut read = self.read.lock().expect("nobody panics while holding it");
                match &*read {
                    Some((at, servers)) if at.elapsed() < LOOK => servers.clone(),
                    _ => {
                        let servers = nameservers(&fs::read_to_string(path).unwrap_or_default());
                        *read = Some((Instant::now(), servers.clone()));
                        servers
                    }
                }
            }
        };
        let own = self.own.read().expect("nobody panics while holding it");
        all.into_iter().filter(|server| !own.contains(server)).collect()
    }
}

/// Asks one server. An answer that says that it cannot (SERVFAIL, REFUSED) is an answer.
async fn ask_one(server: SocketAddr, question: &[u8], transport: Transport) -> io::Result<Vec<u8>> {
    let mut random = [0; 2];
    aws_lc_rs::rand::fill(&mut random).map_err(|_| io::Error::other("no random numbers"))?;
    let mut asked = question.to_vec();
    let own = question.get(..2).ok_or(io::ErrorKind::InvalidInput)?;
    asked[..2].copy_from_slice(&random);
    let mut answer = match transport {
        Transport::Udp => ask_udp(server, &asked).await?,
        Transport::Tcp => ask_tcp(server, &asked).await?,
    };
    answer[..2].copy_from_slice(own);
    Ok(answer)
}

async fn ask_udp(server: SocketAddr, asked: &[u8]) -> io::Result<Vec<u8>> {
    let any: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).await?;
    // Only this server's packets arrive then.
    socket.connect(server).await?;
    socket.send(asked).await?;
    let mut buffer = [0; LARGEST];
    loop {
        let length = socket.recv(&mut buffer).await?;
        if answers(&buffer[..length], asked) {
            return Ok(buffer[..length].to_vec());
        }
    }
}

async fn ask_tcp(server: SocketAddr, asked: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    write_message(&mut stream, asked).await?;
    let mut answer = Vec::new();
    while read_message(&mut stream, &mut answer).await? {
        if answers(&answer, asked) {
            return Ok(answer);
        }
    }
    Err(io::ErrorKind::UnexpectedEof.into())
}

/// Whether a packet is the answer to what was asked: the number, and the question if it repeats one.
fn answers(packet: &[u8], asked: &[u8]) -> bool {
    let response = number(packet, 2).is_some_and(|flags| flags & flag::RESPONSE != 0);
    if !response || packet.len() < HEADER || packet[..2] != asked[..2] {
        return false;
    }
    // A server that could not read the question may leave it out.
    if packet[4..6] == [0, 0] {
        return true;
    }
    let mut end = HEADER;
    while asked.get(end).is_some_and(|length| *length > 0) {
        end += 1 + usize::from(asked[end]);
    }
    let question = |message: &[u8]| message.get(HEADER..end + 5).map(<[u8]>::to_ascii_lowercase);
    question(packet).is_some_and(|told| Some(told) == question(asked))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_answer_is_an_answer() {
        let asked = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x02bc\x00\x00\x01\x00\x01";
        let with = |place: usize, byte: u8| {
            let mut packet = asked.to_vec();
            packet[2] = 0x81;
            packet[place] = byte;
            packet
        };
        for (packet, want) in [
            (with(2, 0x81), true),
            (with(13, b'A'), true),
            (with(13, b'b'), false),
            (with(2, 0x01), false),
            (with(1, 0x35), false),
            (with(19, 28), false),
            (with(5, 0), true),
            (asked[..11].to_vec(), false),
            (with(2, 0x81)[..20].to_vec(), false),
        ] {
            assert_eq!(answers(&packet, asked), want, "{packet:?}");
        }
    }
}
