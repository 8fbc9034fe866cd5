use std::fs;
use std::time::Duration;

use model::{ClusterName, NodeName};
use rustls_pki_types::{CertificateDer, UnixTime};

use super::*;
use crate::Error;

const DAY: Duration = Duration::from_secs(24 * 3600);

fn aws() -> ClusterName {
    ClusterName::new("aws").unwrap()
}

#[test]
fn an_authority_is_made_once() {
    let dir = tempfile::tempdir().unwrap();
    let first = Authority::open(dir.path(), &aws(), DAY).unwrap().roots().clone();
    assert_eq!(*Authority::open(dir.path(), &aws(), DAY).unwrap().roots(), first);
    // A crash in the middle of the very first start leaves the key alone.
    fs::remove_file(dir.path().join("ca.crt")).unwrap();
    assert_ne!(*Authority::open(dir.path(), &aws(), DAY).unwrap().roots(), first);
}

#[test]
fn a_damaged_authority_is_not_replaced() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    Authority::open(dir.path(), &aws(), DAY).unwrap();
    Authority::open(other.path(), &aws(), DAY).unwrap();
    let (key, certificate) = (dir.path().join("ca.key"), dir.path().join("ca.crt"));
    let (good_key, good_certificate) = (fs::read(&key).unwrap(), fs::read(&certificate).unwrap());
    let damage: [(&std::path::Path, &[u8]); 5] = [
        (&key, b""),
        (&key, &good_key[..40]),
        (&certificate, b""),
        (&certificate, b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
        (&certificate, &fs::read(other.path().join("ca.crt")).unwrap()),
    ];
    for (path, bytes) in damage {
        fs::write(path, bytes).unwrap();
        let error = Authority::open(dir.path(), &aws(), DAY).err().expect("damage should be said");
        assert!(matches!(error, Error::Damaged { .. }), "{error}");
        assert!(error.to_string().contains("backup"), "{error}");
        fs::write(&key, &good_key).unwrap();
        fs::write(&certificate, &good_certificate).unwrap();
    }
    let error = Authority::open(dir.path(), &ClusterName::new("gcp").unwrap(), DAY).err().unwrap();
    assert!(error.to_string().contains("not of gcp"), "{error}");
    fs::remove_file(&key).unwrap();
    assert!(matches!(Authority::open(dir.path(), &aws(), DAY), Err(Error::Damaged { .. })));
}

#[test]
fn a_request_is_signed_for_its_key_alone() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::open(dir.path(), &aws(), DAY).unwrap();
    let identity = Identity::Node(NodeName::new(aws(), "aws-1").unwrap());
    let key = Key::generate().unwrap();
    // Whatever the request asks for besides, it gets what it is.
    let mut params = rcgen::CertificateParams::new(vec!["evil.example".to_string()]).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let greedy = params.serialize_request(key.pair()).unwrap();
    let leaf = authority.sign(&identity, greedy.der(), Duration::MAX).unwrap();
    assert_eq!(check_leaf(&leaf, authority.roots(), UnixTime::now()), Ok(identity.clone()));
    let (_, parsed) = x509_parser::parse_x509_certificate(&leaf).unwrap();
    assert!(!parsed.is_ca());
    assert!(Leaf::new(&key, leaf.clone(), &[]).is_ok());
    assert!(Leaf::new(&Key::generate().unwrap(), leaf, &[]).is_err(), "another key");

    let request = key.request().unwrap();
    for at in 0..request.len() {
        let mut bytes = request.clone();
        bytes[at] ^= 1;
        if let Ok(leaf) = authority.sign(&identity, &bytes, Duration::MAX) {
            // A change that the signature does not cover cannot change the key.
            assert!(Leaf::new(&key, leaf, &[]).is_ok(), "{at}");
        }
    }
    assert!(authority.sign(&identity, b"", Duration::MAX).is_err());
}

#[test]
fn certificates_end() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let authority = Authority::open(dir.path(), &aws(), DAY).unwrap();
    let stranger = Authority::open(other.path(), &aws(), DAY).unwrap();
    let identity = Identity::Node(NodeName::new(aws(), "aws-1").unwrap());
    let key = Key::generate().unwrap();
    let leaf = authority.sign(&identity, &key.request().unwrap(), Duration::MAX).unwrap();
    let now = UnixTime::now().as_secs();
    let at = |seconds: u64, roots: &Roots| {
        check_leaf(&leaf, roots, UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
    };
    assert!(at(now - 3000, authority.roots()).is_ok(), "a clock that is behind");
    assert!(at(now + 23 * 3600, authority.roots()).is_ok());
    for (when, roots) in
        [(now - 7200, authority.roots()), (now + 86_500, authority.roots()), (now, stranger.roots())]
    {
        assert!(matches!(at(when, roots), Err(Untrusted::NotVouched { .. })));
    }
    let joined = Leaf::new(&key, leaf, &[]).unwrap();
    assert!(joined.is_valid());
    let half = joined.renew_in().as_secs();
    assert!((11 * 3600..=12 * 3600).contains(&half), "{half}");
}

#[test]
fn certificates_that_name_nobody() {
    let key = Key::generate().unwrap();
    for names in [vec![], vec!["aws"], vec!["causeway://aws/controller", "causeway://gcp/controller"]] {
        let mut params = rcgen::CertificateParams::default();
        params.subject_alt_names =
            names.iter().map(|n| rcgen::SanType::URI((*n).try_into().unwrap())).collect();
        let leaf = params.self_signed(key.pair()).unwrap();
        assert_eq!(identity_of(leaf.der()), Err(Untrusted::Nameless), "{names:?}");
    }
    assert_eq!(identity_of(&CertificateDer::from(b"garbage".to_vec())), Err(Untrusted::Nameless));
}

#[test]
fn roots_from_elsewhere() {
    let dir = tempfile::tempdir().unwrap();
    let root = Authority::open(dir.path(), &aws(), DAY).unwrap().roots()[0].to_vec();
    assert!(parse_roots(vec![root.clone()]).is_ok());
    for bad in [vec![], vec![b"garbage".to_vec()], vec![root.clone(); 9], vec![root[..50].to_vec()]] {
        assert!(parse_roots(bad).is_err());
    }
}
