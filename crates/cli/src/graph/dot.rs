//! The graph in Graphviz' language: `dot -Kfdp -Tsvg`.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::sites::{Graph, State};

/// Writes the graph.
pub(super) fn write(graph: &Graph) -> String {
    let mut text = String::from(
        "graph causeway {\n  layout=fdp; overlap=false; splines=true;\n  \
         node [shape=box, style=\"rounded,filled\", fillcolor=white, fontname=\"sans-serif\"];\n  \
         edge [fontname=\"sans-serif\", fontsize=10];\n",
    );
    for (n, location) in graph.locations.iter().enumerate() {
        let _ = writeln!(text, "  subgraph cluster_{n} {{\n    label={};", quoted(&location.title()));
        text += "    style=\"rounded,filled\"; fillcolor=\"#eef2f7\"; color=\"#94a3b8\"; fontname=\"sans-serif\";\n";
        for node in &location.nodes {
            let label = if node.zone.is_empty() {
                quoted(&node.name.node)
            } else {
                quoted(&format!("{}\n{}", node.name.node, node.zone))
            };
            let colour = match node.state {
                State::Ready | State::Reached => "#16a34a",
                State::Waiting => "#d97706",
                State::Dead => "#dc2626",
            };
            let _ =
                writeln!(text, "    {} [label={label}, color=\"{colour}\"];", quoted(&node.name.to_string()));
        }
        text += "  }\n";
    }
    for tunnel in &graph.tunnels {
        let style = if tunnel.alive { "color=\"#64748b\"" } else { "color=\"#dc2626\", style=dashed" };
        let (a, b) = (quoted(&tunnel.a.to_string()), quoted(&tunnel.b.to_string()));
        let label = format!("{} {}", tunnel.rtt(), tunnel.way());
        let _ = writeln!(text, "  {a} -- {b} [label={}, {style}];", quoted(label.trim()));
    }
    let mut named = BTreeSet::new();
    for peer in &graph.peers {
        // One that is away is nothing to worry about.
        let style = if peer.alive { "color=\"#0f766e\"" } else { "color=\"#94a3b8\", style=dashed" };
        let (id, node) = (quoted(&format!("peer {}", peer.peer)), quoted(&peer.node.to_string()));
        if named.insert(&peer.peer) {
            let label = quoted(&peer.peer);
            let _ = writeln!(text, "  {id} [label={label}, shape=ellipse, style=filled, color=\"#0f766e\"];");
        }
        let _ = writeln!(text, "  {id} -- {node} [{style}];");
    }
    text.push('}');
    text
}

/// A quoted string of the language: only quotes and line ends need care, and backslashes before them.
fn quoted(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!("\"{escaped}\"")
}
