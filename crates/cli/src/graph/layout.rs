//! Where everything stands in the picture: locations on a ring, their nodes in columns inside; below it peers that are no nodes.

use std::collections::BTreeMap;

use super::sites::{Graph, Location};

/// Width of one character of a node's name, at the size the picture is drawn with.
const LETTER: f64 = 7.4;
/// Height of a node.
pub(super) const NODE_HEIGHT: f64 = 40.0;
/// Between nodes, and around them.
const GAP: f64 = 14.0;
/// Of a location's title.
const TITLE: f64 = 34.0;
/// Room beside the title, for a label.
const LABEL: f64 = 76.0;
/// A location taller than this gets a further column.
const ROWS: usize = 5;
/// Least distance between two locations: room for a label.
const BETWEEN: f64 = 150.0;
/// Around it all; above, the heading.
const MARGIN: f64 = 40.0;
/// Height of a peer that is no node.
const PEER_HEIGHT: f64 = 30.0;
/// Between the last location and the first row of peers: room for lines.
const ABOVE_PEERS: f64 = 64.0;
/// Height of the heading.
const HEADING: f64 = 64.0;

/// A rectangle.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Rect {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) width: f64,
    pub(super) height: f64,
}

impl Rect {
    /// Its middle.
    pub(super) fn centre(&self) -> (f64, f64) {
        (self.x + self.width / 2.0, self.y + self.height / 2.0)
    }
}

/// The picture's size, each location's box, and in it each node's; and that of each peer that is no node.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Layout<'a> {
    pub(super) width: f64,
    pub(super) height: f64,
    pub(super) locations: Vec<Rect>,
    pub(super) nodes: Vec<Vec<Rect>>,
    pub(super) peers: BTreeMap<&'a str, Rect>,
}

/// Places everything.
pub(super) fn layout(graph: &Graph) -> Layout<'_> {
    let sizes: Vec<_> = graph.locations.iter().map(size).collect();
    let largest = |side: fn(&(f64, f64)) -> f64| sizes.iter().map(side).fold(0.0, f64::max);
    let (widest, tallest) = (largest(|s| s.0), largest(|s| s.1));
    let (rx, ry) = radii(sizes.len(), widest, tallest);

    let mut locations = Vec::new();
    for (n, (width, height)) in sizes.iter().enumerate() {
        let (x, y) = on_ring(n, sizes.len(), rx, ry);
        locations.push(Rect { x: x - width / 2.0, y: y - height / 2.0, width: *width, height: *height });
    }
    // Move all of it so that nothing is left of or above the margin.
    let edge = |side: fn(&Rect) -> f64, pick: fn(f64, f64) -> f64, start: f64| {
        locations.iter().map(side).fold(start, pick)
    };
    let (left, right) = (edge(|r| r.x, f64::min, f64::MAX), edge(|r| r.x + r.width, f64::max, f64::MIN));
    let (top, bottom) = (edge(|r| r.y, f64::min, f64::MAX), edge(|r| r.y + r.height, f64::max, f64::MIN));
    if locations.is_empty() {
        let (nodes, peers) = (Vec::new(), BTreeMap::new());
        return Layout { width: 420.0, height: HEADING + MARGIN, locations, nodes, peers };
    }
    let widest_peer = graph.peers.iter().map(|peer| peer_width(&peer.peer)).fold(0.0, f64::max);
    let width = (right - left).max(widest_peer).max(420.0 - 2.0 * MARGIN) + 2.0 * MARGIN;
    let shift = (width - (right - left)) / 2.0 - left;
    for location in &mut locations {
        location.x += shift;
        location.y += HEADING + MARGIN / 2.0 - top;
    }
    let nodes: Vec<Vec<Rect>> =
        graph.locations.iter().zip(&locations).map(|(location, rect)| place_nodes(location, rect)).collect();
    let below = bottom - top + HEADING + MARGIN / 2.0;
    let peers = place_peers(graph, &nodes, width, below + ABOVE_PEERS);
    let lowest = peers.values().map(|rect| rect.y + rect.height).fold(below, f64::max);
    Layout { width, height: lowest + MARGIN, locations, nodes, peers }
}

/// In rows, each in the middle, in the order in which their nodes stand above.
fn place_peers<'a>(graph: &'a Graph, nodes: &[Vec<Rect>], width: f64, top: f64) -> BTreeMap<&'a str, Rect> {
    let mut above: BTreeMap<&str, f64> = BTreeMap::new();
    for peer in &graph.peers {
        let x = graph.find(&peer.node).map_or(0.0, |(l, n)| nodes[l][n].centre().0);
        above.entry(&peer.peer).or_insert(x);
    }
    let mut order: Vec<(&str, f64)> = above.into_iter().collect();
    order.sort_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(b.0)));
    let mut rows: Vec<(f64, Vec<&str>)> = Vec::new();
    for (name, _) in order {
        let more = peer_width(name) + GAP;
        match rows.last_mut() {
            Some((taken, row)) if *taken + more <= width - 2.0 * MARGIN + GAP => {
                *taken += more;
                row.push(name);
            }
            _ => rows.push((more, vec![name])),
        }
    }
    let mut placed = BTreeMap::new();
    for (n, (taken, row)) in rows.into_iter().enumerate() {
        let mut x = (width - (taken - GAP)) / 2.0;
        for name in row {
            let y = top + n as f64 * (PEER_HEIGHT + GAP);
            placed.insert(name, Rect { x, y, width: peer_width(name), height: PEER_HEIGHT });
            x += peer_width(name) + GAP;
        }
    }
    placed
}

fn peer_width(name: &str) -> f64 {
    name.chars().count() as f64 * LETTER + 38.0
}

/// Half axes of the ring on which neighbours keep their distance.
fn radii(count: usize, widest: f64, tallest: f64) -> (f64, f64) {
    let (across, down) = (widest + BETWEEN, tallest + BETWEEN * 0.75);
    match count {
        0 | 1 => (0.0, 0.0),
        2 => (across / 2.0, 0.0),
        n => {
            let step = std::f64::consts::PI / n as f64;
            // Neighbours on a ring of radius r are 2 r sin(step) apart.
            (across / (2.0 * step.sin()), (down / (2.0 * step.sin())).max(across / (2.6 * step.sin()) * 0.72))
        }
    }
}

/// From the left for two, from the top for more, clockwise.
fn on_ring(n: usize, count: usize, rx: f64, ry: f64) -> (f64, f64) {
    let start = if count == 2 { std::f64::consts::PI } else { -std::f64::consts::FRAC_PI_2 };
    let angle = start + std::f64::consts::TAU * n as f64 / count as f64;
    (rx * angle.cos(), ry * angle.sin())
}

fn columns(location: &Location) -> usize {
    location.nodes.len().div_ceil(ROWS).max(1)
}

fn rows(location: &Location) -> usize {
    location.nodes.len().div_ceil(columns(location)).max(1)
}

fn node_width(location: &Location) -> f64 {
    let longest =
        location.nodes.iter().flat_map(|node| [node.name.node.chars().count(), node.zone.chars().count()]);
    longest.max().unwrap_or(0) as f64 * LETTER + 38.0
}

fn size(location: &Location) -> (f64, f64) {
    let (columns, rows) = (columns(location) as f64, rows(location) as f64);
    let nodes = columns * (node_width(location) + GAP) + GAP;
    let title = location.title().chars().count() as f64 * (LETTER + 1.2) + 2.0 * GAP + LABEL;
    (nodes.max(title), TITLE + rows * (NODE_HEIGHT + GAP) + 4.0)
}

fn place_nodes(location: &Location, rect: &Rect) -> Vec<Rect> {
    let (columns, rows) = (columns(location), rows(location));
    // Nodes fill the box, whose title may be wider than they are.
    let width = (rect.width - GAP) / columns as f64 - GAP;
    let place = |n: usize| Rect {
        x: rect.x + GAP + (n / rows) as f64 * (width + GAP),
        y: rect.y + TITLE + (n % rows) as f64 * (NODE_HEIGHT + GAP),
        width,
        height: NODE_HEIGHT,
    };
    (0..location.nodes.len()).map(place).collect()
}
