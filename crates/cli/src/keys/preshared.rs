//! Generations of pre-shared keys: new ones, and which are in use.

use std::collections::BTreeMap;
use std::fmt;
use std::process::ExitCode;

use anyhow::{Result, bail};
use engine::preshared::{Generation, choose};
use k8s_openapi::ByteString;
use kernel::wireguard::PrivateKey;
use model::{GenerationId, Node, PresharedKey, World};
use serde_json::{Value, json};

/// `causeway keys preshared`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
It is printed once and kept nowhere. To give it to the agents of a cluster, and leave other generations as they are:
  causeway keys preshared 2 | kubectl apply --server-side --field-manager=generation-2 --filename -
Every pair of nodes uses it as soon as both hold it. Once `causeway keys show` says that all do, remove the one before:
  kubectl --namespace kube-system patch secret causeway-preshared-keys --type=json \
    --patch='[{\"op\": \"remove\", \"path\": \"/data/1\"}]'
Clusters that are to share it are given the same output.")]
pub(super) struct Args {
    /// Its number: greater than those that there are.
    #[arg(value_name = "GENERATION")]
    number: u32,
    /// The Secret that mesh.presharedKeys.secret names.
    #[arg(long, value_name = "NAME", default_value = "causeway-preshared-keys")]
    secret: String,
    /// The namespace of the installation.
    #[arg(long, value_name = "NAMESPACE", default_value = install::settings::SYSTEM)]
    namespace: String,
    /// Only the key itself, in base64.
    #[arg(long, conflicts_with_all = ["secret", "namespace"])]
    bare: bool,
}

/// Prints a new one.
pub(super) fn make(args: &Args) -> Result<ExitCode> {
    let Args { number, secret, namespace, bare } = args;
    for (what, name) in [("--secret", secret), ("--namespace", namespace)] {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
        if name.is_empty() || name.len() > 253 || !name.bytes().all(plain) {
            bail!("{what}: {name:?} is no name of Kubernetes");
        }
    }
    // Any 32 random bytes.
    let key = PresharedKey(*PrivateKey::generate().secret());
    match bare {
        true => println!("{}", *key.to_base64()),
        false => print!("{}", manifest(*number, key, secret, namespace)?),
    }
    Ok(ExitCode::SUCCESS)
}

/// The Secret, with its first or another generation.
fn manifest(number: u32, key: PresharedKey, secret: &str, namespace: &str) -> Result<String> {
    let data = serde_json::to_value(ByteString(key.to_base64().as_bytes().to_vec()))?;
    let id = Generation::new(number, key).id();
    Ok(format!(
        "apiVersion: v1\nkind: Secret\nmetadata:\n  name: {secret:?}\n  namespace: {namespace:?}\n  annotations:\n    \
         causeway.io/generation-{number}: \"{id}\"\ndata:\n  \"{number}\": {data}\n"
    ))
}

/// Who holds which generations.
pub(super) struct Shared {
    /// How many nodes hold exactly these.
    holders: BTreeMap<Vec<GenerationId>, usize>,
}

impl Shared {
    /// The nodes of a world.
    pub(super) fn of(world: &World) -> Self {
        let mut holders = BTreeMap::new();
        for node in world.nodes.values() {
            *holders.entry(node.mesh.generations.clone()).or_default() += 1;
        }
        Self { holders }
    }

    /// What a node uses.
    pub(super) fn with(&self, node: &Node) -> With {
        self.with_held(&node.mesh.generations)
    }

    fn with_held(&self, own: &[GenerationId]) -> With {
        let mut with = With::default();
        for (theirs, count) in &self.holders {
            // All but itself.
            let others = count - usize::from(theirs == own);
            *with.0.entry(choose(own, theirs)).or_default() += others;
        }
        with.0.retain(|_, others| *others > 0);
        with
    }
}

/// With how many other nodes a node uses each generation, and none.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct With(BTreeMap<Option<GenerationId>, usize>);

impl With {
    pub(super) fn described(&self) -> Value {
        let used = self
            .0
            .iter()
            .filter_map(|(id, nodes)| (*id).map(|id| json!({ "generation": id, "nodes": nodes })));
        json!({ "with": used.collect::<Vec<_>>(), "withoutNodes": self.0.get(&None).copied().unwrap_or_default() })
    }
}

impl fmt::Display for With {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.keys().all(Option::is_none) {
            return f.write_str("-");
        }
        let one = |(id, nodes): (&Option<GenerationId>, &usize)| match id {
            Some(id) => format!("{id} with {nodes}"),
            None => format!("none with {nodes}"),
        };
        f.write_str(&self.0.iter().rev().map(one).collect::<Vec<_>>().join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_is_a_secret() {
        let text = manifest(7, PresharedKey([5; 32]), "shared", "net").unwrap();
        let secret: k8s_openapi::api::core::v1::Secret = serde_saphyr::from_str(&text).unwrap();
        assert_eq!(secret.metadata.name.as_deref(), Some("shared"));
        let data = secret.data.unwrap();
        let key: PresharedKey = std::str::from_utf8(&data["7"].0).unwrap().parse().unwrap();
        assert_eq!((data.len(), key), (1, PresharedKey([5; 32])));
        let id = Generation::new(7, PresharedKey([5; 32])).id().to_string();
        assert_eq!(secret.metadata.annotations.unwrap()["causeway.io/generation-7"], id);
    }

    #[test]
    fn how_many_use_which() {
        let id = |byte: u8| GenerationId([byte; 8]);
        let lists = [vec![id(2), id(1)], vec![id(2), id(1)], vec![id(1)], vec![]];
        let mut holders = BTreeMap::new();
        lists.iter().for_each(|list| *holders.entry(list.clone()).or_default() += 1);
        let shared = Shared { holders };
        let with = |list: &[GenerationId]| shared.with_held(list);
        assert_eq!(with(&lists[0]), With([(Some(id(2)), 1), (Some(id(1)), 1), (None, 1)].into()));
        assert_eq!(with(&lists[2]), With([(Some(id(1)), 2), (None, 1)].into()));
        assert_eq!(with(&[]).to_string(), "-");
        let (one, two) = (id(1), id(2));
        assert_eq!(with(&lists[0]).to_string(), format!("{two} with 1, {one} with 1, none with 1"));
        assert_eq!(
            with(&lists[2]).described(),
            json!({"with": [{"generation": one, "nodes": 2}], "withoutNodes": 1})
        );
    }
}
