//! YAML of no particular type: any text is either refused, or a value that is read again from its JSON.
#![no_main]

use cluster::yaml;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|text: &str| {
    if text.len() > 2048 {
        return; // a key that its escapes make longer than the parser looks
    }
    let Ok(values) = yaml::parse::<Value>("f", text) else { return };
    for value in values.into_iter().filter(|value| !value.value.is_null()) {
        let json = value.value.to_string();
        let again = yaml::parse::<Value>("f", &json).unwrap_or_else(|error| panic!("{error}\n{json}"));
        assert_eq!(again[0].value, value.value, "{json}");
    }
});
