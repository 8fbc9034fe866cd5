//! How fast the user-space WireGuard device is, against wireguard-go in the same run: `./x bench wireguard`.
//!
//! Two network namespaces on a veth wire, rounds in turn, medians with their spread. It needs what the tests of the
//! device need (`tests/wireguard_device`), and iperf3. A veth wire never cuts a large send into real packets, which
//! flatters whoever sends large; the second table is with that switched off (ethtool).

mod measure;
#[path = "../../tests/net_common/mod.rs"]
mod net_common;
#[path = "../../tests/wireguard_device/pair.rs"]
#[allow(dead_code, reason = "the tests use the rest of it")]
mod pair;
#[path = "../../tests/wireguard_device/program.rs"]
mod program;

use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let Some(exit) = program::device(&args) {
        return exit;
    }
    measure::tables();
    ExitCode::SUCCESS
}
