//! Which segment an address is found at.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::underlay::{Error, Segment};

/// Ranges in order, none within another.
pub(super) struct Table {
    ranges: Vec<(IpAddr, IpAddr, usize)>,
}

impl Table {
    pub(super) fn new(segments: &[Segment]) -> Result<Self, Error> {
        let ends = |net: &IpNet| (net.network(), net.broadcast());
        let mut ranges: Vec<(IpAddr, IpAddr, usize)> = segments
            .iter()
            .enumerate()
            .flat_map(|(i, segment)| segment.public.iter().map(move |net| (net, i)))
            .map(|(net, i)| (ends(net).0, ends(net).1, i))
            .collect();
        ranges.sort();
        match ranges.windows(2).find(|pair| pair[0].1 >= pair[1].0) {
            Some(pair) => Err(Error::Config(format!("{} is found at two segments", pair[1].0))),
            None => Ok(Self { ranges }),
        }
    }

    /// The index of the segment.
    pub(super) fn segment_of(&self, ip: IpAddr) -> Option<usize> {
        let after = self.ranges.partition_point(|(first, _, _)| *first <= ip);
        let (_, last, segment) = self.ranges[..after].last()?;
        (ip <= *last).then_some(*segment)
    }
}
