//! The graph as a picture that stands alone: no script, no font, no link.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::layout::{Layout, NODE_HEIGHT, Rect, layout};
use super::sites::{Graph, State, Tunnel};

/// Of each cluster in turn: a box's border, and its background.
const COLOURS: [(&str, &str); 8] = [
    ("#2563eb", "#eff6ff"),
    ("#ea580c", "#fff7ed"),
    ("#7c3aed", "#f5f3ff"),
    ("#0d9488", "#f0fdfa"),
    ("#db2777", "#fdf2f8"),
    ("#65a30d", "#f7fee7"),
    ("#0891b2", "#ecfeff"),
    ("#b45309", "#fffbeb"),
];

const STYLE: &str = "\
text{font-family:system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif;fill:#0f172a}\
.h{font-size:20px;font-weight:600}.s{font-size:13px;fill:#64748b}.l{font-size:14px;font-weight:600}\
.n{font-size:13px;font-weight:600}.z{font-size:11px;fill:#64748b}.r{font-size:12px;font-weight:600}\
.t{fill:none;stroke:#64748b;stroke-width:1.4}.d{fill:none;stroke:#dc2626;stroke-width:1.8;stroke-dasharray:6 4}\
.p{fill:none;stroke:#0f766e;stroke-width:1.4}.o{fill:none;stroke:#94a3b8;stroke-width:1.4;stroke-dasharray:3 4}";

/// Draws the graph.
pub(super) fn write(graph: &Graph) -> String {
    let layout = layout(graph);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{w:.0}\" height=\"{h:.0}\" viewBox=\"0 0 {w:.0} {h:.0}\" \
         role=\"img\" aria-label=\"Nodes by location and the tunnels between them\">\n<style>{STYLE}</style>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n",
        w = layout.width,
        h = layout.height,
    );
    heading(&mut svg, graph);
    boxes(&mut svg, graph, &layout);
    lines(&mut svg, graph, &layout);
    peer_lines(&mut svg, graph, &layout);
    nodes(&mut svg, graph, &layout);
    peers(&mut svg, graph, &layout);
    labels(&mut svg, graph, &layout);
    svg += "</svg>";
    svg
}

fn heading(svg: &mut String, graph: &Graph) {
    let nodes: usize = graph.locations.iter().map(|location| location.nodes.len()).sum();
    let up = graph.tunnels.iter().filter(|tunnel| tunnel.alive).count();
    let connected = connected(graph);
    let peers = match (connected.values().filter(|alive| **alive).count(), connected.len()) {
        (_, 0) => String::new(),
        (alive, all) => format!(", {alive} of {all} peers connected"),
    };
    let _ = writeln!(
        svg,
        "<text class=\"h\" x=\"40\" y=\"38\">Causeway</text>\n<text class=\"s\" x=\"40\" y=\"58\">{nodes} nodes in {} \
         locations, {up} of {} tunnels up{peers}</text>",
        graph.locations.len(),
        graph.tunnels.len(),
    );
}

/// The peers that are no nodes, and whether any node has agreed on keys with them lately.
fn connected(graph: &Graph) -> BTreeMap<&str, bool> {
    let mut connected = BTreeMap::new();
    for peer in &graph.peers {
        *connected.entry(peer.peer.as_str()).or_default() |= peer.alive;
    }
    connected
}

/// From a peer up to each node that it has a tunnel with. One that is away is nothing to worry about.
fn peer_lines(svg: &mut String, graph: &Graph, layout: &Layout<'_>) {
    for peer in &graph.peers {
        let (Some((l, n)), Some(from)) = (graph.find(&peer.node), layout.peers.get(peer.peer.as_str()))
        else {
            continue;
        };
        let (class, said) = if peer.alive { ("p", "") } else { ("o", ": not connected") };
        let title = [peer.peer.as_str(), " – ", &peer.node.to_string(), said].concat();
        let path = straight(from, &layout.nodes[l][n]);
        let _ = writeln!(
            svg,
            "<path class=\"{class}\" opacity=\"0.7\" d=\"{path}\"><title>{}</title></path>",
            escaped(&title)
        );
    }
}

fn peers(svg: &mut String, graph: &Graph, layout: &Layout<'_>) {
    for (name, alive) in connected(graph) {
        let Some(rect) = layout.peers.get(name) else { continue };
        let (colour, state) = if alive { ("#16a34a", "connected") } else { ("#94a3b8", "not connected") };
        let middle = rect.y + rect.height / 2.0;
        let _ = writeln!(
            svg,
            "<g><title>peer {}: {state}</title><rect {} rx=\"{:.1}\" fill=\"#ffffff\" stroke=\"#0f766e\"/>\
             <circle cx=\"{:.1}\" cy=\"{middle:.1}\" r=\"4.5\" fill=\"{colour}\"/>\
             <text class=\"n\" x=\"{:.1}\" y=\"{:.1}\">{}</text></g>",
            escaped(name),
            rectangle(rect),
            rect.height / 2.0,
            rect.x + 16.0,
            rect.x + 27.0,
            middle + 4.5,
            escaped(name),
        );
    }
}

fn boxes(svg: &mut String, graph: &Graph, layout: &Layout<'_>) {
    let mut colours = BTreeMap::new();
    for (location, rect) in graph.locations.iter().zip(&layout.locations) {
        let next = COLOURS[colours.len() % COLOURS.len()];
        let (border, background) = *colours.entry(&location.cluster).or_insert(next);
        let _ = writeln!(
            svg,
            "<rect {} rx=\"14\" fill=\"{background}\" stroke=\"{border}\" stroke-width=\"1.5\"/>\n\
             <text class=\"l\" x=\"{:.1}\" y=\"{:.1}\" style=\"fill:{border}\">{}</text>",
            rectangle(rect),
            rect.x + 15.0,
            rect.y + 23.0,
            escaped(&location.title()),
        );
    }
}

/// Straight lines between locations, arcs beside the nodes inside one.
fn lines(svg: &mut String, graph: &Graph, layout: &Layout<'_>) {
    // Many lines are a texture, few are lines.
    let opacity = (24.0 / graph.tunnels.len().max(1) as f64).clamp(0.12, 0.55);
    let (up, down): (Vec<_>, Vec<_>) = graph.tunnels.iter().partition(|tunnel| tunnel.alive);
    for (tunnels, class, opacity) in [(up, "t", opacity), (down, "d", 0.9)] {
        let _ = writeln!(svg, "<g class=\"{class}\" opacity=\"{opacity:.2}\">");
        for tunnel in tunnels {
            let (Some(a), Some(b)) = (graph.find(&tunnel.a), graph.find(&tunnel.b)) else { continue };
            let (from, to) = (layout.nodes[a.0][a.1], layout.nodes[b.0][b.1]);
            let path = if a.0 == b.0 { arc(&from, &to) } else { straight(&from, &to) };
            let title = [tunnel.a.to_string(), " – ".into(), tunnel.b.to_string(), said(tunnel)].concat();
            let _ = writeln!(svg, "<path d=\"{path}\"><title>{}</title></path>", escaped(&title));
        }
        svg.push_str("</g>\n");
    }
}

fn said(tunnel: &Tunnel) -> String {
    match (tunnel.alive, tunnel.rtt_ms) {
        (true, Some(_)) => format!(": {} {}", tunnel.rtt(), tunnel.way()).trim_end().to_string(),
        (true, None) => String::new(),
        (false, _) => ": down".into(),
    }
}

fn straight(from: &Rect, to: &Rect) -> String {
    let ((x1, y1), (x2, y2)) = (from.centre(), to.centre());
    format!("M{x1:.1} {y1:.1}L{x2:.1} {y2:.1}")
}

/// Out of the right side of one node and into that of the other; the further apart, the wider.
fn arc(from: &Rect, to: &Rect) -> String {
    let (y1, y2) = (from.centre().1, to.centre().1);
    let (x1, x2) = (from.x + from.width, to.x + to.width);
    if (x1 - x2).abs() > 1.0 {
        return straight(from, to);
    }
    let steps = ((y1 - y2).abs() / NODE_HEIGHT).min(4.0);
    let out = x1 + 6.0 + 5.0 * steps;
    format!("M{x1:.1} {y1:.1}C{out:.1} {y1:.1} {out:.1} {y2:.1} {x2:.1} {y2:.1}")
}

fn nodes(svg: &mut String, graph: &Graph, layout: &Layout<'_>) {
    for (location, rects) in graph.locations.iter().zip(&layout.nodes) {
        for (node, rect) in location.nodes.iter().zip(rects) {
            let (colour, state) = match node.state {
                State::Ready => ("#16a34a", "ready"),
                State::Reached => ("#16a34a", "answers"),
                State::Waiting => ("#d97706", "not ready"),
                State::Dead => ("#dc2626", "does not answer"),
            };
            let (x, middle) = (rect.x, rect.y + rect.height / 2.0);
            let name_y = if node.zone.is_empty() { middle + 4.5 } else { middle - 2.5 };
            let _ = writeln!(
                svg,
                "<g><title>{}: {state}</title><rect {} rx=\"8\" fill=\"#ffffff\" stroke=\"#cbd5e1\"/>\
                 <circle cx=\"{:.1}\" cy=\"{middle:.1}\" r=\"4.5\" fill=\"{colour}\"/>\
                 <text class=\"n\" x=\"{:.1}\" y=\"{name_y:.1}\">{}</text>\
                 <text class=\"z\" x=\"{:.1}\" y=\"{:.1}\">{}</text></g>",
                escaped(&node.name.to_string()),
                rectangle(rect),
                x + 14.0,
                x + 26.0,
                escaped(&node.name.node),
                x + 26.0,
                middle + 12.5,
                escaped(&node.zone),
            );
        }
    }
}

/// One label for each pair of locations: the median time between them, and what is down.
fn labels(svg: &mut String, graph: &Graph, layout: &Layout<'_>) {
    let mut pairs: BTreeMap<(usize, usize), Vec<&Tunnel>> = BTreeMap::new();
    for tunnel in &graph.tunnels {
        if let (Some((a, _)), Some((b, _))) = (graph.find(&tunnel.a), graph.find(&tunnel.b)) {
            pairs.entry((a.min(b), a.max(b))).or_default().push(tunnel);
        }
    }
    for ((a, b), tunnels) in pairs {
        let mut times: Vec<f64> = tunnels.iter().filter(|t| t.alive).filter_map(|t| t.rtt_ms).collect();
        times.sort_by(f64::total_cmp);
        let median = times.get(times.len() / 2).map(|ms| crate::status::milliseconds(*ms));
        let down = tunnels.iter().filter(|tunnel| !tunnel.alive).count();
        let text = match (median, down) {
            (Some(median), 0) => median,
            (Some(median), down) => format!("{median}, {down} down"),
            (None, 0) => continue,
            (None, down) => format!("{down} down"),
        };
        let ((x1, y1), (x2, y2)) = (layout.locations[a].centre(), layout.locations[b].centre());
        // Inside a location: in the corner of its box. Between two: off the middle, where diagonals would meet.
        let (x, y) = if a == b {
            let rect = layout.locations[a];
            (rect.x + rect.width - pill_width(&text) / 2.0 - 10.0, rect.y + 18.0)
        } else {
            let part = if graph.locations.len() > 3 { 0.44 } else { 0.5 };
            (x1 + (x2 - x1) * part, y1 + (y2 - y1) * part)
        };
        pill(svg, x, y, &text, if down > 0 { "#dc2626" } else { "#475569" });
    }
}

fn pill(svg: &mut String, x: f64, y: f64, text: &str, colour: &str) {
    let width = pill_width(text);
    let rect = Rect { x: x - width / 2.0, y: y - 11.0, width, height: 22.0 };
    let _ = writeln!(
        svg,
        "<rect {} rx=\"11\" fill=\"#ffffff\" stroke=\"#cbd5e1\"/><text class=\"r\" x=\"{x:.1}\" y=\"{:.1}\" \
         text-anchor=\"middle\" style=\"fill:{colour}\">{}</text>",
        rectangle(&rect),
        y + 4.2,
        escaped(text),
    );
}

fn pill_width(text: &str) -> f64 {
    text.chars().count() as f64 * 6.8 + 18.0
}

fn rectangle(rect: &Rect) -> String {
    format!(
        "x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\"",
        rect.x, rect.y, rect.width, rect.height
    )
}

/// Text as XML wants it (XML 1.0 §2.4).
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
