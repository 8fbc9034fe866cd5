//! What nodes share beside their tunnels: pre-shared keys, and VXLAN inside a location.

use cluster::index::location;
use cluster::kubernetes::meshnode::{MeshNode, MeshNodeStatus};
use engine::preshared::{self, Generation};
use install::Settings;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{Node, Secret};
use k8s_openapi::jiff::Timestamp;
use kube::{Api, Client, ResourceExt as _};
use model::mesh::Transport;

use super::after::some;
use super::finding::Finding;

const KEYS: &str = "pre-shared keys";
/// A generation that is older may well be followed by another.
const OLD_DAYS: i64 = 366;

/// What became of looking for the Secret.
pub(super) enum Shared {
    /// It is there.
    Found(Box<Secret>),
    /// It is not.
    Missing,
    /// Whoever asks may not see it, or it cannot be asked for.
    Unread(String),
}

/// Looks for the Secret that the settings name.
pub(super) async fn shared(client: &Client, namespace: &str, settings: &Settings) -> Shared {
    let name = &settings.mesh.preshared_keys.secret;
    match Api::<Secret>::namespaced(client.clone(), namespace).get_opt(name).await {
        Ok(Some(secret)) => Shared::Found(Box::new(secret)),
        Ok(None) => Shared::Missing,
        Err(error) => Shared::Unread(install::api::reason(&error)),
    }
}

/// What there is to say of pre-shared keys that the settings ask for.
pub(super) fn of_keys(
    shared: Shared,
    settings: &Settings,
    mesh: &[MeshNode],
    now: Timestamp,
) -> Vec<Finding> {
    let wanted = &settings.mesh.preshared_keys;
    let bad = |seen: String, advice: &str| match wanted.required {
        true => Finding::fail(KEYS, seen, advice),
        false => Finding::warn(KEYS, seen, advice),
    };
    let mut found = Vec::new();
    let generations = match shared {
        Shared::Unread(why) => {
            let seen = format!("the Secret {} is not looked at: {why}", wanted.secret);
            found.push(Finding::warn(KEYS, seen, "ask as somebody who may get Secrets in that namespace"));
            None
        }
        Shared::Missing => {
            let advice = making(settings, 1);
            found.push(bad(format!("there is no Secret {}", wanted.secret), &advice));
            Some(Vec::new())
        }
        Shared::Found(secret) => {
            let data = secret.data.clone().unwrap_or_default();
            let text = |number: u32| {
                let text = data.get(&number.to_string()).map(|ByteString(text)| text.as_slice());
                text.ok_or(preshared::NotASecret)
            };
            let (generations, wrong) = preshared::collect(data.keys().cloned(), text);
            if !wrong.is_empty() {
                let seen = format!("in the Secret {}: {}", wanted.secret, wrong.join("; "));
                found.push(Finding::warn(KEYS, seen, "mend or remove these; the others count"));
            }
            found.push(match generations.split_first() {
                None => bad(
                    format!("the Secret {} holds no generation", wanted.secret),
                    "put one into it: causeway keys preshared",
                ),
                Some((newest, older)) => of_newest(newest, older.len(), &secret, settings, now),
            });
            Some(generations)
        }
    };
    found.extend(of_holders(generations.as_deref(), wanted.required, mesh));
    found
}

/// How old the newest generation is.
fn of_newest(
    newest: &Generation,
    older: usize,
    secret: &Secret,
    settings: &Settings,
    now: Timestamp,
) -> Finding {
    let number = newest.number();
    let days = given_at(secret, number).map(|at| (now.as_second() - at.as_second()) / 86_400);
    let mut seen = format!("generation {number} ({}) is the newest", newest.id());
    if let Some(days) = days {
        seen += &format!(", given {days} days ago");
    }
    if older > 0 {
        seen += &format!("; {older} older beside it");
    }
    match days {
        Some(days) if days > OLD_DAYS => {
            let next = u64::from(number) + 1;
            Finding::warn(KEYS, seen, format!("make another: {}", making(settings, next)))
        }
        _ => Finding::ok(KEYS, seen),
    }
}

/// How a generation is put into the Secret.
fn making(settings: &Settings, number: u64) -> String {
    let (secret, namespace) = (&settings.mesh.preshared_keys.secret, &settings.namespace);
    format!(
        "causeway keys preshared {number} --secret {secret} --namespace {namespace} | \
         kubectl apply --server-side --field-manager=generation-{number} --filename -"
    )
}

/// When somebody wrote a generation, as the server keeps it of every field.
fn given_at(secret: &Secret, number: u32) -> Option<Timestamp> {
    let key = format!("f:{number}");
    let written = secret.metadata.managed_fields.iter().flatten().filter(|entry| {
        let fields = entry.fields_v1.as_ref().map(|fields| &fields.0["f:data"][&key]);
        fields.is_some_and(|field| !field.is_null())
    });
    written.filter_map(|entry| Some(entry.time.as_ref()?.0)).max()
}

/// Whether nodes hold what the Secret says; where that is not known: all the same.
fn of_holders(generations: Option<&[Generation]>, required: bool, mesh: &[MeshNode]) -> Vec<Finding> {
    let heard: Vec<(String, &MeshNodeStatus)> = heard_of(mesh).collect();
    if generations.is_some_and(<[_]>::is_empty) || heard.is_empty() {
        return Vec::new();
    }
    let ids: Option<Vec<String>> =
        generations.map(|all| all.iter().map(|generation| generation.id().to_string()).collect());
    let holds_any = |status: &MeshNodeStatus| match &ids {
        Some(ids) => status.generations.iter().any(|held| ids.contains(held)),
        None => !status.generations.is_empty(),
    };
    let newest = match &ids {
        Some(ids) => ids.first().cloned(),
        None => heard.iter().find_map(|(_, status)| status.generations.first().cloned()),
    };
    let (mut none, mut behind) = (Vec::new(), Vec::new());
    for (name, status) in &heard {
        if !holds_any(status) {
            none.push(name.clone());
        } else if newest.as_ref().is_some_and(|newest| !status.generations.contains(newest)) {
            behind.push(name.clone());
        }
    }
    let newest = newest.unwrap_or_default();
    let mut found = Vec::new();
    if !none.is_empty() {
        let seen = format!("held by none of {}", some(&none));
        let advice =
            "causeway status there says why; Kubernetes brings a Secret to its nodes within a minute or two";
        found.push(match required {
            true => {
                let seen = format!("{seen}, which have no tunnels with others: they are required");
                Finding::fail(KEYS, seen, advice)
            }
            false => Finding::warn(KEYS, seen, advice),
        });
    }
    if !behind.is_empty() {
        let seen = format!("generation {newest} is not held by {} yet", some(&behind));
        let advice = "leave older generations in the Secret until it is: Kubernetes takes a minute or two";
        found.push(Finding::warn(KEYS, seen, advice));
    }
    if found.is_empty() {
        found.push(Finding::ok(KEYS, format!("all {} nodes hold {newest}", heard.len())));
    }
    found
}

/// What there is to say of VXLAN, where the settings ask for it.
pub(super) fn of_vxlan(nodes: &[Node], mesh: &[MeshNode], settings: &Settings) -> Option<Finding> {
    let label = &settings.mesh.topology_label;
    let wanted = |name: &String| {
        let node = nodes.iter().find(|node| node.name_any() == *name);
        node.is_some_and(|node| settings.mesh.uses_vxlan(location(node, label)))
    };
    let port = settings.agent.vxlan_port;
    let takers: Vec<_> = heard_of(mesh).filter(|(name, _)| wanted(name)).collect();
    if takers.is_empty() {
        return None;
    }
    let takes =
        |status: &MeshNodeStatus| status.takes.iter().any(|transport| transport == Transport::Vxlan.name());
    let without: Vec<String> =
        takers.iter().filter(|(_, status)| !takes(status)).map(|(name, _)| name.clone()).collect();
    Some(if without.is_empty() {
        let seen = format!(
            "taken by {} nodes at UDP port {port}, which has to be open between nodes of a location",
            takers.len()
        );
        Finding::ok("VXLAN", seen)
    } else {
        let seen =
            format!("not taken by {}: what is for them goes through the tunnel, encrypted", some(&without));
        let advice = format!(
            "see causeway status there: the kernel has no vxlan (modprobe vxlan), another device or program has UDP port \
             {port} (ip -d link show type vxlan; ss -lunp; choose another agent.vxlanPort), or the node has no private address"
        );
        Finding::warn("VXLAN", seen, advice)
    })
}

/// Nodes whose agents have reported.
fn heard_of(mesh: &[MeshNode]) -> impl Iterator<Item = (String, &MeshNodeStatus)> {
    let heard = |node: &'_ MeshNode| node.status.as_ref().is_some_and(|status| !status.public_key.is_empty());
    mesh.iter()
        .filter(move |node| heard(node))
        .filter_map(|node| Some((node.name_any(), node.status.as_ref()?)))
}

#[cfg(test)]
mod tests;
