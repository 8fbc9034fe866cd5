//! The macs at the end of handshake messages, and cookies: how a busy device makes strangers prove their address
//! before it computes anything for them (the paper, 5.3 and 5.4.4).

use std::net::SocketAddr;
use std::time::Duration;

use blake2::digest::consts::U16;
use blake2::digest::{FixedOutput, Mac, Update};
use blake2::{Blake2s256, Blake2sMac, Digest};
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use zeroize::Zeroizing;

use crate::message::{COOKIE, COOKIE_LEN, CookieReply};

/// How long a cookie is good for.
const COOKIE_LIFE: Duration = Duration::from_secs(120);
/// How much earlier than that the sender stops using it, as the clocks and the way differ.
const COOKIE_SLACK: Duration = Duration::from_secs(5);

/// What both macs need of a public key: hashed with it once.
struct Labels {
    mac1: Zeroizing<[u8; 32]>,
    cookie: Zeroizing<[u8; 32]>,
}

impl Labels {
    fn new(public: &[u8; 32]) -> Self {
        let hash = |label: &[u8]| {
            let hash = Digest::chain_update(Digest::chain_update(Blake2s256::new(), label), public);
            Zeroizing::new(Digest::finalize(hash).into())
        };
        Self { mac1: hash(b"mac1----"), cookie: hash(b"cookie--") }
    }
}

/// The receiving side: checks the macs of messages to us, and makes cookies.
pub(crate) struct Checker {
    labels: Labels,
    secret: Zeroizing<[u8; 32]>,
    /// When the secret is replaced.
    expires: Duration,
}

/// What the macs of a message prove.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Proof {
    /// Nothing: not even that the sender knows our public key.
    Nothing,
    /// The sender knows our public key.
    Mac1,
    /// And receives what is sent to its address.
    Mac2,
}

impl Checker {
    pub(crate) fn new(public: &[u8; 32]) -> Self {
        Self { labels: Labels::new(public), secret: Zeroizing::new([0; 32]), expires: Duration::ZERO }
    }

    /// Checks a handshake message from this address. `fresh` gives randomness when the cookies' secret is due.
    pub(crate) fn check(
        &mut self,
        message: &[u8],
        from: SocketAddr,
        now: Duration,
        fresh: &mut dyn FnMut(&mut [u8]),
    ) -> Proof {
        let Some((body, mac1, mac2)) = parts(message) else { return Proof::Nothing };
        if !verify(self.labels.mac1.as_slice(), &[body], mac1) {
            return Proof::Nothing;
        }
        let cookie = self.cookie(from, now, fresh);
        if verify(&cookie, &[body, mac1], mac2) { Proof::Mac2 } else { Proof::Mac1 }
    }

    /// Answers a handshake message with a cookie. `sender` is the number the message gave itself.
    pub(crate) fn reply(
        &mut self,
        message: &[u8],
        sender: u32,
        from: SocketAddr,
        now: Duration,
        fresh: &mut dyn FnMut(&mut [u8]),
    ) -> Option<[u8; COOKIE_LEN]> {
        let (_, mac1, _) = parts(message)?;
        let cookie = self.cookie(from, now, fresh);
        let mut reply = [0; COOKIE_LEN];
        reply[0] = COOKIE;
        reply[4..8].copy_from_slice(&sender.to_le_bytes());
        fresh(&mut reply[8..32]);
        let cipher = XChaCha20Poly1305::new(self.labels.cookie.as_slice().into());
        let payload = Payload { msg: &cookie, aad: mac1 };
        let sealed = cipher.encrypt(XNonce::from_slice(&reply[8..32]), payload).ok()?;
        reply[32..].copy_from_slice(&sealed);
        Some(reply)
    }

    fn cookie(&mut self, from: SocketAddr, now: Duration, fresh: &mut dyn FnMut(&mut [u8])) -> [u8; 16] {
        if now >= self.expires {
            fresh(self.secret.as_mut_slice());
            self.expires = now + COOKIE_LIFE;
        }
        let port = from.port().to_be_bytes();
        match from {
            SocketAddr::V4(from) => mac(self.secret.as_slice(), &[&from.ip().octets(), &port]),
            SocketAddr::V6(from) => mac(self.secret.as_slice(), &[&from.ip().octets(), &port]),
        }
    }
}

/// The sending side: puts the macs on messages to one peer, and remembers the cookie it gave us.
pub(crate) struct Stamper {
    labels: Labels,
    cookie: Option<(Zeroizing<[u8; 16]>, Duration)>,
    last_mac1: Option<[u8; 16]>,
}

impl Stamper {
    pub(crate) fn new(remote: &[u8; 32]) -> Self {
        Self { labels: Labels::new(remote), cookie: None, last_mac1: None }
    }

    /// Whether a handshake message is for this peer: whoever made it knows the public key.
    pub(crate) fn is_stamped(&self, message: &[u8]) -> bool {
        parts(message).is_some_and(|(body, mac1, _)| verify(self.labels.mac1.as_slice(), &[body], mac1))
    }

    /// Fills the last 32 bytes of a handshake message.
    pub(crate) fn stamp(&mut self, message: &mut [u8], now: Duration) {
        let (body, macs) = message.split_at_mut(message.len() - 32);
        let mac1 = mac(self.labels.mac1.as_slice(), &[body]);
        macs[..16].copy_from_slice(&mac1);
        self.last_mac1 = Some(mac1);
        match &self.cookie {
            Some((cookie, received)) if now < *received + COOKIE_LIFE - COOKIE_SLACK => {
                macs[16..].copy_from_slice(&mac(cookie.as_slice(), &[body, &mac1]));
            }
            _ => macs[16..].fill(0),
        }
    }

    /// Takes the cookie out of a reply to our last message; false if it is not one.
    pub(crate) fn handle_reply(&mut self, reply: &CookieReply<'_>, now: Duration) -> bool {
        let Some(mac1) = self.last_mac1 else { return false };
        let cipher = XChaCha20Poly1305::new(self.labels.cookie.as_slice().into());
        let payload = Payload { msg: reply.sealed.as_slice(), aad: &mac1 };
        let Ok(cookie) = cipher.decrypt(XNonce::from_slice(reply.nonce), payload) else { return false };
        let Ok(cookie) = <[u8; 16]>::try_from(cookie) else { return false };
        self.cookie = Some((Zeroizing::new(cookie), now));
        self.last_mac1 = None;
        true
    }
}

fn parts(message: &[u8]) -> Option<(&[u8], &[u8; 16], &[u8; 16])> {
    let (rest, mac2) = message.split_last_chunk()?;
    let (body, mac1) = rest.split_last_chunk()?;
    Some((body, mac1, mac2))
}

fn keyed(key: &[u8], parts: &[&[u8]]) -> Blake2sMac<U16> {
    let mut mac = <Blake2sMac<U16> as Mac>::new_from_slice(key).expect("BLAKE2s takes keys up to 32 bytes");
    for part in parts {
        Update::update(&mut mac, part);
    }
    mac
}

fn mac(key: &[u8], parts: &[&[u8]]) -> [u8; 16] {
    keyed(key, parts).finalize_fixed().into()
}

fn verify(key: &[u8], parts: &[&[u8]], tag: &[u8; 16]) -> bool {
    keyed(key, parts).verify_slice(tag).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Message;

    #[test]
    fn a_cookie_proves_the_address_until_it_expires() {
        let public = [7; 32];
        let (mut checker, mut stamper) = (Checker::new(&public), Stamper::new(&public));
        let mut count = 0u8;
        let mut fresh = |bytes: &mut [u8]| {
            count += 1;
            bytes.fill(count);
        };
        let from: SocketAddr = "192.0.2.1:5".parse().unwrap();
        let at = Duration::from_secs;

        let mut message = [3u8; 148];
        assert_eq!(checker.check(&message, from, at(0), &mut fresh), Proof::Nothing);
        assert_eq!(checker.check(&message[..20], from, at(0), &mut fresh), Proof::Nothing);
        stamper.stamp(&mut message, at(0));
        assert_eq!(checker.check(&message, from, at(0), &mut fresh), Proof::Mac1);

        let reply = checker.reply(&message, 9, from, at(1), &mut fresh).unwrap();
        let Some(Message::Cookie(parsed)) = Message::parse(&reply) else { panic!("no cookie reply") };
        assert_eq!(parsed.receiver, 9);
        let mut forged = reply;
        forged[40] ^= 1;
        let Some(Message::Cookie(bad)) = Message::parse(&forged) else { panic!("no cookie reply") };
        assert!(!stamper.handle_reply(&bad, at(1)));
        assert!(stamper.handle_reply(&parsed, at(1)));
        assert!(!stamper.handle_reply(&parsed, at(1)), "a reply answers one message");

        stamper.stamp(&mut message, at(2));
        assert_eq!(checker.check(&message, from, at(2), &mut fresh), Proof::Mac2);
        let elsewhere = "192.0.2.1:6".parse().unwrap();
        assert_eq!(checker.check(&message, elsewhere, at(2), &mut fresh), Proof::Mac1);
        // The checker's secret was made at 0.
        assert_eq!(checker.check(&message, from, at(119), &mut fresh), Proof::Mac2);
        assert_eq!(checker.check(&message, from, at(120), &mut fresh), Proof::Mac1);
        stamper.stamp(&mut message, at(117));
        assert_eq!(message[132..], [0; 16], "an old cookie is not used");
    }
}
