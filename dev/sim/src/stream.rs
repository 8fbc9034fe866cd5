//! One teller, one hearer, and what is between them.

use engine::exchange::{Audience, Cursor, Held, Interest, Mirror, Told};
use link::frames;
use prost::Message as _;
use wire::limits::FRAME_BYTES;
use wire::pb;

use crate::hostile::Liar;
use crate::network::{Path, Pipe, Time};
use crate::shape;
use crate::{Encoding, Random, Traffic};

/// What a message costs beside itself: gRPC's five bytes, an HTTP/2 frame's nine, and a TLS record's 22 (RFC 8446 §5.2:
/// five of header, one of type, sixteen of tag).
const ENVELOPE: usize = 5 + 9 + 22;
/// Bytes on the way at most, as `link` sets HTTP/2's window.
const WINDOW: usize = 256 * 1024;

/// The contexts that messages are compressed in one by one. The level is gRPC's.
pub(crate) struct Zstd(zstd::bulk::Compressor<'static>, zstd::bulk::Decompressor<'static>);

impl Default for Zstd {
    fn default() -> Self {
        let compressor = zstd::bulk::Compressor::new(zstd::DEFAULT_COMPRESSION_LEVEL);
        let decompressor = zstd::bulk::Decompressor::new();
        Self(compressor.expect("a context is only memory"), decompressor.expect("a context is only memory"))
    }
}

/// Who hears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hearer {
    /// A controller, by its cluster.
    Controller(usize),
    /// An agent, counted over all.
    Agent(usize),
}

/// A stream, up or not.
#[derive(Debug)]
pub(crate) struct Stream {
    /// The cluster whose controller tells.
    pub(crate) teller: usize,
    pub(crate) hearer: Hearer,
    pub(crate) path: Path,
    pub(crate) mirror: Mirror,
    pub(crate) traffic: Traffic,
    /// What it was when everything was known for the first time.
    pub(crate) bootstrap: Option<Traffic>,
    /// When it came up last, and whether everything is known since.
    pub(crate) since: Time,
    pub(crate) synced: bool,
    /// Counts connections: what was sent on an earlier one does not arrive.
    pub(crate) generation: u32,
    /// Whether an event that makes it tell is on its way.
    pub(crate) woken: bool,
    pub(crate) liar: Option<Liar>,
    encoding: Encoding,
    cursor: Option<Cursor>,
    pipe: Pipe,
    in_flight: usize,
}

impl Stream {
    pub(crate) fn new(teller: usize, hearer: Hearer, path: Path, encoding: Encoding) -> Self {
        let mirror = match hearer {
            Hearer::Controller(_) => Mirror::of_peer(shape::cluster(teller), Held::default()),
            Hearer::Agent(_) => Mirror::trusting(Held::default()),
        };
        Self {
            teller,
            hearer,
            path,
            mirror,
            traffic: Traffic::default(),
            bootstrap: None,
            since: 0,
            synced: false,
            generation: 0,
            woken: false,
            liar: None,
            encoding,
            cursor: None,
            pipe: Pipe::default(),
            in_flight: 0,
        }
    }

    pub(crate) fn audience(&self) -> Audience {
        match self.hearer {
            Hearer::Controller(_) => Audience::Peers,
            Hearer::Agent(_) => Audience::Agents,
        }
    }

    pub(crate) fn is_up(&self) -> bool {
        self.cursor.is_some()
    }

    /// The stream is there. What was asked for is told next.
    pub(crate) fn connect(&mut self, now: Time) {
        self.cursor = Some(Cursor::new(self.mirror.open(Interest::everything(), true).ask));
        self.since = now;
        self.pipe = Pipe::default();
        self.in_flight = 0;
        if let Some(liar) = &mut self.liar {
            liar.begin();
        }
    }

    /// The stream is gone.
    pub(crate) fn disconnect(&mut self) {
        self.cursor = None;
        self.woken = false;
        self.synced = false;
        self.generation += 1;
        self.mirror.handle_break();
    }

    /// The teller's place, if more may be sent now.
    pub(crate) fn room(&mut self) -> Option<&mut Cursor> {
        self.cursor.as_mut().filter(|_| self.in_flight < WINDOW)
    }

    /// What is told, as bytes, and how long the pipe takes for them.
    pub(crate) fn send(
        &mut self,
        told: Told,
        now: Time,
        random: &mut Random,
        zstd: &mut Zstd,
    ) -> (Vec<u8>, Time) {
        if let Told::Begin { snapshot: true, .. } = told {
            self.traffic.snapshots += 1;
        }
        if let Told::Batch { changes, .. } = &told {
            self.traffic.changes += changes.len() as u64;
        }
        let frame = frames::told(told).encode_to_vec();
        let bytes = match self.encoding {
            Encoding::Plain => frame,
            Encoding::Messages => zstd.0.compress(&frame).expect("compressing needs no more than memory"),
        };
        self.traffic.messages += 1;
        self.traffic.bytes += (bytes.len() + ENVELOPE) as u64;
        self.in_flight += bytes.len();
        let arrival = self.pipe.send(&self.path, bytes.len() + ENVELOPE, now, random);
        (bytes, arrival)
    }

    /// Bytes arrived, and there is room for as many.
    pub(crate) fn acknowledge(&mut self, bytes: usize) {
        self.in_flight = self.in_flight.saturating_sub(bytes);
    }

    /// What was told.
    pub(crate) fn read(&self, bytes: &[u8], zstd: &mut Zstd) -> frames::Said {
        let frame = match self.encoding {
            Encoding::Plain => pb::Frame::decode(bytes),
            Encoding::Messages => {
                let frame = zstd.1.decompress(bytes, FRAME_BYTES).expect("it was compressed");
                pb::Frame::decode(&*frame)
            }
        };
        frames::read(frame.expect("it was encoded")).expect("our own frames parse")
    }
}
