//! Questions in datagrams: one thread an address, which reads and answers as many at a time as there are.

use std::io::{IoSlice, IoSliceMut};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg, sendmmsg};
use tokio::runtime;
use tracing::warn;

use super::answer::refuse;
use super::forward::Forwarder;
use super::message::{Action, PAYLOAD, code};
use super::{Reason, Shared, Transport, answer};

/// As many questions as are read at once.
const BATCH: usize = 32;

/// Bytes of a question. Longer ones are cut, and refused for it.
const QUESTION: usize = 1536;

/// One address.
pub(super) struct Worker {
    pub(super) socket: Arc<UdpSocket>,
    pub(super) shared: Arc<Shared>,
    pub(super) forwarder: Arc<Forwarder>,
    pub(super) runtime: runtime::Handle,
    pub(super) stop: Arc<AtomicBool>,
}

impl Worker {
    /// Answers until it is stopped.
    pub(super) fn run(self) {
        // Two of them: to write with headers makes them point to where was written to.
        let mut headers = MultiHeaders::<SockaddrStorage>::preallocate(BATCH, None);
        let mut out_headers = MultiHeaders::<SockaddrStorage>::preallocate(BATCH, None);
        let mut questions = vec![[0u8; QUESTION]; BATCH];
        let mut answers: Vec<Vec<u8>> = (0..BATCH).map(|_| Vec::with_capacity(PAYLOAD)).collect();
        let mut from: Vec<(usize, SockaddrStorage)> = Vec::with_capacity(BATCH);
        let mut to: Vec<Option<SockaddrStorage>> = Vec::with_capacity(BATCH);
        // A turn for whoever is as good as another; each thread takes its own.
        let mut turn = 0;
        // Headers are written anew for every read: as many as came last time, and as many again.
        let mut expected = 1;
        loop {
            from.clear();
            match self.read(&mut headers, &mut questions[..expected], &mut from) {
                Ok(()) | Err(Errno::EINTR) => {}
                Err(error) => {
                    warn!(%error, "reading questions; trying again");
                    #[expect(
                        clippy::disallowed_methods,
                        reason = "a thread of its own, and no condition: only not at once again"
                    )]
                    std::thread::sleep(std::time::Duration::from_millis(100));
                }
            }
            if self.stop.load(Ordering::Acquire) {
                return;
            }
            expected = (from.len() * 2).clamp(1, BATCH);
            to.clear();
            {
                let known = self.shared.read();
                for ((length, peer), question) in from.iter().zip(&questions) {
                    let out = &mut answers[to.len()];
                    turn = usize::wrapping_add(turn, 1);
                    if self.one(&known, &question[..*length], peer, turn, out) {
                        to.push(Some(*peer));
                    }
                }
            }
            self.write(&mut out_headers, &answers, &to);
        }
    }

    fn read(
        &self,
        headers: &mut MultiHeaders<SockaddrStorage>,
        questions: &mut [[u8; QUESTION]],
        from: &mut Vec<(usize, SockaddrStorage)>,
    ) -> Result<(), Errno> {
        let mut slices: Vec<[IoSliceMut<'_>; 1]> =
            questions.iter_mut().map(|question| [IoSliceMut::new(question)]).collect();
        let read =
            recvmmsg(self.socket.as_raw_fd(), headers, slices.iter_mut(), MsgFlags::MSG_WAITFORONE, None)?;
        for message in read {
            // A datagram on a bound socket always has a sender.
            if let Some(peer) = message.address {
                from.push((message.bytes, peer));
            }
        }
        Ok(())
    }

    /// Deals with one question. Whether there is something to send in `out`.
    fn one(
        &self,
        known: &super::server::Known,
        question: &[u8],
        peer: &SockaddrStorage,
        turn: usize,
        out: &mut Vec<u8>,
    ) -> bool {
        let Some(asker) = address(peer) else { return false };
        let action = if known.serves(asker.ip()) {
            answer(&known.zone, question, Transport::Udp, turn, self.forwarder.asks(), out)
        } else {
            refuse(question, code::REFUSED, Reason::Stranger, out)
        };
        match action {
            Action::Reply(reason) => self.shared.counters().count(reason),
            Action::Drop(reason) => {
                self.shared.counters().count(reason);
                return false;
            }
            Action::Forward => return self.forward(question, asker, out),
        }
        true
    }

    fn forward(&self, question: &[u8], asker: SocketAddr, out: &mut Vec<u8>) -> bool {
        let Some(permit) = self.forwarder.permit() else {
            self.shared.counters().count(Reason::Busy);
            return matches!(refuse(question, code::SERVFAIL, Reason::Busy, out), Action::Reply(_));
        };
        let (forwarder, socket, question) =
            (Arc::clone(&self.forwarder), Arc::clone(&self.socket), question.to_vec());
        self.runtime.spawn(async move {
            let answer = forwarder.ask(&question, Transport::Udp).await;
            drop(permit);
            // Nobody waits for a datagram that cannot be sent.
            let _ = socket.send_to(&answer, asker);
        });
        false
    }

    fn write(
        &self,
        headers: &mut MultiHeaders<SockaddrStorage>,
        answers: &[Vec<u8>],
        to: &[Option<SockaddrStorage>],
    ) {
        let slices: Vec<[IoSlice<'_>; 1]> =
            answers[..to.len()].iter().map(|answer| [IoSlice::new(answer)]).collect();
        let none: [ControlMessage<'_>; 0] = [];
        let mut sent = 0;
        while sent < to.len() {
            let rest = sendmmsg(
                self.socket.as_raw_fd(),
                headers,
                &slices[sent..],
                &to[sent..],
                none,
                MsgFlags::empty(),
            );
            sent += match rest {
                Ok(written) => written.count().max(1),
                Err(Errno::EINTR) => 0,
                // The first of them cannot be sent (its sender is gone, say); the others may.
                Err(_) => 1,
            };
        }
    }
}

fn address(peer: &SockaddrStorage) -> Option<SocketAddr> {
    if let Some(v4) = peer.as_sockaddr_in() {
        return Some(SocketAddr::new(IpAddr::V4(v4.ip()), v4.port()));
    }
    let v6 = peer.as_sockaddr_in6()?;
    Some(SocketAddr::V6(std::net::SocketAddrV6::new(v6.ip(), v6.port(), v6.flowinfo(), v6.scope_id())))
}
