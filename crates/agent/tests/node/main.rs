//! An agent on a machine, by itself: nodes are namespaces, what they know was saved before, and no controller ever
//! answers. Traffic goes where it should, survives what it should, and nothing stays behind.
//!
//! It needs root, cgroup2, iproute2 and nft, and says which of them is missing. The test's program is also the server
//! and the clients.

mod cleanup;
mod container;
mod direct;
mod kube_proxy;
mod machine;
mod outliers;
mod outside;
mod program;

use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let Some(exit) = program::run(&args) {
        return exit;
    }
    let cases: [(&str, fn()); 6] = [
        ("pods_reach_the_outside", outside::pods_reach_the_outside),
        ("backends_answer_clients_outside", direct::backends_answer_clients_outside),
        ("kube_proxy_comes_and_goes", kube_proxy::comes_and_goes),
        ("tunnel_outlives_the_container", container::tunnel_outlives_it),
        ("outliers_are_ejected", outliers::are_ejected_and_come_back),
        ("cleanup_leaves_nothing", cleanup::leaves_nothing),
    ];
    let wanted: Vec<&String> = args.iter().filter(|arg| !arg.starts_with('-')).collect();
    let mut exit = ExitCode::SUCCESS;
    for (name, case) in cases {
        if wanted.is_empty() || wanted.iter().any(|wanted| name.contains(wanted.as_str())) {
            println!("test {name} ...");
            // As a harness says it, for whoever runs again what failed.
            if std::panic::catch_unwind(case).is_ok() {
                println!("test {name} ... ok");
            } else {
                println!("test {name} ... FAILED");
                exit = ExitCode::FAILURE;
            }
        }
    }
    exit
}
