//! The DNS server: packets in and out, real sockets, and servers that others wrote in front.

mod forwarders;
mod message;
mod packets;
mod sockets;
mod world;
