//! Against an API server on loopback: the same table as every source, then everything that can go wrong on the way.

mod bench;
mod faults;
mod objects;

use apiserver::Server;
use bench::{Bench, hasty, lively};
use faults::definition;

use crate::index::tests::{Step, manifests, table};
use crate::manifest::Kind;

#[tokio::test(flavor = "multi_thread")]
async fn the_table_through_an_api_server() {
    for case in table() {
        let server = Server::start(lively());
        for kind in
            [Kind::ClusterNetworkPolicy, Kind::CiliumNetworkPolicy, Kind::CiliumClusterwideNetworkPolicy]
        {
            let (group, version) = kind.api_version().split_once('/').unwrap();
            let scope = if kind.namespaced() { "Namespaced" } else { "Cluster" };
            server.apply_json(definition(group, version, kind.as_str(), scope));
        }
        let mut bench = Bench::over(server, hasty()).await;
        for (n, (step, _)) in case.steps.iter().enumerate() {
            match step {
                Step::Apply(text) => manifests(text).into_iter().for_each(|manifest| bench.apply(manifest)),
                Step::Delete(id) => bench.delete(id),
            }
            bench.settled(&format!("{}, step {n}", case.name)).await;
        }
    }
}
