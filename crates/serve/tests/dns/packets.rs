//! One packet in, one packet out.

use causeway_serve::dns::{Action, Reason, Transport, answer};

use crate::message::*;
use crate::world::zone;

fn ask(packet: &[u8], transport: Transport, recursive: bool) -> (Action, Vec<u8>) {
    let mut out = vec![1, 2, 3];
    let action = answer(&zone(), packet, transport, 0, recursive, &mut out);
    (action, out)
}

fn told(name: &str, kind: u16) -> String {
    let (_, out) = ask(&question(name, kind), Transport::Udp, false);
    let read = Message::read(&out);
    assert_eq!(read.id, 0x1234);
    assert_eq!(read.flags & 0x8100, 0x8100, "a response that says that recursion was wanted");
    // Letter by letter: whoever plays with them (0x20) gets them back.
    assert_eq!(read.question, Some(format!("{name}.")));
    read.show()
}

const START: &str = "SOA clusterset.local. ns.dns.clusterset.local. hostmaster.clusterset.local.";

#[test]
fn rows_of_the_schema() {
    let soa = |text: &str| format!("{text}{START}");
    for (name, kind, want) in [
        ("dns-version.clusterset.local", TXT, "0 aa|TXT 1.0.0||".to_string()),
        ("echo.demo.svc.clusterset.local", A, "0 aa|A 10.200.0.7||".into()),
        ("eChO.DeMo.sVc.CLUSTERset.local", AAAA, "0 aa|AAAA fd00:c8::7||".into()),
        (
            "_http._tcp.echo.demo.svc.clusterset.local",
            SRV,
            "0 aa|SRV 0 100 80 echo.demo.svc.clusterset.local.||A 10.200.0.7 AAAA fd00:c8::7".into(),
        ),
        ("db.demo.svc.clusterset.local", A, "0 aa|A 10.2.0.5 A 10.2.0.6||".into()),
        (
            "db.demo.svc.clusterset.local",
            SRV,
            "0 aa|SRV 0 100 8080 db-0.gcp.db.demo.svc.clusterset.local. SRV 0 100 8080 \
             db-1.gcp.db.demo.svc.clusterset.local.||A 10.2.0.5 AAAA fd00:2::5 A 10.2.0.6 AAAA fd00:2::6"
                .into(),
        ),
        ("db-1.gcp.db.demo.svc.clusterset.local", AAAA, "0 aa|AAAA fd00:2::6||".into()),
        ("7.0.200.10.in-addr.arpa", PTR, "0 aa|PTR echo.demo.svc.clusterset.local.||".into()),
        ("echo.demo.svc.clusterset.local", TXT, soa("0 aa||")),
        ("demo.svc.clusterset.local", A, soa("0 aa||")),
        ("svc.clusterset.local", A, soa("0 aa||")),
        ("_tcp.db.demo.svc.clusterset.local", A, soa("0 aa||")),
        ("gcp.db.demo.svc.clusterset.local", A, soa("3 aa||")),
        ("none.demo.svc.clusterset.local", A, soa("3 aa||")),
        ("clusterset.local", SOA, format!("0 aa|{START}")),
        ("echo.demo.svc.clusterset.local", AXFR, "5|||".into()),
        ("example.com", A, "5|||".into()),
    ] {
        let got = told(name, kind);
        assert!(got.starts_with(&want), "{name} {kind}: {got} is not {want}");
    }
}

#[test]
fn edns() {
    let plain = question("echo.demo.svc.clusterset.local", A);
    let said = |version, flags| Edns { payload: 1232, version, dnssec_ok: flags, options: 0 };
    for (payload, version, flags, options, want) in [
        (4096, 0, 0x80, &[][..], (NOERROR, said(0, true), 1)),
        (100, 0, 0, &[], (NOERROR, said(0, false), 1)),
        // What nobody knows is not repeated.
        (1232, 0, 0, &[0xfd, 0xe9, 0, 3, 1, 2, 3], (NOERROR, said(0, false), 1)),
        (1232, 1, 0, &[], (16, said(0, false), 0)),
    ] {
        let (_, out) =
            ask(&with_edns(plain.clone(), payload, version, flags, options), Transport::Udp, false);
        let read = Message::read(&out);
        assert_eq!((read.code, read.edns.clone().unwrap(), read.answers()), want);
    }
    let (_, out) = ask(&plain, Transport::Udp, false);
    assert_eq!(Message::read(&out).edns, None, "who does not speak EDNS gets none");
}

#[test]
fn truncation() {
    for (payload, transport, limit, complete) in [
        (None, Transport::Udp, 512, false),
        (Some(100), Transport::Udp, 512, false),
        (Some(1000), Transport::Udp, 1000, false),
        (Some(65_535), Transport::Udp, 1232, true),
        (None, Transport::Tcp, 65_535, true),
    ] {
        let mut packet = question("many.demo.svc.clusterset.local", A);
        if let Some(payload) = payload {
            packet = with_edns(packet, payload, 0, 0, &[]);
        }
        let (action, out) = ask(&packet, transport, false);
        let read = Message::read(&out);
        assert!(out.len() <= limit, "{} > {limit}", out.len());
        assert_eq!(read.truncated(), !complete, "{payload:?}");
        assert_eq!(read.answers() == 60, complete, "{}", read.answers());
        assert!(read.answers() > 20 && read.edns.is_some() == payload.is_some());
        assert_eq!(action, Action::Reply(if complete { Reason::Answered } else { Reason::Truncated }));
    }
}

#[test]
fn what_is_no_question() {
    let good = question("echo.demo.svc.clusterset.local", A);
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut packet = good.clone();
        change(&mut packet);
        packet
    };
    let opt = [0, 0, 41, 16, 0, 0, 0, 0, 0, 0, 0];
    for (what, packet, want) in [
        ("nothing", vec![], Action::Drop(Reason::Dropped)),
        ("half a header", good[..11].to_vec(), Action::Drop(Reason::Dropped)),
        ("an answer", with(&|p| p[2] |= 0x80), Action::Drop(Reason::Dropped)),
        ("an update", with(&|p| p[2] = 5 << 3), Action::Reply(Reason::NotImplemented)),
        ("no question", with(&|p| p[5] = 0), Action::Reply(Reason::Malformed)),
        ("two questions", with(&|p| p[5] = 2), Action::Reply(Reason::Malformed)),
        ("an answer in it", with(&|p| p[7] = 1), Action::Reply(Reason::Malformed)),
        ("many additional records", with(&|p| p[10] = 1), Action::Reply(Reason::Malformed)),
        ("a record that is not there", with(&|p| p[11] = 1), Action::Reply(Reason::Malformed)),
        ("a header only", good[..12].to_vec(), Action::Reply(Reason::Malformed)),
        ("a cut name", good[..20].to_vec(), Action::Reply(Reason::Malformed)),
        (
            "a name that points to itself",
            with(&|p| p[12..14].copy_from_slice(&[0xc0, 12])),
            Action::Reply(Reason::Malformed),
        ),
        ("a label too long", with(&|p| p[12] = 64), Action::Reply(Reason::Malformed)),
        (
            "a name too long",
            [&good[..12], &[1, b'a'].repeat(127)[..], &[1, b'a', 0, 0, 1, 0, 1]].concat(),
            Action::Reply(Reason::Malformed),
        ),
        (
            "EDNS twice",
            with(&|p| {
                p[11] = 2;
                p.extend([opt, opt].concat());
            }),
            Action::Reply(Reason::Malformed),
        ),
        (
            "an EDNS option that is not there",
            with(&|p| {
                p[11] = 1;
                p.extend(opt);
                *p.last_mut().unwrap() = 4;
            }),
            Action::Reply(Reason::Malformed),
        ),
    ] {
        let (action, out) = ask(&packet, Transport::Udp, true);
        assert_eq!(action, want, "{what}");
        if let Action::Reply(_) = action {
            let read = Message::read(&out);
            let code = if want == Action::Reply(Reason::NotImplemented) { NOTIMP } else { FORMERR };
            assert_eq!((read.code, read.id), (code, 0x1234), "{what}");
            assert!(out.len() <= packet.len().max(12), "{what}: an error is never more than what caused it");
        }
    }
    let mut chaos = question("version.bind", TXT);
    *chaos.last_mut().unwrap() = 3;
    let (_, out) = ask(&chaos, Transport::Udp, true);
    assert_eq!(Message::read(&out).code, REFUSED);
    // A name of 255 bytes is one still.
    let longest = [&good[..12], &[1, b'a'].repeat(127)[..], &[0, 0, 1, 0, 1]].concat();
    assert_eq!(ask(&longest, Transport::Udp, true).0, Action::Forward);
}

#[test]
fn what_others_answer() {
    let mut packet = question("example.com", A);
    assert_eq!(ask(&packet, Transport::Udp, true).0, Action::Forward);
    // Recursion is not wanted.
    packet[2] = 0;
    assert_eq!(ask(&packet, Transport::Udp, true).0, Action::Reply(Reason::Refused));
}
