//! The server as its clients see it.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;

fn who() -> Answer {
    Answer { cluster: "aws".into(), zone: "a".into(), pod: "echo-1".into(), ..Answer::default() }
}

/// A running server and its port.
async fn server() -> (u16, JoinSet<()>) {
    let server = Arc::new(Server { identity: who(), healthy: AtomicBool::new(true) });
    let (tcp, udp) = bind(&Listen::Everywhere(ports::free().port())).await.unwrap();
    let port = tcp.local_addr().unwrap().port();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { http(tcp, server.clone(), std::future::pending()).await.unwrap() });
    let server = Arc::new(Server { identity: who(), healthy: AtomicBool::new(true) });
    tasks.spawn(async move { datagrams(udp, server).await.unwrap() });
    (port, tasks)
}

async fn ask(stream: &mut TcpStream, request: &str) -> (u16, String) {
    stream.write_all(format!("{request} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await.unwrap();
    let mut text = String::new();
    loop {
        let mut buffer = [0; 1024];
        let read = stream.read(&mut buffer).await.unwrap();
        assert!(read > 0, "the connection is kept: {text}");
        text.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        if body.len() == length.parse::<usize>().unwrap() {
            return (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_string());
        }
    }
}

#[tokio::test]
async fn http_says_who_answered_and_keeps_the_connection() {
    let (port, _tasks) = server().await;
    for (address, client) in [("127.0.0.1", "127.0.0.1"), ("::1", "::1")] {
        let mut stream = TcpStream::connect((address, port)).await.unwrap();
        for path in ["GET /", "GET /any/thing?x=1", "POST /"] {
            let (status, body) = ask(&mut stream, path).await;
            assert_eq!(status, 200);
            let answer: Answer = serde_json::from_str(&body).unwrap();
            assert_eq!(answer, Answer { client: client.into(), ..who() });
        }
    }
}

#[tokio::test]
async fn a_probe_can_be_made_to_fail() {
    let (port, _tasks) = server().await;
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let steps = [
        ("GET /healthz", 200),
        ("POST /fail", 200),
        ("GET /healthz", 503),
        ("GET /", 200),
        ("POST /recover", 200),
        ("GET /healthz", 200),
        ("GET /fail", 405),
        ("GET /healthz", 200),
    ];
    for (request, status) in steps {
        assert_eq!(ask(&mut stream, request).await.0, status, "{request}");
    }
}

#[tokio::test]
async fn udp_says_the_same() {
    let (port, _tasks) = server().await;
    for (own, server) in [("127.0.0.1:0", "127.0.0.1"), ("[::1]:0", "::1")] {
        let socket = UdpSocket::bind(own).await.unwrap();
        socket.connect((server, port)).await.unwrap();
        for question in [&b""[..], b"hello?"] {
            socket.send(question).await.unwrap();
            let mut buffer = [0; 2048];
            let read = socket.recv(&mut buffer).await.unwrap();
            let answer: Answer = serde_json::from_slice(&buffer[..read]).unwrap();
            assert_eq!(answer, Answer { client: server.into(), ..who() });
        }
    }
}

#[tokio::test]
async fn a_port_that_is_taken_is_said() {
    let (port, _tasks) = server().await;
    let error = bind(&Listen::Everywhere(port)).await.err().unwrap().to_string();
    assert!(error.contains(&port.to_string()) && error.contains("taken"), "{error}");
}

/// A request that is under way when the server is told to stop is answered, and then it is over.
#[tokio::test]
async fn what_was_asked_is_answered_before_the_end() {
    let port = ports::free().port();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let listens = [Listen::Everywhere(port)];
    let server = tokio::spawn(async move { run(who(), &listens, async { drop(stopped.await) }).await });
    let mut stream = loop {
        match TcpStream::connect(("127.0.0.1", port)).await {
            Ok(stream) => break stream,
            Err(_) => tokio::task::yield_now().await,
        }
    };
    // Half of it before, half of it after.
    stream.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    let mut second = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    assert_eq!(ask(&mut second, "GET /").await.0, 200, "it is served while nobody says stop");
    stop.send(()).unwrap();
    stream.write_all(b"Host: x\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    server.await.unwrap().unwrap();
}
