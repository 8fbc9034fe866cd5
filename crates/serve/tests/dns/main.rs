//! The DNS server: packets in and out, and real sockets.

mod message;
mod packets;
mod sockets;
mod world;
