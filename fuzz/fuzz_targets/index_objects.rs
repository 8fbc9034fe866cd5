//! Objects as an API server may hand them over: whatever is in them, the index takes them or says what is wrong.
#![no_main]

use cluster::index::{Endpoints, Index};
use cluster::manifest::{Kind, Manifest};
use libfuzzer_sys::fuzz_target;
use model::{Cluster, ClusterId, ClusterName, World};
use serde::de::DeserializeOwned;

fn cluster() -> Cluster {
    Cluster {
        name: ClusterName::new("c").expect("a name"),
        id: ClusterId::new(1).expect("an id"),
        pod_cidrs: vec!["10.1.0.0/16".parse().expect("a range"), "fd00:1::/48".parse().expect("a range")],
        service_cidrs: vec!["10.101.0.0/16".parse().expect("a range")],
        clusterset_cidrs: vec![],
        peer_cidrs: vec![],
    }
}

fn read<T: DeserializeOwned + Into<Manifest>>(text: &str) -> Option<Manifest> {
    serde_json::from_str::<T>(text).ok().map(Into::into)
}

fn object(kind: Kind, text: &str) -> Option<Manifest> {
    use k8s_openapi::api::core::v1::{Namespace, Node, Pod, Service};
    match kind {
        Kind::Namespace => read::<Namespace>(text),
        Kind::Node => read::<Node>(text),
        Kind::Peer => read::<cluster::manifest::peer::Peer>(text),
        Kind::Service => read::<Service>(text),
        Kind::Deployment => read::<k8s_openapi::api::apps::v1::Deployment>(text),
        Kind::Pod => read::<Pod>(text),
        Kind::EndpointSlice => read::<k8s_openapi::api::discovery::v1::EndpointSlice>(text),
        Kind::NetworkPolicy => read::<k8s_openapi::api::networking::v1::NetworkPolicy>(text),
        Kind::ClusterNetworkPolicy => read::<cluster::manifest::policy::ClusterNetworkPolicy>(text),
        Kind::CiliumNetworkPolicy => read::<cluster::manifest::cilium::CiliumNetworkPolicy>(text),
        Kind::CiliumClusterwideNetworkPolicy => {
            read::<cluster::manifest::cilium::CiliumClusterwideNetworkPolicy>(text)
        }
        Kind::ServiceExport => read::<cluster::manifest::multicluster::ServiceExport>(text),
        Kind::ServiceImport => read::<cluster::manifest::multicluster::ServiceImport>(text),
    }
}

// Lines of `KIND JSON`, taken in one after the other, and out again.
fuzz_target!(|text: &str| {
    for endpoints in [Endpoints::FromSelectors, Endpoints::FromSlices] {
        let mut index = Index::new(cluster(), endpoints);
        let mut world = World::default();
        let mut ids = Vec::new();
        for line in text.lines() {
            let Some((kind, json)) = line.split_once(' ') else { continue };
            let Some(object) = kind.parse().ok().and_then(|kind| object(kind, json)) else { continue };
            ids.push(object.id());
            for change in index.apply(&object) {
                assert!(world.apply(change), "what is said changes something");
            }
        }
        for id in ids {
            for change in index.delete(&id) {
                assert!(world.apply(change), "what is taken back was said");
            }
        }
        assert!(world.is_empty(), "nothing stays of what is gone");
        assert!(index.notes().is_empty());
        assert!(index.take_complaints().iter().all(|(_, complaints)| complaints.is_empty()));
        assert!(Kind::ALL.iter().all(|kind| index.ids(*kind).is_empty()));
    }
});
