//! What kinds of device the kernel can make, and what can be attached to them.

use std::io;

use aya::programs::tc::qdisc_add_clsact;
use nix::net::if_::if_nametoindex;
use nix::sched::{CloneFlags, unshare};
use rtnetlink::packet_route::link::LinkMessage;
use rtnetlink::{Handle, LinkVeth, LinkVxlan, LinkWireguard};

use crate::bpf::sys::Hook;
use crate::bpf::sys::tiny::knows_hook;
use crate::netlink::Netlink;
use crate::netns::on_thread;
use crate::nft::can_translate;
use crate::shaping::can_limit;
use crate::sockets::can_destroy;
use crate::tun::{Tun, TunOptions};

/// What is there.
#[derive(Debug, Default)]
pub(super) struct Devices {
    pub(super) netns: bool,
    pub(super) veth: bool,
    pub(super) wireguard: bool,
    pub(super) tun: bool,
    pub(super) vxlan: bool,
    pub(super) tcx: bool,
    pub(super) clsact: bool,
    pub(super) socket_destroy: bool,
    pub(super) nftables: bool,
    pub(super) shaping: bool,
}

/// Makes one of each in a namespace that ends with this call.
pub(super) fn try_all() -> Devices {
    let attempt = || {
        unshare(CloneFlags::CLONE_NEWNET)?;
        let loopback = if_nametoindex("lo")?;
        let ([veth, wireguard, vxlan], shaping) = make_links([
            LinkVeth::new("one", "two").build(),
            LinkWireguard::new("wg").build(),
            LinkVxlan::new("vx", 7).build(),
        ])?;
        Ok(Devices {
            netns: true,
            veth,
            wireguard,
            vxlan,
            tun: Tun::open("tun", TunOptions::default()).is_ok(),
            tcx: knows_hook(loopback, Hook::TcxIngress).is_ok(),
            clsact: qdisc_add_clsact("lo").is_ok(),
            socket_destroy: can_destroy().unwrap_or_default(),
            nftables: can_translate(),
            shaping,
        })
    };
    // Without a namespace of our own nothing can be tried without leaving traces.
    on_thread(attempt).unwrap_or_default()
}

/// Which of these the kernel makes, and whether what they send can be limited.
fn make_links<const N: usize>(links: [LinkMessage; N]) -> io::Result<([bool; N], bool)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        let talk = tokio::spawn(connection);
        let mut made = [false; N];
        for (made, link) in made.iter_mut().zip(links) {
            *made = make_link(&handle, link).await;
        }
        talk.abort();
        let shaping = can_limit(&Netlink::open().map_err(io::Error::other)?).await;
        Ok((made, shaping))
    })
}

async fn make_link(handle: &Handle, link: LinkMessage) -> bool {
    handle.link().add(link).execute().await.is_ok()
}
