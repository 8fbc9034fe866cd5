//! The user-space WireGuard device in network namespaces: against itself, and against wireguard-go.
//!
//! It needs root, `/dev/net/tun`, iproute2, wireguard-tools and wireguard-go, and says which of them is missing. The
//! test's program is also the device: run as `… wireguard --socket-dir DIR IFNAME` it is what `causeway wireguard` is.
//! Run as `… start-on-the-machine` it is what the agent is in a container. Run as `… with-the-kernel` it speaks with the kernel's own WireGuard, on a machine that has it.

mod container;
mod keys;
mod life;
#[path = "../net_common/mod.rs"]
mod net_common;
mod pair;
mod program;
mod protocol;
mod tools;
mod traffic;

use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let Some(exit) = program::device(&args).or_else(|| container::starter(&args)) {
        return exit;
    }
    let cases: [(&str, fn()); 20] = [
        ("two_of_ours", traffic::two_of_ours),
        ("jumbo_frames", traffic::jumbo_frames),
        ("ours_asks_wireguard_go", traffic::ours_asks_wireguard_go),
        ("wireguard_go_asks_ours", traffic::wireguard_go_asks_ours),
        ("a_path_narrower_than_it_says", traffic::a_path_narrower_than_it_says),
        ("a_flood_for_another", traffic::a_flood_for_another),
        ("a_peer_that_moves", life::a_peer_that_moves),
        ("over_a_relay", life::over_a_relay),
        ("killed_and_started_again", life::killed_and_started_again),
        ("ends_when_asked", life::ends_when_asked),
        ("ensured_once", life::ensured_once),
        ("outlives_its_container", container::outlives_its_container),
        ("a_key_that_changes", keys::a_key_that_changes),
        ("a_device_with_one_key", keys::a_device_with_one_key),
        ("a_pre_shared_key_that_changes", keys::a_pre_shared_key_that_changes),
        ("wg_reads_and_writes", tools::wg_reads_and_writes),
        ("garbage_on_the_control_socket", protocol::garbage_on_the_control_socket),
        ("every_key_of_the_control_socket", protocol::every_key_of_the_control_socket),
        ("preshared_keys_with_wireguard_go", protocol::preshared_keys_with_wireguard_go),
        ("cookies_under_load", protocol::cookies_under_load),
    ];
    if args.first().is_some_and(|arg| arg == "with-the-kernel") {
        traffic::with_the_kernel();
        return ExitCode::SUCCESS;
    }
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
