//! The user-space WireGuard device in network namespaces: against itself, and against wireguard-go.
//!
//! It needs root, `/dev/net/tun`, iproute2, ping, wireguard-tools and wireguard-go, and says which of them is missing.
//! The test binary is also the device: run as `… wireguard --socket-dir DIR IFNAME` it is what `causeway wireguard` is.

#[path = "../net_common/mod.rs"]
mod net_common;
mod pair;
mod traffic;

use std::process::ExitCode;

use causeway_kernel::wireguard::{Options, run, stop_signals};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.first().is_some_and(|arg| arg == "wireguard") {
        return device(&args[1..]);
    }
    let cases: [(&str, fn()); 1] = [("two_of_ours", traffic::two_of_ours)];
    let wanted = args.iter().find(|arg| !arg.starts_with('-'));
    for (name, case) in cases {
        if wanted.is_none_or(|wanted| name.contains(wanted.as_str())) {
            println!("test {name} ...");
            case();
            println!("test {name} ... ok");
        }
    }
    ExitCode::SUCCESS
}

fn device(args: &[String]) -> ExitCode {
    let [flag, dir, interface] = args else { panic!("wireguard --socket-dir DIR IFNAME, not {args:?}") };
    assert_eq!(flag, "--socket-dir");
    let shutdown = stop_signals().expect("signals");
    let options = Options { uapi_dir: dir.into(), ..Options::new(interface) };
    match run(&options, shutdown) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
