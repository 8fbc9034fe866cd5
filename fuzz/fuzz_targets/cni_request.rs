//! What a container runtime says: any bytes are either a checked request, with the host ports and limits of
//! its `runtimeConfig`, or a refusal with a code.
#![no_main]

use agent::cni::{Request, parse};
use libfuzzer_sys::fuzz_target;
use wire::local::{CniRequest, CniResponse};

fuzz_target!(|bytes: &[u8]| {
    let Ok(request) = serde_json::from_slice::<CniRequest>(bytes) else { return };
    match parse(&request) {
        Ok(Request::Add { attachment, netns, extras, .. }) => {
            assert!(netns.is_absolute());
            assert!(extras.ports.iter().all(|port| port.host_port > 0 && port.container_port > 0));
            for limit in [extras.limits.to_pod, extras.limits.from_pod].into_iter().flatten() {
                assert!(limit.rate > 0);
            }
            assert!(!attachment.container_id.contains('/') && attachment.ifname.len() < 16);
        }
        Ok(_) => {}
        Err(failure) => {
            assert!(failure.code() > 0);
            assert!(matches!(CniResponse::from(failure), CniResponse::Error { .. }));
        }
    }
});
