//! Loads against servers that answer, refuse, hang and babble.

use std::net::SocketAddr;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use super::*;

async fn send(address: SocketAddr, rate: u32, millis: u64) -> Vec<Sample> {
    let load = Load {
        target: Target { address, path: "/".into() },
        rate,
        duration: Duration::from_millis(millis),
        timeout: Duration::from_millis(100),
    };
    let place = Answer { cluster: "aws".into(), node: "n".into(), ..Answer::default() };
    let mut samples = Vec::new();
    run(&load, &place, |sample| samples.push(sample)).await;
    samples
}

/// Listens, and does this with each connection.
async fn server(answer: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut kept = Vec::new();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            if answer == b"hang" {
                kept.push(stream);
                continue;
            }
            tokio::spawn(async move {
                let mut question = [0; 1024];
                let _ = tokio::io::AsyncReadExt::read(&mut stream, &mut question).await;
                let _ = stream.write_all(answer).await;
            });
        }
    });
    address
}

#[tokio::test]
async fn outcomes() {
    let free = ports::free();
    let answer = b"HTTP/1.1 200 OK\r\n\r\n{\"cluster\":\"aws\",\"region\":\"\",\"zone\":\"\",\"node\":\"n\",\
                   \"namespace\":\"\",\"pod\":\"p\",\"client\":\"\"}";
    let cases = [
        (server(answer).await, Outcome::Ok),
        (server(b"HTTP/1.1 503 No\r\n\r\n{}").await, Outcome::Strange),
        (server(b"SSH-2.0-nonsense\r\n").await, Outcome::Strange),
        (server(b"hang").await, Outcome::Timeout),
        (server(b"").await, Outcome::Reset),
        (free, Outcome::Refused),
    ];
    for (address, want) in cases {
        let samples = send(address, 50, 60).await;
        assert_eq!(samples.len(), 3, "{want:?}");
        for sample in samples {
            assert_eq!(sample.outcome, want);
            assert_eq!(sample.answer.is_some(), want == Outcome::Ok);
            assert_eq!(sample.tier, (want == Outcome::Ok).then_some(model::Tier::Node));
            assert_eq!(sample.ms >= 100.0, want == Outcome::Timeout, "{want:?} after {} ms", sample.ms);
        }
    }
}

#[tokio::test]
async fn answers_that_are_late_do_not_hold_up_the_next_requests() {
    let address = server(b"hang").await;
    let samples = send(address, 100, 200).await;
    assert_eq!(samples.len(), 20);
    let first = samples.iter().map(|sample| sample.at).fold(f64::INFINITY, f64::min);
    let last = samples.iter().map(|sample| sample.at).fold(0.0, f64::max);
    assert!((0.15..0.6).contains(&(last - first)), "sent within {} s", last - first);
}
