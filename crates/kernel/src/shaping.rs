//! How fast a device may send: a token bucket as its queueing discipline (`tc-tbf(8)`), by rtnetlink.
//!
//! What a pod receives is limited where the node sends to it; what a pod sends, at the pod's own end.

use rtnetlink::packet_core::{DefaultNla, Nla as _, NlasIterator};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::tc::{TcAttribute, TcHandle, TcMessage, TcOption};
use serde::{Deserialize, Serialize};

use crate::netlink::{Netlink, NetlinkError, Step, failed, if_there};

const KIND: &str = "tbf";

/// How long a packet may wait in the queue, beside what a whole burst takes.
const PATIENCE_MS: u64 = 50;

/// The least burst: fewer bytes would cut the kernel's large segments into pieces again.
const BURST_MIN: u64 = 64 << 10;

/// A limit of what is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Limit {
    /// Bits a second.
    pub rate: u64,
    /// Bits that may be sent at once after a silence; 0: what the rate yields in 40 ms.
    #[serde(default)]
    pub burst: u64,
}

/// The numbers that the kernel wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Bucket {
    /// Bytes a second.
    rate: u64,
    /// Bytes.
    burst: u32,
    /// Bytes that wait at most; more are dropped.
    queue: u32,
}

impl Limit {
    fn bucket(self) -> Bucket {
        let rate = (self.rate / 8).max(1);
        let burst = match self.burst {
            0 => rate / 25,
            bits => bits / 8,
        };
        let burst = burst.clamp(BURST_MIN, u64::from(u32::MAX / 2));
        let waiting = (rate.saturating_mul(PATIENCE_MS) / 1000).saturating_add(burst);
        let fit = |bytes: u64| u32::try_from(bytes).unwrap_or(u32::MAX);
        Bucket { rate, burst: fit(burst), queue: fit(waiting) }
    }
}

/// Limits what a device sends, or lets it send as it likes again.
///
/// # Errors
/// The kernel refused: no such device, no `sch_tbf`.
pub async fn limit(netlink: &Netlink, device: u32, limit: Option<Limit>) -> Result<(), NetlinkError> {
    let Some(limit) = limit else {
        if current(netlink, device).await?.is_none() {
            return Ok(());
        }
        let mut message = at_root(device);
        message.attributes.push(TcAttribute::Kind(KIND.into()));
        let deleted = netlink.change(RouteNetlinkMessage::DelQueueDiscipline(message)).await;
        return if_there(deleted.map_err(failed("lift the limit of", format!("device number {device}"))));
    };
    netlink.carry_out(set_limit(device, limit)).await
}

/// [`limit`], where there is one.
pub(crate) fn set_limit(device: u32, limit: Limit) -> Step {
    let mut message = at_root(device);
    message.attributes.push(TcAttribute::Kind(KIND.into()));
    message.attributes.push(TcAttribute::Options(options(limit.bucket())));
    let target = format!("device number {device}");
    Step::replace(RouteNetlinkMessage::NewQueueDiscipline(message), "limit what is sent by", target)
}

/// Whether a device has this limit, or none if none is asked for.
///
/// # Errors
/// The kernel refused: no such device.
pub async fn is_limited(netlink: &Netlink, device: u32, limit: Option<Limit>) -> Result<bool, NetlinkError> {
    let expected = limit.map(|limit| parameters(limit.bucket()));
    let found = current(netlink, device).await?;
    // The kernel keeps the burst as a time, and rounds it; the queue's length holds it, too.
    Ok(expected.as_deref().map(known) == found.as_deref().map(known))
}

/// Whether a limit can be set: tries it on the loopback device of the calling thread's namespace, which should be one
/// of its own.
pub(crate) async fn can_limit(netlink: &Netlink) -> bool {
    const LOOPBACK: u32 = 1;
    limit(netlink, LOOPBACK, Some(Limit { rate: 1_000_000, burst: 0 })).await.is_ok()
}

fn at_root(device: u32) -> TcMessage {
    let index = i32::try_from(device).expect("the kernel counts devices in an int");
    let mut message = TcMessage::with_index(index);
    message.header.parent = TcHandle::ROOT;
    message
}

/// The parameters of a device's token bucket; none if it has none.
async fn current(netlink: &Netlink, device: u32) -> Result<Option<Vec<u8>>, NetlinkError> {
    let target = || format!("device number {device}");
    let answers = match netlink.get_echoed(RouteNetlinkMessage::GetQueueDiscipline(at_root(device))).await {
        // Some kernels say so of a device that was never up: its queue is one that they do not show.
        Err(e) if e.raw_os_error() == Some(libc::EINVAL) => return Ok(None),
        answers => answers.map_err(failed("look at the queue of", target()))?,
    };
    Ok(answers.into_iter().find_map(|answer| {
        let RouteNetlinkMessage::NewQueueDiscipline(message) = answer else { return None };
        let ours = message.attributes.contains(&TcAttribute::Kind(KIND.into()));
        let options = message.attributes.into_iter().find_map(|attribute| match attribute {
            TcAttribute::Options(options) => Some(options),
            _ => None,
        });
        options.filter(|_| ours)?.into_iter().find_map(|option| match option {
            TcOption::Other(nla) => find(&nla, PARAMETERS),
            _ => None,
        })
    }))
}

/// An attribute among those of a discipline that the library does not know: it gives all of them as one.
fn find(options: &DefaultNla, kind: u16) -> Option<Vec<u8>> {
    let mut bytes = vec![0; options.value_len()];
    options.emit_value(&mut bytes);
    let mut attributes = NlasIterator::new(&bytes).filter_map(Result::ok);
    attributes.find(|attribute| attribute.kind() == kind).map(|attribute| attribute.value().to_vec())
}

/// linux/pkt_sched.h: TCA_TBF_*.
const PARAMETERS: u16 = 1;
const RATE64: u16 = 4;
const BURST: u16 = 6;

fn options(bucket: Bucket) -> Vec<TcOption> {
    let option = |kind, value: &[u8]| TcOption::Other(DefaultNla::new(kind, value.to_vec()));
    let mut options =
        vec![option(PARAMETERS, &parameters(bucket)), option(BURST, &bucket.burst.to_ne_bytes())];
    if bucket.rate > u64::from(u32::MAX) {
        options.push(option(RATE64, &bucket.rate.to_ne_bytes()));
    }
    options
}

/// `struct tc_tbf_qopt`: rate, peak rate (`struct tc_ratespec`, 12 bytes each), limit, buffer, mtu.
fn parameters(bucket: Bucket) -> Vec<u8> {
    // Ethernet: the kernel computes times by itself and wants no table of them.
    const ETHERNET: u8 = 1;
    let mut bytes = vec![0, ETHERNET, 0, 0, 0, 0, 0, 0];
    bytes.extend(u32::try_from(bucket.rate).unwrap_or(u32::MAX).to_ne_bytes());
    bytes.extend([0; 12]);
    bytes.extend(bucket.queue.to_ne_bytes());
    bytes.extend([0; 8]);
    bytes
}

/// What the kernel gives back as it got it: rate and queue.
fn known(parameters: &[u8]) -> Option<(&[u8], &[u8])> {
    Some((parameters.get(8..12)?, parameters.get(24..28)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets() {
        let kb = |n: u64| n << 10;
        for (rate, burst, expected) in [
            // A slow pod sends the least burst at once.
            (1_000_000, 0, (125_000, kb(64), 6_250 + kb(64))),
            (80_000_000, 0, (10_000_000, 400_000, 900_000)),
            (80_000_000, 8 << 20, (10_000_000, 1 << 20, 500_000 + (1 << 20))),
            (8, 1, (1, kb(64), kb(64))),
            (0, 0, (1, kb(64), kb(64))),
            (u64::MAX, u64::MAX, (u64::MAX / 8, u64::from(u32::MAX / 2), u64::from(u32::MAX))),
        ] {
            let Bucket { rate: bytes, burst: found, queue } = Limit { rate, burst }.bucket();
            assert_eq!((bytes, u64::from(found), u64::from(queue)), expected, "{rate} {burst}");
        }
    }

    #[test]
    fn rates_beyond_32_bits() {
        let count = |rate| options(Limit { rate, burst: 0 }.bucket()).len();
        assert_eq!((count(8 * u64::from(u32::MAX)), count(8 * (u64::from(u32::MAX) + 1))), (2, 3));
    }
}
