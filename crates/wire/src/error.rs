//! Why bytes were not understood.

use model::NameError;
use model::mesh::NoEndpoint;

/// Why a message is not what it claims to be. Nothing of it is used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Not protobuf of this type at all.
    #[error("the bytes are not the message they claim to be: {0}")]
    Protobuf(String),
    /// A field that must be there is not; or one of an alternative that this version does not know.
    #[error("{0} is missing, or of a kind that this version does not know")]
    Missing(&'static str),
    /// A list that is too long.
    #[error("{count} {field}: at most {max} are allowed")]
    TooMany {
        /// What of.
        field: &'static str,
        /// How many.
        count: usize,
        /// How many are allowed.
        max: usize,
    },
    /// A text that is too long, empty where it may not be, or has characters that it may not.
    #[error("{field} {value:?} is not 1 to {max} printable ASCII characters")]
    Text {
        /// Which.
        field: &'static str,
        /// Its beginning.
        value: String,
        /// How many characters are allowed.
        max: usize,
    },
    /// A name that is none.
    #[error(transparent)]
    Name(#[from] NameError),
    /// An end of a tunnel that is none.
    #[error(transparent)]
    Endpoint(NoEndpoint),
    /// An address that is neither 4 nor 16 bytes.
    #[error("an address in {field} has {bytes} bytes: IPv4 has 4, IPv6 has 16")]
    Address {
        /// Where.
        field: &'static str,
        /// How many bytes.
        bytes: usize,
    },
    /// An address that cannot be anybody's.
    #[error(
        "{field} has {address}, which is no host's address (unspecified, multicast, or IPv4 written as IPv6)"
    )]
    NoHost {
        /// Where.
        field: &'static str,
        /// The address.
        address: std::net::IpAddr,
    },
    /// Two addresses or ranges of one family where at most one is allowed.
    #[error("{0} has two of one family: at most one IPv4 and one IPv6 are allowed")]
    TwoOfFamily(&'static str),
    /// A prefix longer than its address, or with bits beyond its length.
    #[error("{field} has {address}/{length}: no prefix of its family, or bits beyond its length are set")]
    Prefix {
        /// Where.
        field: &'static str,
        /// Its address.
        address: std::net::IpAddr,
        /// Its length.
        length: u32,
    },
    /// A number outside its range.
    #[error("{field} is {value}: use {min} to {max}")]
    Range {
        /// Which.
        field: &'static str,
        /// What it is.
        value: u64,
        /// The least allowed.
        min: u64,
        /// The most allowed.
        max: u64,
    },
    /// A protocol that this version does not know.
    #[error("protocol number {0} is not known to this version")]
    Protocol(i32),
    /// A word out of a closed set that this version does not know.
    #[error("{field} {value} is not known to this version")]
    Word {
        /// What kind of word.
        field: &'static str,
        /// Its number.
        value: i32,
    },
    /// A WireGuard key that is not 32 bytes.
    #[error("a WireGuard key has 32 bytes, not {0}")]
    PublicKey(usize),
    /// A generation's id that is not 8 bytes.
    #[error("the id of a generation of pre-shared keys has 8 bytes, not {0}")]
    Generation(usize),
}
