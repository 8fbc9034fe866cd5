//! Tokens that somebody else has made and somebody else checks: who that is, and how patient we are with those whose tokens
//! prove nothing.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

/// Tokens that prove nothing, from one address, before it has to wait.
const BURST: u32 = 10;
/// How long it waits for each further one.
const PAUSE: Duration = Duration::from_secs(2);
/// How many addresses are remembered; all further ones share one place.
const ORIGINS: usize = 4096;

/// Checks tokens of nodes that are not ours: ServiceAccount tokens of Kubernetes.
pub trait Reviewer: fmt::Debug + Send + Sync {
    /// The name of the node that a token proves. Nothing that is said of a failure may contain the token.
    fn review<'a>(&'a self, token: &'a str) -> Review<'a>;

    /// Whether there still is a node of this name: the certificate of one that is gone is not renewed.
    fn is_node(&self, node: &str) -> bool;
}

/// The answer to come: a node's name.
pub type Review<'a> = Pin<Box<dyn Future<Output = Result<String, NotReviewed>> + Send + 'a>>;

/// Why a token was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotReviewed {
    /// It proves nothing.
    #[error("{0}")]
    Refused(String),
    /// Who could say is not to be had; to be tried again.
    #[error("{0}")]
    NotNow(String),
}

/// How many tokens that proved nothing came from where.
#[derive(Debug, Default)]
pub(crate) struct Patience(Mutex<BTreeMap<IpAddr, Instant>>);

impl Patience {
    /// Takes one attempt of `origin`. Returns how long it has to wait first, if it has to.
    ///
    /// For each origin stands the moment at which all its attempts are forgotten (GCRA): an attempt moves it on.
    pub(crate) fn take(&self, origin: IpAddr) -> Result<(), Duration> {
        let now = Instant::now();
        let mut origins = self.0.lock().expect("no panic while it is locked");
        if origins.len() >= ORIGINS && !origins.contains_key(&origin) {
            origins.retain(|_, forgotten| *forgotten > now);
        }
        let full = origins.len() >= ORIGINS && !origins.contains_key(&origin);
        let place = if full { Ipv4Addr::UNSPECIFIED.into() } else { origin };
        let forgotten = origins.get(&place).copied().unwrap_or(now).max(now) + PAUSE;
        match forgotten.checked_duration_since(now + PAUSE * BURST).filter(|wait| !wait.is_zero()) {
            Some(wait) => Err(wait),
            None => {
                origins.insert(place, forgotten);
                Ok(())
            }
        }
    }

    /// Gives an attempt back: it was a good one.
    pub(crate) fn give_back(&self, origin: IpAddr) {
        let mut origins = self.0.lock().expect("no panic while it is locked");
        if let Some(forgotten) = origins.get_mut(&origin) {
            *forgotten = forgotten.checked_sub(PAUSE).unwrap_or(*forgotten);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_proves_nothing_waits() {
        let patience = Patience::default();
        let [bad, good]: [IpAddr; 2] = ["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()];
        for _ in 0..1000 {
            patience.take(good).unwrap();
            patience.give_back(good);
        }
        for _ in 0..BURST {
            patience.take(bad).unwrap();
        }
        assert_eq!(patience.take(bad), Err(PAUSE));
        assert_eq!(patience.take(good), Ok(()), "others do not wait for it");
        tokio::time::advance(PAUSE).await;
        assert_eq!((patience.take(bad), patience.take(bad)), (Ok(()), Err(PAUSE)));
        tokio::time::advance(PAUSE * BURST).await;
        for _ in 0..BURST {
            patience.take(bad).unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn no_number_of_addresses_helps() {
        let patience = Patience::default();
        let address = |n: usize| IpAddr::from(Ipv4Addr::from_bits(u32::try_from(n).unwrap() + 1));
        let passed = (0..ORIGINS + 1000).filter(|n| patience.take(address(*n)).is_ok()).count();
        assert_eq!(passed, ORIGINS + BURST as usize);
        assert!(patience.0.lock().unwrap().len() <= ORIGINS + 1);
        tokio::time::advance(PAUSE).await;
        assert_eq!(patience.take(address(ORIGINS + 5000)), Ok(()), "what is forgotten makes room");
    }
}
