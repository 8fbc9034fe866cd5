//! Against an API server on loopback: the same table as every source, then everything that can go wrong on the way.

mod bench;
mod faults;
mod objects;

use bench::Bench;

use crate::index::tests::{Step, manifests, table};

#[tokio::test(flavor = "multi_thread")]
async fn the_table_through_an_api_server() {
    for case in table() {
        let mut bench = Bench::start().await;
        for (n, (step, _)) in case.steps.iter().enumerate() {
            match step {
                Step::Apply(text) => manifests(text).into_iter().for_each(|manifest| bench.apply(manifest)),
                Step::Delete(id) => bench.delete(id),
            }
            bench.settled(&format!("{}, step {n}", case.name)).await;
        }
    }
}
