//! A lab file and a manifest, given anything at all: refused with a place, or a lab whose plan can be made and holds
//! together.
#![no_main]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use lab::file::{Error, parse};
use lab::plan::Plan;
use libfuzzer_sys::fuzz_target;

/// What parts the lab file from the manifest that it names.
const CUT: &str = "\n%%%\n";

fuzz_target!(|text: &str| {
    let (file, manifest) = text.split_once(CUT).unwrap_or((text, ""));
    let read = |name: &str| Ok((PathBuf::from(name), manifest.to_string()));
    let lab = match parse(Path::new("lab.yaml"), file, read) {
        Ok(lab) => lab,
        Err(Error::Wrong(error)) => {
            assert!(error.line > 0 && error.column > 0, "{error}");
            return;
        }
        Err(error) => panic!("text that is given cannot be unreadable: {error}"),
    };
    let plan = Plan::new(&lab);
    let mut addresses = BTreeSet::new();
    let mut namespaces = BTreeSet::new();
    let controllers = plan.clusters.iter().map(|cluster| &cluster.controller);
    for host in plan.nodes().map(|node| &node.host).chain(controllers) {
        for address in host.private_ips().into_iter().chain(host.public_ips()) {
            assert!(addresses.insert(address), "{address} twice");
        }
        assert!(host.netns.len() <= 255 && namespaces.insert(&host.netns), "{}", host.netns);
    }
    let slices: Vec<_> = plan.nodes().flat_map(|node| &node.pod_cidrs).collect();
    for (i, slice) in slices.iter().enumerate() {
        assert!(!slices[..i].iter().any(|other| model::overlaps(other, slice)), "{slice} overlaps");
    }
});
