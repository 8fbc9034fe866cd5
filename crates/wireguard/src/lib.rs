//! The WireGuard protocol as a state machine without IO.
//!
//! [`Device`] decides: whose packet this is, which key seals it, when to shake hands. [`TransportKeys`] does the work
//! per packet, in place and without the device, so that several threads can seal and open while one short lock
//! guards the decisions. Time is an argument ([`Now`]); randomness is a closure given at the start ([`Random`]).
//! Nothing here opens a socket, sleeps, locks or asks for the time.
//!
//! The handshake is Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s as `snow` speaks it. The rest follows the paper,
//! <https://www.wireguard.com/papers/wireguard.pdf>, section by section; where the paper leaves room, Linux decides.
#![forbid(unsafe_code)]

mod allowed;
mod cookie;
mod counters;
mod device;
mod fair;
mod key;
mod message;
mod noise;
mod packet;
mod replay;
mod time;
mod transport;

pub use allowed::AllowedIps;
pub use counters::{Counters, DropReason};
pub use device::{
    AllowedChange, Device, Endpoint, Inbound, Outbound, PeerChange, PeerId, PeerStatus, Random, Relayed,
    Sealing, Transmit,
};
pub use fair::FairQueue;
pub use key::LocalKey;
pub use message::{COOKIE_LEN, DATA_OVERHEAD, Data, INITIATION_LEN, Message, RESPONSE_LEN};
pub use packet::{destination, packet_len, source, udp_ports};
pub use time::Now;
pub use transport::{HEADER_LEN, TAG_LEN, TransportKeys, padded};
