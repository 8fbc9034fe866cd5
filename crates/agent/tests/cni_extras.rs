//! Host ports, limits, plugins before and after us, and agents that die at the worst moment, against the real kernel.
//! Needs root, Debian's `nft` and `containernetworking-plugins`.

use std::io::Write as _;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Command, Stdio};
use std::time::Duration;

use futures::FutureExt as _;
use kernel::netns::Netns;
use serde_json::{Value, json};
use wire::local::CniRequest;

mod cni_common;
use cni_common::{Node, RANGES, Space, Told, answers, ask, bad, good, ips};

/// The node's own address of the mesh.
const OWN: &str = "10.1.2.1";

/// Serves TCP at a port of the pod, as long as the test runs.
fn serve(netns: &Netns, port: u16) {
    let listener = netns.run(|| TcpListener::bind(("::", port)).unwrap()).unwrap();
    std::thread::spawn(move || listener.incoming().for_each(drop));
}

fn reached(from: &Netns, to: &str, port: u16) -> bool {
    let to = SocketAddr::new(to.parse().unwrap(), port);
    from.run(|| TcpStream::connect_timeout(&to, Duration::from_secs(1)).is_ok()).unwrap()
}

fn said(netns: &Netns, line: &str) -> String {
    let mut words = line.split(' ');
    let mut command = Command::new(words.next().unwrap());
    let output =
        netns.run(|| command.args(words).output().unwrap_or_else(|e| panic!("{line}: {e}"))).unwrap();
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn with_ports(mut request: CniRequest, ports: &[(u16, u16)]) -> CniRequest {
    let mapping = |(host, container): &(u16, u16)| json!({"hostPort": host, "containerPort": container, "protocol": "tcp"});
    request.config["runtimeConfig"]["portMappings"] = ports.iter().map(mapping).collect();
    request
}

#[tokio::test]
async fn host_ports() {
    let node = Node::new("cni_ports").await;
    let space = &node.space.netns;
    let (cni, told) = node.agent(&RANGES).await;
    let pods = [0, 1].map(|i| Space::new(&format!("cni_ports_{i}")));
    pods.iter().for_each(|pod| serve(&pod.netns, 80));
    let add =
        |i: usize, ports: &[(u16, u16)]| with_ports(ask("ADD", &format!("c{i}"), pods[i].path()), ports);
    let result = good(cni.handle(add(0, &[(8080, 80)])).await);
    for own in [OWN, "127.0.0.1", "fd00:1:0:2::1"] {
        assert!(reached(space, own, 8080), "{own}");
    }
    assert!(reached(&pods[0].netns, OWN, 8080), "by itself");
    // The same port again: refused, named, and nothing is left of the attempt.
    let (code, text) = bad(cni.handle(add(1, &[(8081, 80), (8080, 80)])).await);
    assert!(code == 104 && text.contains("8080/TCP") && text.contains("demo/c0"), "{code} {text}");
    assert_eq!((node.wires().await, told.pods.lock().unwrap().len()), (1, 1));
    good(cni.handle(add(1, &[(8081, 80)])).await);
    assert!(reached(space, OWN, 8081));
    assert_eq!(good(cni.handle(add(0, &[(8080, 80)])).await), result, "asked again: the same");
    // CHECK sees what others did to the table; an agent that starts, or looks, writes it again.
    let mut check = with_ports(ask("CHECK", "c0", pods[0].path()), &[(8080, 80)]);
    check.config["prevResult"] = result;
    assert!(good(cni.handle(check.clone()).await).is_null());
    said(space, "nft flush ruleset");
    assert!(!reached(space, OWN, 8080));
    assert_eq!(bad(cni.handle(check.clone()).await).0, 106);
    assert!(cni.repair().await.unwrap() && !cni.repair().await.unwrap());
    assert!(good(cni.handle(check.clone()).await).is_null());
    said(space, "nft flush ruleset");
    drop(cni);
    let (cni, _) = node.agent(&RANGES).await;
    assert!(reached(space, OWN, 8080) && reached(space, "127.0.0.1", 8081));
    // The file is lost: what it said is known from the one before.
    drop(cni);
    std::fs::remove_file(node.state()).unwrap();
    let (cni, _) = node.agent(&RANGES).await;
    let entries = cni.entries().await;
    assert!(entries.len() == 2 && entries.iter().all(|entry| entry.netns.exists()), "{entries:?}");
    assert!(reached(space, OWN, 8080));
    // Undone by DEL, and by GC.
    good(cni.handle(ask("DEL", "c0", pods[0].path())).await);
    assert!(!reached(space, OWN, 8080) && reached(space, OWN, 8081));
    good(cni.handle(add(0, &[(8080, 80)])).await);
    let mut gc = ask("GC", "", "".into());
    gc.config["cni.dev/valid-attachments"] = json!([{"containerID": "c1", "ifname": "eth0"}]);
    assert!(good(cni.handle(gc.clone()).await).is_null());
    assert!(!reached(space, OWN, 8080) && reached(space, OWN, 8081));
    gc.config["cni.dev/valid-attachments"] = json!([]);
    assert!(good(cni.handle(gc).await).is_null());
    assert_eq!(said(space, "nft list ruleset"), "");
}

/// Answers UDP at a port of the pod with a word, as long as the test runs.
fn answer_udp(netns: &Netns, port: u16, word: &'static [u8]) {
    let socket = netns.run(|| UdpSocket::bind(("::", port)).unwrap()).unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 16];
        while let Ok((_, from)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(word, from);
        }
    });
}

/// Who answers this client, which sends from the same port every time; nobody if it is not answered or refused.
fn answered(client: &UdpSocket) -> Vec<u8> {
    let mut buffer = [0; 16];
    let answer = client.send(b"?").and_then(|_| client.recv(&mut buffer));
    answer.map_or_else(|_| Vec::new(), |length| buffer[..length].to_vec())
}

#[tokio::test]
async fn udp_clients_that_never_pause_follow_the_port() {
    let node = Node::new("cni_udp").await;
    let (cni, _) = node.agent(&RANGES).await;
    let pods = [0, 1].map(|i| Space::new(&format!("cni_udp_{i}")));
    answer_udp(&pods[0].netns, 53, b"first");
    answer_udp(&pods[1].netns, 53, b"second");
    let outside = Space::new("cni_udp_outside");
    let own = good(cni.handle(ask("ADD", "outside", outside.path())).await);
    let clients = [("10.1.2.1", "0.0.0.0:0"), ("fd00:1:0:2::1", "[::]:0")].map(|(to, from)| {
        let client = outside.netns.run(|| UdpSocket::bind(from).unwrap()).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        client.connect((to, 5353)).unwrap();
        client
    });
    let add = |i: usize| {
        let mut request = ask("ADD", &format!("c{i}"), pods[i].path());
        let mapping = json!({"hostPort": 5353, "containerPort": 53, "protocol": "udp"});
        request.config["runtimeConfig"]["portMappings"] = json!([mapping]);
        request
    };
    let all = |word: &[u8]| clients.iter().all(|client| answered(client) == word);
    assert!(all(b""), "nobody has the port: {own}");
    good(cni.handle(add(0)).await);
    assert!(all(b"first"), "what nobody answered before");
    good(cni.handle(CniRequest { command: "DEL".into(), ..add(0) }).await);
    assert!(all(b""));
    good(cni.handle(add(1)).await);
    assert!(all(b"second"));
}

#[tokio::test]
async fn limits() {
    let node = Node::new("cni_limits").await;
    let (cni, _) = node.agent(&RANGES).await;
    let pod = Space::new("cni_limits_pod");
    let mut add = ask("ADD", "c", pod.path());
    add.config["runtimeConfig"] = json!({"bandwidth": {
        "ingressRate": 8_000_000, "ingressBurst": 8 << 20, "egressRate": 16_000_000, "egressBurst": u32::MAX,
    }});
    let result = good(cni.handle(add.clone()).await);
    let device = result["interfaces"][0]["name"].as_str().unwrap();
    let here = said(&node.space.netns, &format!("tc qdisc show dev {device}"));
    let there = said(&pod.netns, "tc qdisc show dev eth0");
    assert!(here.contains("tbf") && here.contains("rate 8Mbit burst 1Mb"), "{here}");
    assert!(there.contains("tbf") && there.contains("rate 16Mbit"), "{there}");
    assert!(answers(&node.space.netns, ips(&result)[0]).await);
    let mut check = add.clone();
    check.command = "CHECK".into();
    check.config["prevResult"] = result.clone();
    assert!(good(cni.handle(check.clone()).await).is_null());
    // The next agent knows them, and sees when they are gone.
    drop(cni);
    let (cni, _) = node.agent(&RANGES).await;
    assert!(good(cni.handle(check.clone()).await).is_null());
    said(&pod.netns, "tc qdisc del dev eth0 root");
    assert_eq!(bad(cni.handle(check).await).0, 101);
    // Asked for again, they are back; asked for without, they are not.
    assert_eq!(good(cni.handle(add.clone()).await), result);
    assert!(said(&pod.netns, "tc qdisc show dev eth0").contains("tbf"));
    add.config["runtimeConfig"] = json!({});
    assert_eq!(good(cni.handle(add).await), result);
    assert!(!said(&pod.netns, "tc qdisc show dev eth0").contains("tbf"));
}

#[tokio::test]
async fn an_agent_killed_between_the_ledger_and_the_wire() {
    let node = Node::new("cni_killed").await;
    let pods: Vec<_> = (0..4).map(|i| Space::new(&format!("cni_killed_{i}"))).collect();
    let (cni, _) = node.agent(&RANGES).await;
    let kept = ips(&good(cni.handle(ask("ADD", "kept", pods[0].path())).await));
    let add = with_ports(ask("ADD", "cut", pods[1].path()), &[(8080, 80)]);
    let nowhere = CniRequest { netns: "/run/netns/cwt_cni_nowhere".into(), ..add.clone() };
    assert_eq!(bad(cni.handle(nowhere).await).0, 101);
    drop(cni);
    // It was written down, and then taken back: the last line is what a killed agent would not have come to.
    let written = std::fs::read_to_string(node.state()).unwrap();
    let (before, last) = written.trim_end().rsplit_once('\n').unwrap();
    assert!(before.contains("\"cut\"") && last.contains("released"), "{written}");
    std::fs::write(node.state(), format!("{before}\n")).unwrap();
    let (cni, told) = node.agent(&RANGES).await;
    let known = (cni.entries().await.len(), told.pods.lock().unwrap().len());
    assert_eq!(known, (1, 1), "it has no wire: it is let go");
    // A runtime that gives up on its question, and asks again; another gets other addresses, and its port is free.
    assert!(cni.handle(add.clone()).now_or_never().is_none());
    let again = ips(&good(cni.handle(add.clone()).await));
    let same_port = with_ports(ask("ADD", "other", pods[2].path()), &[(8080, 80)]);
    assert_eq!(bad(cni.handle(same_port).await).0, 104);
    let other = ips(&good(cni.handle(ask("ADD", "other", pods[2].path())).await));
    let apart = again.iter().all(|ip| !kept.contains(ip) && !other.contains(ip));
    assert!(apart, "{kept:?} {again:?} {other:?}");
    for ip in kept.iter().chain(&again).chain(&other) {
        assert!(answers(&node.space.netns, *ip).await, "{ip}");
    }
    // Once more, and the runtime gives the container up.
    let lost = with_ports(ask("ADD", "lost", pods[3].path()), &[(9090, 80)]);
    assert!(cni.handle(lost.clone()).now_or_never().is_none());
    good(cni.handle(CniRequest { command: "DEL".into(), ..lost }).await);
    assert_eq!((cni.entries().await.len(), node.wires().await), (3, 3));
}

#[tokio::test]
async fn the_nodes_own_namespace_is_no_pods() {
    let node = Node::new("cni_own").await;
    let (cni, _) = node.agent(&RANGES).await;
    let (code, text) = bad(cni.handle(ask("ADD", "own", node.space.path())).await);
    assert!(code == 4 && text.contains("CNI_NETNS"), "{code} {text}");
    assert_eq!((node.wires().await, cni.entries().await.len()), (0, 0));
    let pod = Space::new("cni_own_pod");
    good(cni.handle(ask("ADD", "pod", pod.path())).await);
    drop(cni);
    // Pods of before that the data path does not take, and no ranges yet: STATUS tells both.
    let deaf = node.starting(Told { refuses: true, ..Told::default() }).await;
    assert_eq!(deaf.reattach().await.len(), 1);
    assert_eq!(bad(deaf.handle(ask("STATUS", "", "".into())).await).0, 51);
}

/// Runs one of Debian's plugins in the node's namespace, as a runtime does.
fn plugin(node: &Node, name: &str, command: &str, pod: &Space, config: &Value) -> Value {
    let mut plugin = Command::new(format!("/usr/lib/cni/{name}"));
    plugin.env("CNI_COMMAND", command).env("CNI_CONTAINERID", "chained").env("CNI_NETNS", pod.path());
    plugin.env("CNI_IFNAME", "eth0").env("CNI_PATH", "/usr/lib/cni");
    plugin.stdin(Stdio::piped()).stdout(Stdio::piped());
    let running = node.space.netns.run(|| plugin.spawn()).unwrap();
    let mut running =
        running.unwrap_or_else(|e| panic!("{name}: {e}; is containernetworking-plugins there?"));
    running.stdin.take().unwrap().write_all(config.to_string().as_bytes()).unwrap();
    let output = running.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{name} {command}: {text}");
    serde_json::from_str(&text).unwrap_or(Value::Null)
}

/// What a runtime gives each plugin of the chain.
fn config(name: &str, prev: Option<&Value>) -> Value {
    let mut config = json!({"cniVersion": "1.0.0", "name": "mesh", "type": name});
    match name {
        "tuning" => config["sysctl"] = json!({"net.ipv4.conf.eth0.arp_filter": "1"}),
        "portmap" => {
            let mapping = json!({"hostPort": 7070, "containerPort": 80, "protocol": "tcp"});
            config["capabilities"] = json!({"portMappings": true});
            config["runtimeConfig"] = json!({"portMappings": [mapping]});
        }
        _ => {}
    }
    if let Some(prev) = prev {
        config["prevResult"] = prev.clone();
    }
    config
}

#[tokio::test]
async fn plugins_of_others_before_and_after() {
    let node = Node::new("cni_chain").await;
    let (cni, _) = node.agent(&RANGES).await;
    let pod = Space::new("cni_chain_pod");
    serve(&pod.netns, 80);
    let ours = |command: &str, prev: &Value| {
        let mut request = ask(command, "chained", pod.path());
        request.config = config("causeway", Some(prev));
        request
    };
    let theirs = |name: &str, command: &str, prev: Option<&Value>| {
        plugin(&node, name, command, &pod, &config(name, prev))
    };
    let first = theirs("loopback", "ADD", None);
    let second = good(cni.handle(ours("ADD", &first)).await);
    let interfaces = second["interfaces"].as_array().unwrap();
    let names: Vec<&str> = interfaces.iter().map(|i| i["name"].as_str().unwrap()).collect();
    assert_eq!((names[0], names[2], names.len()), ("lo", "eth0", 3), "{second}");
    assert_eq!(second["ips"].as_array().unwrap().last().unwrap()["interface"], 2);
    let third = theirs("tuning", "ADD", Some(&second));
    let last = theirs("portmap", "ADD", Some(&third));
    assert_eq!(last["ips"], second["ips"]);
    assert_eq!(said(&pod.netns, "cat /proc/sys/net/ipv4/conf/eth0/arp_filter").trim(), "1");
    let given: Vec<IpAddr> = ips(&second).into_iter().filter(|ip| !ip.is_loopback()).collect();
    assert!(answers(&node.space.netns, given[0]).await && answers(&node.space.netns, given[1]).await);
    assert!(reached(&node.space.netns, OWN, 7070), "by portmap's rules");
    // CHECK and DEL go through the chain with the last result.
    assert!(good(cni.handle(ours("CHECK", &last)).await).is_null());
    theirs("tuning", "CHECK", Some(&last));
    theirs("portmap", "DEL", Some(&last));
    theirs("tuning", "DEL", Some(&last));
    assert!(good(cni.handle(ours("DEL", &last)).await).is_null());
    assert!(good(cni.handle(ours("DEL", &last)).await).is_null());
    assert_eq!(node.wires().await, 0);
}
