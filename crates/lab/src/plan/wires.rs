//! What lies between each two locations.

use std::time::Duration;

use super::{Location, Wire};
use crate::file::{End, Link, Shape};

/// Between clusters about which the file says nothing.
pub const DEFAULT_BETWEEN_CLUSTERS: Shape =
    Shape { rtt: Duration::from_millis(20), loss: 0.0, rate: None, mtu: None };

/// Between locations of one cluster about which the file says nothing.
pub const DEFAULT_BETWEEN_LOCATIONS: Shape =
    Shape { rtt: Duration::from_millis(10), loss: 0.0, rate: None, mtu: None };

/// A wire for each pair. Of several links that fit a pair the one that names more locations wins.
pub(super) fn between(locations: &[Location], links: &[Link]) -> Vec<Wire> {
    let mut wires = Vec::new();
    for (i, a) in locations.iter().enumerate() {
        for b in &locations[i + 1..] {
            let said = links
                .iter()
                .filter_map(|link| Some((fit(link, a, b)?, link.shape)))
                .max_by_key(|(fit, _)| *fit);
            let shape = match said {
                Some((_, shape)) => shape,
                None if a.cluster == b.cluster => DEFAULT_BETWEEN_LOCATIONS,
                None => DEFAULT_BETWEEN_CLUSTERS,
            };
            wires.push(Wire { between: [a.number, b.number], shape, up: true });
        }
    }
    wires
}

/// How many locations a link that fits the pair names.
fn fit(link: &Link, a: &Location, b: &Location) -> Option<usize> {
    let [x, y] = &link.between;
    let straight = matches(x, a) && matches(y, b);
    let crossed = matches(x, b) && matches(y, a);
    (straight || crossed).then(|| [x, y].iter().filter(|end| end.location.is_some()).count())
}

fn matches(end: &End, location: &Location) -> bool {
    end.cluster == location.cluster && end.location.as_ref().is_none_or(|name| *name == location.name)
}
