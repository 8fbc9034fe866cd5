//! What lies between two sites.

use crate::Random;

/// Microseconds since the run began.
pub(crate) type Time = u64;

/// One second.
pub(crate) const SECOND: Time = 1_000_000;

/// A way from one site to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Path {
    /// How long a byte takes, in microseconds.
    pub delay: u64,
    /// How much longer it may take.
    pub jitter: u64,
    /// Bytes a second.
    pub bandwidth: u64,
    /// Of a million frames, how many lose a packet: TCP sends it again after a round trip and its shortest timeout, and
    /// what follows waits for it.
    pub loss: u64,
}

/// The shortest time after which TCP sends again (Linux' `TCP_RTO_MIN`).
const RETRANSMIT: Time = 200_000;

/// One direction of a stream's connection: what is sent arrives in order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pipe {
    /// When what was given to it has left.
    free: Time,
    /// When the last of it arrives.
    arrived: Time,
}

impl Pipe {
    /// When this many bytes arrive if they are sent now.
    pub(crate) fn send(&mut self, path: &Path, bytes: usize, now: Time, random: &mut Random) -> Time {
        let on_wire = bytes as u64 * SECOND / path.bandwidth.max(1);
        self.free = self.free.max(now) + on_wire;
        let mut arrival = self.free + path.delay + random.below(path.jitter + 1);
        if path.loss > 0 && random.below(1_000_000) < path.loss {
            arrival += 2 * path.delay + RETRANSMIT;
        }
        self.arrived = self.arrived.max(arrival);
        self.arrived
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_order_and_no_faster_than_the_path() {
        let path = Path { delay: 10_000, jitter: 5_000, bandwidth: 1_000_000, loss: 100_000 };
        let (mut pipe, mut random, mut last) = (Pipe::default(), Random::new(1), 0);
        for n in 1..=1000 {
            let arrival = pipe.send(&path, 1000, 0, &mut random);
            assert!(arrival >= last && arrival >= n * 1000 + path.delay, "{n}: {arrival} after {last}");
            last = arrival;
        }
    }
}
