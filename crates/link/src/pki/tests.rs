use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use model::{ClusterName, NodeName};
use rustls_pki_types::{CertificateDer, UnixTime};

use super::*;
use crate::Error;

const DAY: Duration = Duration::from_secs(24 * 3600);

fn aws() -> ClusterName {
    ClusterName::new("aws").unwrap()
}

fn open(dir: &Path) -> Result<Authority, Error> {
    Authority::open(dir, &aws(), Lifetimes::default(), SystemTime::now())
}

#[test]
fn an_authority_is_made_once() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path()).unwrap().roots().clone();
    assert_eq!(*open(dir.path()).unwrap().roots(), first);
    // A crash in the middle of the very first start leaves the key alone.
    fs::remove_file(dir.path().join("ca.crt")).unwrap();
    assert_ne!(*open(dir.path()).unwrap().roots(), first);
}

#[test]
fn a_damaged_authority_is_not_replaced() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    open(dir.path()).unwrap();
    open(other.path()).unwrap();
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
        let error = open(dir.path()).err().expect("damage should be said");
        assert!(matches!(error, Error::Damaged { .. }), "{error}");
        assert!(error.to_string().contains("backup"), "{error}");
        fs::write(&key, &good_key).unwrap();
        fs::write(&certificate, &good_certificate).unwrap();
    }
    let error = {
        let gcp = ClusterName::new("gcp").unwrap();
        Authority::open(dir.path(), &gcp, Lifetimes::default(), SystemTime::now()).err().unwrap()
    };
    assert!(error.to_string().contains("not of gcp"), "{error}");
    fs::remove_file(&key).unwrap();
    assert!(matches!(open(dir.path()), Err(Error::Damaged { .. })));
}

#[test]
fn a_request_is_signed_for_its_key_alone() {
    let dir = tempfile::tempdir().unwrap();
    let authority = open(dir.path()).unwrap();
    let identity = Identity::Node(NodeName::new(aws(), "aws-1").unwrap());
    let key = Key::generate().unwrap();
    // Whatever the request asks for besides, it gets what it is.
    let mut params = rcgen::CertificateParams::new(vec!["evil.example".to_string()]).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let greedy = params.serialize_request(key.pair()).unwrap();
    let leaf = authority.sign(&identity, greedy.der(), Duration::MAX, SystemTime::now()).unwrap();
    assert_eq!(check_leaf(&leaf, authority.roots(), UnixTime::now()), Ok(identity.clone()));
    let (_, parsed) = x509_parser::parse_x509_certificate(&leaf).unwrap();
    assert!(!parsed.is_ca());
    assert!(Leaf::new(&key, leaf.clone(), &[]).is_ok());
    assert!(Leaf::new(&Key::generate().unwrap(), leaf, &[]).is_err(), "another key");

    let request = key.request().unwrap();
    for at in 0..request.len() {
        let mut bytes = request.clone();
        bytes[at] ^= 1;
        if let Ok(leaf) = authority.sign(&identity, &bytes, Duration::MAX, SystemTime::now()) {
            // A change that the signature does not cover cannot change the key.
            assert!(Leaf::new(&key, leaf, &[]).is_ok(), "{at}");
        }
    }
    assert!(authority.sign(&identity, b"", Duration::MAX, SystemTime::now()).is_err());
}

#[test]
fn certificates_end() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let authority = open(dir.path()).unwrap();
    let stranger = open(other.path()).unwrap();
    let identity = Identity::Node(NodeName::new(aws(), "aws-1").unwrap());
    let key = Key::generate().unwrap();
    let leaf = authority.sign(&identity, &key.request().unwrap(), Duration::MAX, SystemTime::now()).unwrap();
    let now = UnixTime::now().as_secs();
    let at = |seconds: u64, roots: &Roots| {
        check_leaf(&leaf, roots, UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
    };
    assert!(at(now - 3000, authority.roots()).is_ok(), "a clock that is behind");
    assert!(at(now + 23 * 3600, authority.roots()).is_ok());
    for (when, roots) in
        [(now - 7200, authority.roots()), (now + 86_500, authority.roots()), (now, stranger.roots())]
    {
        let refused = at(when, roots).unwrap_err();
        match when == now {
            true => assert!(matches!(refused, Untrusted::NotVouched { .. }), "{refused}"),
            false => assert!(refused.to_string().contains("check the clocks"), "{refused}"),
        }
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
    let root = open(dir.path()).unwrap().roots()[0].to_vec();
    assert!(parse_roots(vec![root.clone()]).is_ok());
    for bad in [vec![], vec![b"garbage".to_vec()], vec![root.clone(); 9], vec![root[..50].to_vec()]] {
        assert!(parse_roots(bad).is_err());
    }
}

/// Whether who has pinned `pinned` believes what `authority` shows of itself.
fn believes(pinned: &[CertificateDer<'static>], authority: &Authority) -> bool {
    let leaf = authority.own_leaf(SystemTime::now()).unwrap();
    let chain = leaf.chain().to_vec();
    let trust = std::sync::Arc::new(Trust::default());
    trust.set(&aws(), pinned.to_vec());
    let verifier = verify::Verifier::new(
        trust,
        Expect::Controller(aws()),
        rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms,
    );
    use rustls::client::danger::ServerCertVerifier as _;
    let name = rustls_pki_types::ServerName::try_from("ignored").unwrap();
    verifier.verify_server_cert(&chain[0], &chain[1..], &name, &[], UnixTime::now()).is_ok()
}

#[test]
fn who_missed_two_roots_follows_to_the_third() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let first = open(dir.path()).unwrap();
    let pinned = first.roots().clone();
    let second = first.rotate(SystemTime::now()).unwrap();
    let third = second.rotate(SystemTime::now()).unwrap();
    // The older roots are gone before anybody heard of the newer.
    let third = third.retire(SystemTime::now(), true).unwrap().unwrap();
    assert_eq!(third.roots().len(), 1);
    assert!(believes(&pinned, &third));
    assert!(believes(third.roots(), &third));
    assert!(follows(&pinned, third.roots(), third.crosses()));
    assert!(follows(second.roots(), third.roots(), third.crosses()));
    // A restart changes nothing.
    let again = open(dir.path()).unwrap();
    assert_eq!((again.roots(), again.crosses()), (third.roots(), third.crosses()));
    assert!(believes(&pinned, &again));
    // Not backwards, not without every step, and not to a stranger.
    assert!(!believes(third.roots(), &first));
    for missing in 0..third.crosses().len() {
        let mut crosses = third.crosses().clone();
        crosses.remove(missing);
        assert!(!follows(&pinned, third.roots(), &crosses), "{missing}");
    }
    let stranger = open(other.path()).unwrap();
    let mixed: Roots = [third.roots().clone(), stranger.roots().clone()].concat();
    assert!(!follows(&pinned, stranger.roots(), third.crosses()));
    assert!(!follows(&pinned, &mixed, third.crosses()), "a stranger's root beside one that follows");
    assert!(!believes(&pinned, &stranger));
}

#[test]
fn roots_take_turns_by_the_clock() {
    let dir = tempfile::tempdir().unwrap();
    let start = SystemTime::now();
    let lifetimes = Lifetimes { certificate: DAY, root: DAY * 100, rotate_after: DAY * 50, grace: DAY * 9 };
    let first = Authority::open(dir.path(), &aws(), lifetimes, start).unwrap();
    let about = |left: Duration, right: Duration| left.abs_diff(right) < Duration::from_secs(2);
    assert!(about(first.pause(start), DAY * 50));
    assert!(first.retire(start + DAY * 99, false).unwrap().is_none(), "the only one stays");
    let second = first.rotate(start + DAY * 50).unwrap();
    assert!(about(second.pause(start + DAY * 50), DAY * 10), "certificates of the old, and the grace");
    assert!(second.retire(start + DAY * 59, false).unwrap().is_none());
    let alone = second.retire(start + DAY * 61, false).unwrap().unwrap();
    assert_eq!(alone.roots()[..], second.roots()[..1]);
    assert!(about(alone.pause(start + DAY * 61), DAY * 39));
    let mut many = alone;
    for n in 1..4 {
        many = many.rotate(start + DAY * (100 + n)).unwrap();
    }
    let refused = many.rotate(start + DAY * 110).err().unwrap().to_string();
    assert!(refused.contains("4 roots") && refused.contains("--finish"), "{refused}");
}

#[test]
fn a_crash_in_the_middle_of_a_rotation_leaves_the_old_or_the_new() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path()).unwrap();
    let read = |name: &str| fs::read(dir.path().join(name)).unwrap();
    let (old_key, old_roots) = (read("ca.key"), read("ca.crt"));
    let second = first.rotate(SystemTime::now()).unwrap();
    let (new_key, new_roots) = (read("ca.key"), read("ca.crt"));
    let both = [new_key.clone(), old_key.clone()].concat();
    for (roots, key, is_new) in [(&old_roots, &old_key, false), (&new_roots, &new_key, true)] {
        fs::write(dir.path().join("ca.key"), &both).unwrap();
        fs::write(dir.path().join("ca.crt"), roots).unwrap();
        let found = open(dir.path()).unwrap();
        assert_eq!(found.roots() == second.roots(), is_new);
        assert_eq!(found.crosses().len(), usize::from(is_new), "a word for a key that is lost says nothing");
        assert_eq!(read("ca.key"), *key, "the other key is gone");
    }
}
