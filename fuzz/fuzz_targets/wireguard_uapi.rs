//! Text on the control socket, from either side: what is understood is written back as it was meant.
#![no_main]

use kernel::wireguard::uapi::{SetRequest, Status};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(request) = SetRequest::parse(text.lines()) {
        let written = request.to_string();
        let body = written.strip_prefix("set=1\n").expect("a request begins so").trim_end();
        let again = SetRequest::parse(body.lines()).expect("what is written can be read");
        assert_eq!(again.to_string(), written);
    }
    if let Ok(status) = Status::parse(text.lines()) {
        let written = status.to_string();
        let again = Status::parse(written.lines()).expect("what is written can be read");
        assert_eq!(again.to_string(), written);
    }
});
