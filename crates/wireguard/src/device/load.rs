//! Is the device busy with handshakes, and who may still come in when it is?

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

/// More handshake messages than this in a second, and strangers must prove their address. One costs about a fifth of
/// a millisecond.
const BUSY_ABOVE: u32 = 256;
/// So many handshakes per second from one address, while busy.
const PER_ADDRESS: u32 = 20;
/// So many addresses are told apart, while busy; more must wait for the next second.
const ADDRESSES: usize = 4096;
/// Having been busy, the device stays careful for so many seconds.
const CALM_AFTER: u32 = 1;

/// Handshake messages of the current second.
#[derive(Debug, Default)]
pub(super) struct Load {
    second: u64,
    count: u32,
    /// Seconds left in which the device counts as busy whatever comes.
    careful: u32,
    by_address: BTreeMap<IpAddr, u32>,
}

impl Load {
    /// Counts one more message; is the device busy?
    pub(super) fn is_busy(&mut self, now: Duration) -> bool {
        let second = now.as_secs();
        if second != self.second {
            let passed = u32::try_from(second.saturating_sub(self.second)).unwrap_or(u32::MAX);
            self.careful = if self.count > BUSY_ABOVE && passed == 1 {
                CALM_AFTER
            } else {
                self.careful.saturating_sub(passed)
            };
            (self.second, self.count) = (second, 0);
            self.by_address.clear();
        }
        self.count = self.count.saturating_add(1);
        self.count > BUSY_ABOVE || self.careful > 0
    }

    /// May this address, which proved itself, have one more handshake?
    pub(super) fn admit(&mut self, address: IpAddr) -> bool {
        // Whoever has an IPv6 address has the whole /64.
        let key = match address {
            IpAddr::V4(_) => address,
            IpAddr::V6(v6) => Ipv6Addr::from(u128::from(v6) & (u128::MAX << 64)).into(),
        };
        if !self.by_address.contains_key(&key) && self.by_address.len() >= ADDRESSES {
            return false;
        }
        let count = self.by_address.entry(key).or_default();
        *count += 1;
        *count <= PER_ADDRESS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busy_in_the_second_of_the_flood_and_the_one_after() {
        let mut load = Load::default();
        let at = Duration::from_secs;
        assert!((0..BUSY_ABOVE).all(|_| !load.is_busy(at(5))));
        assert!(load.is_busy(at(5)));
        assert!(load.is_busy(at(6)));
        assert!(!load.is_busy(at(7)));
        assert!((0..=BUSY_ABOVE).any(|_| load.is_busy(at(8))));
        assert!(!load.is_busy(at(60)), "an old flood is over");
    }

    #[test]
    fn one_address_gets_its_share() {
        let mut load = Load::default();
        let (here, near, far) = ("2001:db8::1", "2001:db8::2", "2001:db8:0:1::1");
        let mut admit = |text: &str| load.admit(text.parse().unwrap());
        assert!((0..PER_ADDRESS).all(|_| admit(here)));
        assert!(!admit(here) && !admit(near));
        assert!(admit(far) && admit("192.0.2.1"));
    }
}
