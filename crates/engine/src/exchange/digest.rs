//! A key in eight bytes: how a teller says that an object is as it was.

use std::hash::Hasher;

use model::{Key, ServiceKey};
use siphasher::sip::SipHasher13;

/// Stands for a key in one log. Two keys of a log that have the same are as likely as a disk that lies; the next log
/// has other numbers. It is no secret: a teller that lies with it lies about its own objects.
pub fn digest(epoch: u64, key: &Key) -> u64 {
    let mut hasher = SipHasher13::new_with_keys(epoch, 0x6b65_6570);
    let mut text = |text: &str| {
        hasher.write(text.as_bytes());
        hasher.write_u8(0xff);
    };
    let mut service = |key: &ServiceKey| {
        text(key.cluster.as_str());
        text(&key.name.namespace);
        text(&key.name.name);
    };
    // The kinds' numbers in the protocol.
    let kind = match key {
        Key::Cluster(name) => {
            text(name.as_str());
            1
        }
        Key::Node(name) => {
            text(name.cluster.as_str());
            text(&name.node);
            2
        }
        Key::Peer(name) => {
            text(name.cluster.as_str());
            text(&name.peer);
            9
        }
        Key::Service(key) => {
            service(key);
            3
        }
        Key::Endpoint(key) => {
            service(&key.service);
            text(&key.name);
            4
        }
        Key::Import(key) => {
            service(key);
            5
        }
        Key::Policy(name) => {
            text(name.cluster.as_str());
            text(name.kind.as_str());
            text(&name.namespace);
            text(&name.name);
            6
        }
        Key::Namespace(name) => {
            text(name.cluster.as_str());
            text(&name.name);
            7
        }
        Key::Pod(name) => {
            text(name.namespace.cluster.as_str());
            text(&name.namespace.name);
            text(&name.name);
            8
        }
    };
    hasher.write_u8(kind);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{NodeName, ObjectName};

    /// Both ends of a stream compute these, whatever they were built with: they may never change.
    #[test]
    fn numbers_stay() {
        let cluster = || "aws".parse().unwrap();
        let service = ServiceKey { cluster: cluster(), name: ObjectName::new("demo", "echo").unwrap() };
        let keys = [
            Key::Cluster(cluster()),
            Key::Node(NodeName::new(cluster(), "n1").unwrap()),
            Key::Service(service.clone()),
            Key::Import(service),
        ];
        let numbers: std::collections::BTreeSet<u64> = keys.iter().map(|key| digest(7, key)).collect();
        assert_eq!(numbers.len(), keys.len());
        assert_ne!(digest(7, &keys[0]), digest(8, &keys[0]));
        assert_eq!(digest(7, &keys[0]), NUMBER);
    }

    const NUMBER: u64 = 1_870_465_668_748_748_890;
}
