//! The test's program as the device: what `causeway wireguard` is.

use std::process::ExitCode;

use causeway_kernel::wireguard::{Options, run, stop_signals};

/// Runs a device, if that is what the arguments ask for: `wireguard --socket-dir DIR IFNAME [--foreground]`.
pub(crate) fn device(args: &[String]) -> Option<ExitCode> {
    let (args, foreground) = match args {
        [args @ .., last] if last == "--foreground" => (args, true),
        args => (args, false),
    };
    let [verb, flag, dir, interface] = args else { return None };
    if verb != "wireguard" || flag != "--socket-dir" {
        return None;
    }
    let shutdown = stop_signals().expect("signals");
    let options = Options { uapi_dir: dir.into(), foreground, ..Options::new(interface) };
    Some(match run(&options, shutdown) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    })
}
