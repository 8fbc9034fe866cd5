//! Frames of a stream, whichever side sends them: any bytes are either refused, or something that reads the same when it is
//! said again. The first byte chooses which kind of frame the rest is, so that little has to be guessed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use link::frames::{self, Said, read};
use model::GenerationId;
use prost::Message;
use wire::pb;
use wire::pb::frame::Body;

fn frame(kind: u8, bytes: &[u8]) -> Option<pb::Frame> {
    let body = match kind & 3 {
        0 => return pb::Frame::decode(bytes).ok(),
        1 => Body::Report(pb::NodeReport::decode(bytes).ok()?),
        2 => Body::Subscribe(pb::Subscribe::decode(bytes).ok()?),
        _ => Body::Want(pb::Want::decode(bytes).ok()?),
    };
    Some(pb::Frame { body: Some(body) })
}

fuzz_target!(|input: &[u8]| {
    let Some((kind, bytes)) = input.split_first() else { return };
    let Some(frame) = frame(*kind, bytes) else { return };
    match read(frame) {
        Ok(Said::Report(report)) => {
            assert!(report.generations.len() <= GenerationId::MOST);
            match read(frames::report(&report)) {
                Ok(Said::Report(again)) => assert_eq!(again, report),
                other => panic!("{report:?} is said as {other:?}"),
            }
        }
        Ok(Said::Subscribe(ask)) => match read(frames::subscribe(ask.clone())) {
            Ok(Said::Subscribe(again)) => assert_eq!(again, ask),
            other => panic!("{ask:?} is said as {other:?}"),
        },
        Ok(Said::Want(want)) => match read(frames::want(&want)) {
            Ok(Said::Want(again)) => assert_eq!(again, want),
            other => panic!("{want:?} is said as {other:?}"),
        },
        Ok(Said::Farewell(_, detail)) => {
            assert!(detail.chars().count() <= wire::limits::FAREWELL_CHARS);
            assert!(!detail.chars().any(char::is_control));
        }
        Ok(_) | Err(_) => {}
    }
});
