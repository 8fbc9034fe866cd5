//! Metrics and health over TCP, spoken to in plain bytes.

use std::net::SocketAddr;
use std::sync::Arc;

use causeway_serve::{Health, Vitals, http};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

struct Fake(Health);

impl Vitals for Fake {
    fn health(&self) -> Health {
        self.0.clone()
    }
    fn metrics(&self) -> String {
        "causeway_up 1\n# EOF\n".into()
    }
}

async fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn metrics_and_health() {
    for (waiting_for, readiness) in [(vec![], "HTTP/1.1 200"), (vec!["peers".to_string()], "HTTP/1.1 503")] {
        let address = ports::free();
        let router = http::router(Arc::new(Fake(Health { waiting_for })));
        let mut server = tokio::task::JoinSet::new();
        server.spawn(http::serve(address, router).await.unwrap());
        let metrics = get(address, "/metrics").await;
        assert!(metrics.contains("content-type: application/openmetrics-text; version=1.0.0"), "{metrics}");
        assert!(metrics.ends_with("causeway_up 1\n# EOF\n"), "{metrics}");
        assert!(get(address, "/healthz").await.starts_with("HTTP/1.1 200"));
        assert!(get(address, "/readyz").await.starts_with(readiness));
        assert!(get(address, "/else").await.starts_with("HTTP/1.1 404"));
    }
}

#[tokio::test]
async fn a_port_in_use_is_said() {
    let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = holder.local_addr().unwrap();
    let refused = http::serve(address, axum::Router::new()).await.err().expect("in use").to_string();
    assert!(refused.contains(&address.to_string()) && refused.contains("the port is free"), "{refused}");
}

/// Many clients that never say anything keep nobody else out for longer than the header timeout.
#[tokio::test(start_paused = true)]
async fn silent_clients_are_let_go() {
    let address = ports::free();
    let router = http::router(Arc::new(Fake(Health::default())));
    let mut server = tokio::task::JoinSet::new();
    server.spawn(http::serve(address, router).await.unwrap());
    let mut silent = Vec::new();
    for _ in 0..64 {
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    let answer = tokio::time::timeout(std::time::Duration::from_secs(30), get(address, "/healthz")).await;
    assert!(answer.expect("the silent ones were let go").starts_with("HTTP/1.1 200"));
}
