//! Files that `causeway connect` is given: any text is a configuration, which is read again as it is written, or is refused with a
//! reason in which nothing of it stands that could be a secret.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wire::client::parse;

/// A word that is so long may be a secret; none of ours is.
const SECRET: usize = 32;

fuzz_target!(|text: &str| {
    let configuration = match parse("client", text) {
        Ok(configuration) => configuration,
        Err(refused) => {
            let said = refused.to_string();
            let mut words = text.split_ascii_whitespace().filter(|word| word.len() >= SECRET);
            assert!(!words.any(|word| said.contains(word)), "{said}");
            return;
        }
    };
    let again = parse("client", &configuration.wg_quick()).expect("what is written can be read");
    assert!(again == configuration, "{text}");
    for line in configuration.network_manager().lines() {
        assert!(line.is_empty() || line.starts_with('[') || line.contains('='), "{line}");
    }
});
