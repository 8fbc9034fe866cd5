//! Certificates, signing requests and bundles of roots, as strangers send them: any bytes, and good ones of which some are changed.
//! A certificate that was not issued proves nothing, a request is signed for whom it is signed, and no bundle moves anybody to
//! another's key.
#![no_main]

use libfuzzer_sys::fuzz_target;
use link::{Examiner, Identity};
use model::NodeName;

struct Good {
    examiner: Examiner,
    node: NodeName,
    certificate: Vec<u8>,
    request: Vec<u8>,
}

thread_local! {
    static GOOD: Good = {
        let folder = std::env::temp_dir().join(format!("causeway-fuzz-{}", std::process::id()));
        let node: NodeName = "aws/aws-1".to_string().try_into().expect("a name");
        let examiner = Examiner::open(&folder, &node.cluster).expect("a CA");
        // What it needs of it is in memory.
        std::fs::remove_dir_all(&folder).expect("the folder is there");
        let request = examiner.a_request().expect("a key");
        let certificate = examiner.sign(&node, &request).expect("a good request is signed");
        Good { examiner, node, certificate, request }
    };
}

/// Good bytes, of which those at some places (two bytes each) are others; at the end some may be missing.
fn changed(good: &[u8], changes: &[u8]) -> Vec<u8> {
    let mut bytes = good.to_vec();
    let (changes, end) = changes.as_chunks::<3>();
    for [high, low, value] in changes {
        let at = usize::from(u16::from_be_bytes([*high, *low])) % bytes.len();
        bytes[at] = *value;
    }
    bytes.truncate(bytes.len() - usize::from(end.first().copied().unwrap_or_default()).min(bytes.len()));
    bytes
}

fuzz_target!(|bytes: &[u8]| {
    let Some((what, bytes)) = bytes.split_first() else { return };
    GOOD.with(|Good { examiner, node, certificate, request }| match what % 6 {
        0 | 1 => {
            let given = if what % 6 == 0 { bytes.to_vec() } else { changed(certificate, bytes) };
            match examiner.identity(&given) {
                Ok(identity) => assert_eq!((identity, &given), (Identity::Node(node.clone()), certificate)),
                Err(untrusted) => assert!(given != *certificate, "{untrusted}"),
            }
        }
        2 | 3 => {
            let given = if what % 6 == 2 { bytes.to_vec() } else { changed(request, bytes) };
            let other: NodeName = "aws/aws-2".to_string().try_into().expect("a name");
            if let Some(signed) = examiner.sign(&other, &given) {
                assert_eq!(examiner.identity(&signed).ok(), Some(Identity::Node(other)));
            }
        }
        // Certificates with a byte before each that says how long it is, in pieces of 16.
        4 => {
            let (mut bundle, mut rest) = (Vec::new(), bytes);
            while let Some((length, more)) = rest.split_first() {
                let (one, others) = more.split_at((usize::from(*length) * 16).min(more.len()));
                bundle.push(one.to_vec());
                rest = others;
            }
            assert_ne!(examiner.may_follow(bundle.clone(), bundle).ok(), Some(true));
        }
        _ => {
            let root = changed(examiner.root(), bytes);
            let alone = examiner.may_follow(vec![root.clone()], vec![]).ok();
            let crossed = examiner.may_follow(vec![root.clone()], vec![root.clone()]).ok();
            assert_eq!(alone, crossed, "a root that nobody vouches for vouches for nobody");
            assert!(root != examiner.root() || alone == Some(true));
        }
    });
});
