//! The CNI server against the real kernel: pods reach and are reached, nothing is given twice, nothing is left.
//! Needs root.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use causeway_agent::cni::Entry;
use serde_json::json;
use wire::local::CniResponse;

mod cni_common;
use cni_common::{Node, RANGES, Space, Told, answers, ask, bad, good, ips, network};

#[tokio::test]
async fn a_pod_comes_and_goes() {
    let node = Node::new("cni_life").await;
    let (cni, told) = node.agent(&RANGES).await;
    let pod = Space::new("cni_life_pod");
    for version in ["0.4.0", "1.0.0", "1.1.0"] {
        let asking = |command| {
            let mut request = ask(command, "life", pod.path());
            request.config["cniVersion"] = json!(version);
            request
        };
        let result = good(cni.handle(asking("ADD")).await);
        assert_eq!(result["cniVersion"], version);
        let addresses = ips(&result);
        assert!(addresses[0].is_ipv4() && addresses[1].is_ipv6(), "{result}");
        let device = result["interfaces"][0]["name"].as_str().unwrap().to_string();
        assert_eq!(told.pods.lock().unwrap().get(&device), Some(&addresses));
        for ip in &addresses {
            assert!(answers(&node.space.netns, *ip).await, "{ip}");
        }
        for own in ["10.1.2.1", "fd00:1:0:2::1"] {
            assert!(answers(&pod.netns, own.parse().unwrap()).await, "{own}");
        }
        assert_eq!(good(cni.handle(asking("ADD")).await), result, "asked again: the same");
        let mut check = asking("CHECK");
        check.config["prevResult"] = result.clone();
        assert!(good(cni.handle(check.clone()).await).is_null());
        check.config["prevResult"]["ips"] = json!([{"address": "10.1.2.77/32"}]);
        assert_eq!(bad(cni.handle(check).await).0, 7);

        assert!(good(cni.handle(asking("DEL")).await).is_null());
        assert!(good(cni.handle(asking("DEL")).await).is_null());
        assert_eq!((node.wires().await, told.pods.lock().unwrap().len()), (0, 0));
    }
    let mut gone = ask("DEL", "life", "/run/netns/cwt_gone".into());
    assert!(good(cni.handle(gone.clone()).await).is_null(), "the namespace need not be there");
    gone.netns.clear();
    assert!(good(cni.handle(gone).await).is_null());
}

#[tokio::test]
async fn refusals() {
    let node = Node::new("cni_refusals").await;
    let pod = Space::new("cni_refusals_pod");
    let starting = node.starting(Told::default()).await;
    let refused = |response: CniResponse, code: u32, words: &str| {
        let (found, text) = bad(response);
        assert!(found == code && text.contains(words), "{found}: {text}");
    };
    refused(starting.handle(ask("ADD", "early", pod.path())).await, 11, "try again");
    refused(starting.handle(ask("STATUS", "", "".into())).await, 50, "pod ranges");
    assert!(good(starting.handle(ask("DEL", "early", pod.path())).await).is_null());

    drop(starting);
    let (cni, _) = node.agent(&["10.1.2.0/30"]).await;
    assert!(good(cni.handle(ask("STATUS", "", "".into())).await).is_null());
    refused(cni.handle(ask("ADD", "lost", "/run/netns/cwt_lost".into())).await, 101, "cwt_lost");
    let mut check = ask("CHECK", "stranger", pod.path());
    check.config["prevResult"] = json!({"ips": []});
    refused(cni.handle(check).await, 3, "stranger");
    refused(cni.handle(ask("EXEC", "x", pod.path())).await, 4, "CNI_COMMAND");
    good(cni.handle(ask("ADD", "only", pod.path())).await);
    let second = Space::new("cni_refusals_second");
    refused(cni.handle(ask("ADD", "many", second.path())).await, 100, "10.1.2.0/30");
    refused(cni.handle(ask("STATUS", "", "".into())).await, 50, "no address is left");
    // Another interface of the same name is not touched, and its container's addresses are not lost.
    cni.configure(network(&RANGES));
    refused(cni.handle(ask("ADD", "intruder", pod.path())).await, 101, "eth0 already");
    assert_eq!(node.wires().await, 1);

    drop(cni);
    let hook = Told { refuses: true, ..Told::default() };
    let deaf = node.starting(hook).await;
    assert_eq!(deaf.reattach().await.len(), 1);
    deaf.configure(network(&RANGES));
    refused(deaf.handle(ask("ADD", "unguarded", second.path())).await, 102, "map is full");
    assert_eq!(node.wires().await, 1, "a pod the data path does not guard has no wire");
}

#[tokio::test]
async fn ten_at_once_and_freed_last() {
    let node = Node::new("cni_parallel").await;
    let (cni, told) = node.agent(&RANGES).await;
    let pods: Vec<_> = (0..10).map(|i| Space::new(&format!("cni_parallel_{i}"))).collect();
    let adding = pods.iter().enumerate().map(|(i, pod)| cni.handle(ask("ADD", &format!("c{i}"), pod.path())));
    let results: Vec<_> = futures::future::join_all(adding).await.into_iter().map(good).collect();
    let mut given = BTreeSet::new();
    for (result, pod) in results.iter().zip(&pods) {
        for ip in ips(result) {
            assert!(given.insert(ip), "{ip} twice");
            assert!(answers(&node.space.netns, ip).await);
        }
        let other = ips(&results[0])[0];
        assert!(answers(&pod.netns, other).await);
    }
    assert_eq!((given.len(), told.pods.lock().unwrap().len()), (20, 10));
    // The same container ten times at once has one wire and one pair of addresses.
    let again = (0..10).map(|_| cni.handle(ask("ADD", "c0", pods[0].path())));
    for response in futures::future::join_all(again).await {
        assert_eq!(good(response), results[0]);
    }
    let deleting =
        pods.iter().enumerate().map(|(i, pod)| cni.handle(ask("DEL", &format!("c{i}"), pod.path())));
    futures::future::join_all(deleting)
        .await
        .into_iter()
        .for_each(|response| assert!(good(response).is_null()));
    assert_eq!((node.wires().await, cni.entries().await.len()), (0, 0));
    let next = good(cni.handle(ask("ADD", "next", pods[0].path())).await);
    assert!(ips(&next).iter().all(|ip| !given.contains(ip)), "{next} was given a moment ago");
}

/// What can be put together again from the wires: everything but the pods' namespaces, which the next ADD brings.
fn known_by_wires(mut entries: Vec<Entry>) -> Vec<Entry> {
    entries.iter_mut().for_each(|entry| entry.netns = PathBuf::new());
    entries
}

#[tokio::test]
async fn restarts_lose_and_leak_nothing() {
    let node = Node::new("cni_restart").await;
    let pods: Vec<_> = (0..3).map(|i| Space::new(&format!("cni_restart_{i}"))).collect();
    let adds = |i: usize| ask("ADD", &format!("c{i}"), pods[i].path());
    let (cni, _) = node.agent(&RANGES).await;
    let mut results = Vec::new();
    for i in 0..3 {
        results.push(good(cni.handle(adds(i)).await));
    }
    let mut before = cni.entries().await;
    drop(cni);
    type Damage = fn(&Node);
    let damages: [(&str, Damage); 5] = [
        ("nothing happened", |_| {}),
        ("the file is gone", |node| fs::remove_file(node.state()).unwrap()),
        ("the file is cut off", |node| {
            let bytes = fs::read(node.state()).unwrap();
            fs::write(node.state(), &bytes[..bytes.len() / 2]).unwrap();
        }),
        ("a bit is wrong", |node| {
            let mut bytes = fs::read(node.state()).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            fs::write(node.state(), bytes).unwrap();
        }),
        ("the file is something else", |node| fs::write(node.state(), "\0\u{1}garbage").unwrap()),
    ];
    for (what, damage) in damages {
        damage(&node);
        let (cni, told) = node.agent(&RANGES).await;
        assert_eq!(known_by_wires(cni.entries().await), known_by_wires(before.clone()), "{what}");
        assert_eq!(told.pods.lock().unwrap().len(), 3, "{what}: the data path knows every pod again");
        assert_eq!(good(cni.handle(adds(1)).await), results[1], "{what}");
        let other = Space::new("cni_restart_other");
        let new = good(cni.handle(ask("ADD", "other", other.path())).await);
        assert!(results.iter().all(|result| ips(result) != ips(&new)), "{what}");
        good(cni.handle(ask("DEL", "other", other.path())).await);
    }
    for n in [1, 2] {
        assert!(node.directory.join(format!("pods.journal.corrupt-{n}")).exists());
    }
    // A pod whose namespace went without a DEL while no agent ran.
    node.wirer().remove(&before[2].host_ifname).unwrap();
    let (cni, _) = node.agent(&RANGES).await;
    before.pop();
    assert_eq!(known_by_wires(cni.entries().await), known_by_wires(before.clone()));
    // One whose wire breaks is wired again with what it had.
    node.wirer().remove(&before[0].host_ifname).unwrap();
    assert_eq!(good(cni.handle(adds(0)).await), results[0]);
    assert!(answers(&node.space.netns, ips(&results[0])[0]).await);
}

#[tokio::test]
async fn garbage_is_collected() {
    let node = Node::new("cni_gc").await;
    let (cni, told) = node.agent(&RANGES).await;
    let pods: Vec<_> = (0..4).map(|i| Space::new(&format!("cni_gc_{i}"))).collect();
    for (i, pod) in pods.iter().enumerate() {
        good(cni.handle(ask("ADD", &format!("c{i}"), pod.path())).await);
    }
    // A wire that no file tells of.
    let orphan = Space::new("cni_gc_orphan");
    let spec = kernel::pod::PodSpec {
        root: "/".into(),
        netns: orphan.path(),
        ifname: "eth0".into(),
        host_ifname: kernel::pod::host_ifname("orphan", "eth0"),
        ips: vec!["10.1.2.200".parse().unwrap()],
        mtu: 1420,
        note: String::new(),
        limits: Default::default(),
    };
    node.wirer().add(&spec).unwrap();
    let mut gc = ask("GC", "", "".into());
    assert_eq!(bad(cni.handle(gc.clone()).await).0, 7, "without a list nothing is deleted");
    assert_eq!(node.wires().await, 5);
    let keep = |container: &str| json!({"containerID": container, "ifname": "eth0"});
    gc.config["cni.dev/valid-attachments"] = json!([keep("c0"), keep("c2"), keep("elsewhere")]);
    assert!(good(cni.handle(gc.clone()).await).is_null());
    let left: Vec<String> = cni.entries().await.into_iter().map(|e| e.attachment.container_id).collect();
    assert_eq!(left, ["c0", "c2"]);
    assert_eq!((node.wires().await, told.pods.lock().unwrap().len()), (2, 2));
    gc.config["cni.dev/valid-attachments"] = json!([]);
    assert!(good(cni.handle(gc).await).is_null());
    assert_eq!(node.wires().await, 0);
}

#[tokio::test]
async fn the_hundredth_pod_is_as_quick_as_the_first() {
    let node = Node::new("cni_quick").await;
    let (cni, _) = node.agent(&RANGES).await;
    let pods: Vec<_> = (0..100).map(|i| Space::new(&format!("cni_quick_{i}"))).collect();
    let mut times = Vec::new();
    for (i, pod) in pods.iter().enumerate() {
        let begin = Instant::now();
        good(cni.handle(ask("ADD", &format!("c{i}"), pod.path())).await);
        times.push(begin.elapsed());
    }
    let median = |times: &[std::time::Duration]| {
        let mut sorted = times.to_vec();
        sorted.sort();
        sorted[sorted.len() / 2]
    };
    let (first, last) = (median(&times[..25]), median(&times[75..]));
    eprintln!(
        "ADD: median of the first 25 {first:?}, of the last 25 {last:?}, worst {:?}",
        times.iter().max()
    );
    assert!(last < first * 3, "it slows down with the number of pods: {first:?}, then {last:?}");
}
