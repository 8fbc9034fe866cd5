//! What people paste: any text is either a link token, of a cluster with a proper name, or refused with a reason that does
//! not repeat it. And any text is an address that is written as it was read, or none.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    match link::token_cluster(text) {
        Ok(cluster) => assert!(model::ClusterName::new(cluster.as_str()).is_ok()),
        Err(refused) => assert!(text.trim().len() < 200 || !refused.to_string().contains(text.trim())),
    }
    if let Ok(address) = text.parse::<link::Address>() {
        assert_eq!(address.to_string().parse::<link::Address>().as_ref(), Ok(&address));
    }
});
