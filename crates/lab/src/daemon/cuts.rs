//! Machines kept apart: `lab cut` and `lab heal`, by a filter where each machine's cable meets its segment.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use kernel::bpf::Segment as Filter;
use nix::mount::{MsFlags, mount};

use crate::node::machine::Segment;
use crate::plan::Host;
use crate::state;

/// Every pair of machines that cannot hear each other, by the names of their namespaces, the smaller first.
pub(super) type Pairs = BTreeSet<(String, String)>;

/// Who is kept apart from whom.
pub(super) struct Cuts {
    segments: Vec<Arc<Segment>>,
    filter: Option<Filter>,
    pairs: Pairs,
    hosts: BTreeMap<String, Host>,
}

impl Cuts {
    /// Nobody. The filter is loaded when it is first needed.
    pub(super) fn new(segments: Vec<Arc<Segment>>) -> Self {
        Self { segments, filter: None, pairs: Pairs::new(), hosts: BTreeMap::new() }
    }

    /// Cuts these pairs, or joins them. Gives how many were not so before. A machine that is not up has no cable to
    /// watch; [`Cuts::reattach`] is for when it has one again. Blocks.
    pub(super) fn set(
        &mut self,
        pairs: &[(Host, Host)],
        cut: bool,
        is_up: impl Fn(&Host) -> bool,
    ) -> Result<usize> {
        let mut changed = 0;
        for (a, b) in pairs {
            let (first, second) = if a.netns < b.netns { (a, b) } else { (b, a) };
            let pair = (first.netns.clone(), second.netns.clone());
            changed += usize::from(if cut { self.pairs.insert(pair) } else { self.pairs.remove(&pair) });
            for host in [a, b] {
                if cut && !self.hosts.contains_key(&host.netns) {
                    if is_up(host) {
                        self.attach(host)?;
                    }
                    self.hosts.insert(host.netns.clone(), host.clone());
                }
            }
        }
        self.write()?;
        Ok(changed)
    }

    /// Watches the cable of a machine that was built anew, if anybody is kept from it. Blocks.
    pub(super) fn reattach(&mut self, host: &Host) -> Result<()> {
        if self.hosts.contains_key(&host.netns) { self.attach(host) } else { Ok(()) }
    }

    /// The pairs that are kept apart, by the names of their namespaces.
    pub(super) fn pairs(&self) -> &Pairs {
        &self.pairs
    }

    fn attach(&mut self, host: &Host) -> Result<()> {
        let segment = self.segments.iter().find(|segment| segment.location.number == host.location);
        let segment = Arc::clone(segment.context("the machine stands on no segment of this lab")?);
        let filter = match &mut self.filter {
            Some(filter) => filter,
            none => none.insert(load()?),
        };
        let port = Segment::port(host);
        let place = format!("location{}", host.location);
        segment.netns.run(|| filter.attach(&place, &port))??;
        Ok(())
    }

    fn write(&mut self) -> Result<()> {
        let Some(filter) = &mut self.filter else { return Ok(()) };
        let addresses = |name: &String| -> Vec<IpAddr> {
            let host = self.hosts.get(name);
            host.map(Host::seen_ips).unwrap_or_default()
        };
        let mut cuts = BTreeSet::new();
        for (a, b) in &self.pairs {
            for (from, to) in [(a, b), (b, a)] {
                for source in addresses(from) {
                    let same = |to: &IpAddr| to.is_ipv4() == source.is_ipv4();
                    cuts.extend(addresses(to).into_iter().filter(same).map(|to| (source, to)));
                }
            }
        }
        Ok(filter.set_cuts(&cuts)?)
    }
}

/// Loads the filter, pinned in a BPF file system of the lab's own: it goes when that is unmounted.
fn load() -> Result<Filter> {
    let folder = state::bpf();
    if !folder.exists() {
        std::fs::create_dir(&folder).context("making the folder for the lab's BPF objects")?;
        mount(Some("causeway-lab"), Path::new(&folder), Some("bpf"), MsFlags::empty(), Some("mode=0700"))
            .context("mounting a BPF file system for `lab cut`")?;
    }
    Ok(Filter::open(&folder.join("segment"))?)
}
