//! One slice of the cluster's pod ranges for every node.

use ipnet::IpNet;
use model::overlaps;

use crate::file::LabCluster;

/// The slice of IPv4 and of IPv6 that a node gets when the range is wide enough.
const USUAL: (u8, u8) = (24, 64);

/// The smallest IPv4 slice that is of use.
pub const SMALLEST_SLICE_V4: u8 = 29;

/// The smallest IPv6 slice that is of use.
pub const SMALLEST_SLICE_V6: u8 = 120;

/// The ranges of every node's pods, in the order of the nodes and of the cluster's families; or the range that is
/// too small.
pub fn slices(lab: &LabCluster) -> Result<Vec<Vec<IpNet>>, IpNet> {
    let mut all = vec![Vec::new(); lab.nodes.len()];
    for (v4, sizes) in [(true, USUAL.0..=SMALLEST_SLICE_V4), (false, USUAL.1..=SMALLEST_SLICE_V6)] {
        let ranges: Vec<IpNet> = family(&lab.cluster.pod_cidrs, v4).collect();
        let Some(widest) = ranges.iter().min_by_key(|range| range.prefix_len()) else { continue };
        let given: Vec<Option<IpNet>> =
            lab.nodes.iter().map(|node| family(&node.pod_cidrs, v4).next()).collect();
        let wanted = given.iter().filter(|slice| slice.is_none()).count();
        let mut free = sizes
            .map(|len| cut(&ranges, &given, len, wanted))
            .find(|free| free.len() == wanted)
            .ok_or(*widest)?
            .into_iter();
        for (slot, given) in all.iter_mut().zip(given) {
            slot.extend(given.or_else(|| free.next()));
        }
    }
    Ok(all)
}

/// The first `wanted` slices of length `len` that nobody was given already.
fn cut(ranges: &[IpNet], given: &[Option<IpNet>], len: u8, wanted: usize) -> Vec<IpNet> {
    ranges
        .iter()
        .filter_map(|range| range.subnets(len).ok())
        .flatten()
        .filter(|slice| !given.iter().flatten().any(|given| overlaps(given, slice)))
        .take(wanted)
        .collect()
}

fn family(nets: &[IpNet], v4: bool) -> impl Iterator<Item = IpNet> {
    nets.iter().copied().filter(move |net| net.addr().is_ipv4() == v4)
}
