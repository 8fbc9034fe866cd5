//! What network cards do for others, done for the tunnel: segmenting, joining and checksumming TCP and UDP.
//!
//! Plain functions over bytes. Going out, the host hands over packets larger than the MTU and without checksums, and
//! [`Segments`] makes them whole. Coming in, [`Coalescer`] joins packets of one flow, so that the host handles one
//! large packet instead of dozens. Whatever is not understood stays as it is.

mod checksum;
mod coalesce;
mod header;
mod segment;
#[cfg(test)]
mod tests;

pub use self::coalesce::{Coalescer, Joined};
pub use self::segment::{Malformed, Segments};
