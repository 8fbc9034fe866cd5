//! One pod talks with the other.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use nix::libc;
use nix::sys::socket::{setsockopt, sockopt};

use crate::bpf_common::ip;
use crate::ways::{PODS, PORT, Stage};

fn served() -> SocketAddr {
    SocketAddr::new(ip(PODS[1]), PORT)
}

fn listen(stage: &Stage) -> TcpListener {
    stage.pods[1].netns().run(|| TcpListener::bind(served())).expect("enter").expect("listen")
}

/// Bytes a second of one stream.
pub(crate) fn stream(stage: &Stage, window: Duration) -> f64 {
    let listener = listen(stage);
    let from = stage.pods[0].netns();
    std::thread::scope(|scope| {
        let reader = scope.spawn(move || {
            let (mut end, _) = listener.accept().expect("accept");
            let (mut buffer, mut total) = (vec![0; 1 << 18], 0_usize);
            loop {
                match end.read(&mut buffer).expect("read") {
                    0 => return total,
                    more => total += more,
                }
            }
        });
        let mut end = from.run(|| TcpStream::connect(served())).expect("enter").expect("connect");
        let words = vec![7; 1 << 17];
        let begun = Instant::now();
        while begun.elapsed() < window {
            end.write_all(&words).expect("write");
        }
        end.shutdown(Shutdown::Write).expect("shut down");
        let total = reader.join().expect("the reader");
        total as f64 / begun.elapsed().as_secs_f64()
    })
}

/// New connections a second: dialled, accepted, broken off.
pub(crate) fn connects(stage: &Stage, window: Duration) -> f64 {
    let listener = listen(stage);
    let from = stage.pods[0].netns();
    std::thread::scope(|scope| {
        let server = scope.spawn(move || {
            // The last one says a word.
            while listener.accept().is_ok_and(|(mut end, _)| !matches!(end.read(&mut [0]), Ok(1))) {}
        });
        let client = scope.spawn(|| {
            let dial = || {
                let (begun, mut dialled) = (Instant::now(), 0_u32);
                while begun.elapsed() < window {
                    let end = TcpStream::connect(served()).expect("connect");
                    setsockopt(&end, sockopt::Linger, &libc::linger { l_onoff: 1, l_linger: 0 })
                        .expect("linger");
                    dialled += 1;
                }
                let rate = f64::from(dialled) / begun.elapsed().as_secs_f64();
                TcpStream::connect(served()).expect("connect").write_all(b"!").expect("write");
                rate
            };
            from.run(dial).expect("enter")
        });
        let rate = client.join().expect("the client");
        server.join().expect("the server");
        rate
    })
}
