//! Which clients there are.

use anyhow::Result;
use k8s_openapi::jiff::Timestamp;
use link::clock::now;
use model::{Gateways, Peer};
use serde_json::{Value, json};

use super::view::View;
use crate::status::{Output, table};

pub(super) fn list(view: &View, output: Output) -> Result<()> {
    let all: Vec<Value> = view.world.peers.values().map(|peer| described(view, peer)).collect();
    match output {
        Output::Json => println!("{}", serde_json::to_string_pretty(&all)?),
        Output::Text if all.is_empty() => println!("no peers; see: causeway peer add --help"),
        Output::Text => {
            let rows = all.iter().map(|peer| {
                let several = |key: &str| {
                    let values = peer[key].as_array().into_iter().flatten().filter_map(Value::as_str);
                    values.collect::<Vec<_>>().join(", ")
                };
                let text = |key: &str| peer[key].as_str().unwrap_or("-").to_string();
                let state = match (peer["expired"].as_bool(), several("problems")) {
                    (Some(true), _) => "expired".into(),
                    (_, problems) if problems.is_empty() => "ok".into(),
                    (_, problems) => problems,
                };
                vec![
                    text("cluster"),
                    text("name"),
                    several("allowedIPs"),
                    several("gateways"),
                    text("expires"),
                    state,
                ]
            });
            let head = ["CLUSTER", "NAME", "ADDRESSES", "GATEWAYS", "EXPIRES", "STATE"];
            print!("{}", table(&head, rows, &[]));
        }
    }
    Ok(())
}

pub(super) fn one(view: &View, name: &str, output: Output) -> Result<()> {
    let peer = described(view, view.own(name)?);
    match output {
        Output::Json => println!("{}", serde_json::to_string_pretty(&peer)?),
        Output::Text => {
            for (key, value) in peer.as_object().into_iter().flatten() {
                let text = match value {
                    Value::Null => continue,
                    Value::String(text) => text.clone(),
                    Value::Array(all) if all.is_empty() => continue,
                    Value::Array(all) => {
                        let words =
                            all.iter().map(|one| one.as_str().map_or_else(|| one.to_string(), Into::into));
                        words.collect::<Vec<_>>().join(", ")
                    }
                    other => other.to_string(),
                };
                println!("{key}: {text}");
            }
        }
    }
    Ok(())
}

/// A peer, for programs: the names of the fields are a contract.
fn described(view: &View, peer: &Peer) -> Value {
    let (standings, problems) = view.standings();
    let standing = standings.iter().find(|standing| standing.peer.name == peer.name);
    let gateways = standing.into_iter().flat_map(|standing| &standing.gateways);
    let about = problems.iter().filter(|problem| problem.peer() == Some(&peer.name));
    let chosen = match &peer.gateways {
        Gateways::All => vec!["all".to_string()],
        Gateways::Named(nodes) => nodes.clone(),
    };
    json!({
        "cluster": peer.name.cluster,
        "name": peer.name.peer,
        "publicKey": peer.public_key,
        "allowedIPs": peer.allowed_ips,
        "allow": peer.allow.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "gateway": chosen,
        "gateways": gateways.map(|node| node.name.node.clone()).collect::<Vec<_>>(),
        "endpoint": peer.endpoint.as_ref().map(ToString::to_string),
        "persistentKeepalive": peer.keepalive,
        "expires": peer.expires.and_then(|at| Timestamp::from_second(at).ok()).map(|at| at.to_string()),
        "expired": peer.has_expired(now()),
        "labels": peer.all_labels(),
        "problems": about.map(ToString::to_string).collect::<Vec<_>>(),
    })
}
