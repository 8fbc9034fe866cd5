//! Manifests: any text is either refused at a place that is in it, or objects that are read again as they were.
#![no_main]

use cluster::manifest;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if text.len() > 2048 {
        return; // a key that its escapes make longer than the parser looks
    }
    match manifest::parse("f", text) {
        Ok(manifests) => {
            for manifest in manifests {
                let json = serde_json::to_string(&manifest.value).expect("objects are JSON");
                let again = manifest::parse("f", &json).expect("we read what we write");
                assert_eq!(again[0].value, manifest.value);
            }
        }
        // A carriage return alone ends a line too.
        Err(error) => assert!((1..=text.matches(['\n', '\r']).count() + 2).contains(&error.line), "{error}"),
    }
});
