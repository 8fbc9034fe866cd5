//! Datagrams from anybody, at a device with a key and a peer: none may panic, and none may come out as a packet.
#![no_main]

use std::cell::RefCell;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use wireguard::{
    AllowedChange, Data, Device, Endpoint, Message, Now, PeerChange, destination, packet_len, source, udp_ports,
};

thread_local! {
    static DEVICE: RefCell<(Device, Now)> = RefCell::new(device());
}

fn device() -> (Device, Now) {
    let mut count = 0u8;
    let mut device = Device::new(Box::new(move |bytes| {
        for byte in bytes {
            count = count.wrapping_mul(5).wrapping_add(3);
            *byte = count;
        }
    }));
    device.set_key(Some([1; 32]));
    let now = Now { uptime: Duration::from_secs(1), unix: Duration::from_secs(1_700_000_000) };
    let peer = PeerChange {
        public_key: [9; 32],
        endpoint: "192.0.2.1:51820".parse().ok(),
        allowed_ips: vec![AllowedChange::Add("0.0.0.0/0".parse().expect("a range"))],
        ..PeerChange::default()
    };
    device.change_peer(&peer, now);
    // Two whose messages to each other are passed on.
    for n in [7, 8] {
        let endpoint = format!("192.0.2.{n}:{n}").parse().ok();
        let peer = PeerChange { public_key: [n; 32], endpoint, relay: Some(true), ..PeerChange::default() };
        device.change_peer(&peer, now);
    }
    (device, now)
}

fuzz_target!(|datagram: &[u8]| {
    let _ = (source(datagram), destination(datagram), packet_len(datagram), udp_ports(datagram));
    if let Some(Message::Data(data)) = Message::parse(datagram) {
        assert_eq!(data.encode(), datagram[..16]);
        assert_eq!(Data::parse(datagram), Some(data));
    }
    DEVICE.with_borrow_mut(|(device, now)| {
        // What the host sends is anybody's, too.
        let _ = device.is_looped(datagram, 51820);
        now.uptime += Duration::from_millis(1);
        now.unix += Duration::from_millis(1);
        let from = Endpoint { remote: "192.0.2.7:7".parse().expect("an endpoint"), local: None };
        if let Some(data) = Data::parse(datagram) {
            assert!(device.keys_for(data.receiver).is_none(), "there is no session");
            let _ = device.relay_data(data, datagram.len(), from.remote, *now);
        } else {
            device.handle_handshake(datagram, from, *now);
        }
        while device.poll_transmit().is_some() {}
    });
});
