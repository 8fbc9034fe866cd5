//! The tools people know, on our control socket.

use std::net::SocketAddr;
use std::process::Command;

use crate::net_common::run_in;
use crate::pair::{Kind, Setup, pair, until};
use crate::traffic::echo;

pub(crate) fn wg_reads_and_writes() {
    let ends = pair(Setup { name: "wgt", kinds: [Kind::Ours, Kind::Ours], mtu: 1500 });
    let [a, b] = &ends;
    assert!(echo(a, b.inside[0]));
    let interface = a.device.interface();
    let wg = |line: &str| run_in(a.netns.netns(), &format!("wg {line}"));

    // private key, public key, port, mark; public key, preshared key, endpoint, ranges, handshake, received, sent, keepalive
    let dump = wg(&format!("show {interface} dump"));
    let lines: Vec<Vec<&str>> = dump.lines().map(|line| line.split('\t').collect()).collect();
    assert_eq!(lines[0][1..], [&a.key.public().to_string(), "51820", "off"]);
    let peer = &lines[1];
    assert_eq!(peer[..3], [&b.key.public().to_string(), "(none)", "192.0.2.2:51820"]);
    assert_eq!(peer[3], "10.99.0.2/32,fd99::2/128");
    assert!(
        peer[4..7].iter().all(|number| number.parse::<u64>().is_ok_and(|number| number > 100)),
        "{peer:?}"
    );
    assert_eq!(peer[7], "off");
    assert!(wg("show").contains("latest handshake: "), "{}", wg("show"));

    // A configuration that is read back and set again changes nothing, and a changed one does.
    let dir = tempfile::tempdir().expect("tempdir");
    let file = dir.path().join("wg.conf");
    let configuration = wg(&format!("showconf {interface}"));
    std::fs::write(&file, &configuration).expect("write");
    wg(&format!("syncconf {interface} {}", file.display()));
    assert_eq!(wg(&format!("showconf {interface}")), configuration);
    assert!(echo(a, b.inside[0]));
    wg(&format!("setconf {interface} {}", file.display()));
    assert_eq!(wg(&format!("showconf {interface}")), configuration);
    assert!(echo(a, b.inside[0]), "a new session, as the peers were replaced");

    // A pre-shared key, agreed on with the next handshake.
    let secret = dir.path().join("psk");
    std::fs::write(&secret, run_in(a.netns.netns(), "wg genpsk")).expect("write");
    for (end, other) in [(a, b), (b, a)] {
        let line = format!(
            "wg set {} fwmark 0x51 peer {} preshared-key {} persistent-keepalive 25",
            end.device.interface(),
            other.key.public(),
            secret.display()
        );
        run_in(end.netns.netns(), &line);
    }
    wg(&format!("setconf {interface} /dev/null"));
    assert!(!echo(a, b.inside[0]), "no peer, no way");
    std::fs::write(
        &file,
        configuration.replace(
            "[Peer]",
            &format!("[Peer]\nPresharedKey = {}", std::fs::read_to_string(&secret).expect("read").trim()),
        ),
    )
    .expect("write");
    wg(&format!("setconf {interface} {}", file.display()));
    assert!(echo(a, b.inside[0]), "with the key that both have");
    assert!(run_in(b.netns.netns(), &format!("wg show {} fwmark", b.device.interface())).contains("0x51"));

    // Another port, told to nobody: the peer hears it from the next packet.
    wg(&format!("set {interface} listen-port 4242"));
    assert!(echo(a, b.inside[0]));
    assert_eq!(b.stats(a).endpoint.expect("an endpoint").port(), 4242);
    // One that is taken is refused, and the old one stays.
    let taken =
        a.netns.netns().run(|| std::net::UdpSocket::bind("0.0.0.0:4343")).expect("netns").expect("bind");
    let status = a.netns.netns().run(|| {
        Command::new("wg").args(["set", interface, "listen-port", "4343"]).output().expect("wg").status
    });
    assert!(!status.expect("netns").success());
    drop(taken);
    assert!(echo(a, b.inside[0]));

    // An address that means something on one link only, as `wg` writes it.
    let link_local = || {
        let shown = run_in(b.netns.netns(), "ip -6 -o addr show dev eth0 scope link -tentative");
        let mut words = shown.split_whitespace().skip_while(|word| *word != "inet6").skip(1);
        words.next().and_then(|range| range.split_once('/')).map(|(ip, _)| ip.to_owned())
    };
    until("an address of the link", || link_local().is_some());
    let ip = link_local().expect("it is there");
    wg(&format!("set {interface} peer {} endpoint [{ip}%eth0]:51820", b.key.public()));
    assert!(echo(a, b.inside[0]));
    assert!(wg(&format!("show {interface} endpoints")).contains(&format!("[{ip}%eth0]:51820")));
    let heard = b.stats(a).endpoint.expect("an endpoint");
    assert!(
        matches!(heard, SocketAddr::V6(at) if at.ip().is_unicast_link_local() && at.scope_id() > 0),
        "{heard}"
    );

    // What is dropped is counted by reason.
    let no_peer = || a.device.drops().expect("counters")["no_peer"];
    let before = no_peer();
    run_in(a.netns.netns(), &format!("ip route add 10.98.0.0/24 dev {interface}"));
    assert!(!echo(a, "10.98.0.1".parse().expect("an address")));
    // At least: the host's own router solicitations go nowhere too.
    assert!(no_peer() > before);
}
