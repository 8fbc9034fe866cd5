//! Where everything stands in the picture: locations on a ring, their nodes in columns inside.

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

/// The picture's size, each location's box, and in it each node's.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Layout {
    pub(super) width: f64,
    pub(super) height: f64,
    pub(super) locations: Vec<Rect>,
    pub(super) nodes: Vec<Vec<Rect>>,
}

/// Places everything.
pub(super) fn layout(graph: &Graph) -> Layout {
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
        return Layout { width: 420.0, height: HEADING + MARGIN, locations, nodes: vec![] };
    }
    let width = (right - left + 2.0 * MARGIN).max(420.0);
    let shift = (width - (right - left)) / 2.0 - left;
    for location in &mut locations {
        location.x += shift;
        location.y += HEADING + MARGIN / 2.0 - top;
    }
    let nodes =
        graph.locations.iter().zip(&locations).map(|(location, rect)| place_nodes(location, rect)).collect();
    Layout { width, height: bottom - top + HEADING + 1.5 * MARGIN, locations, nodes }
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
