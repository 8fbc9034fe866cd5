//! Puts a probe's question, from the network namespace of the calling thread.

use std::net::{IpAddr, SocketAddr};
use std::process::Stdio;

use kernel::sandbox::{Sandbox, enter_before_exec};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;

use super::{Check, Spec};

/// What a probe learned: good, or why not.
pub type Answer = Result<(), String>;

/// The longest status line that is looked at.
const STATUS_LINE: usize = 512;

/// Asks once. `ip` is the pod's address, `sandbox` where its commands run.
pub async fn ask(spec: &Spec, ip: IpAddr, sandbox: &Sandbox) -> Answer {
    let question = async {
        match &spec.check {
            Check::Tcp { host, port } => connect(host.as_deref(), ip, *port).await.map(drop),
            Check::Http { host, port, path, headers } => {
                let stream = connect(host.as_deref(), ip, *port).await?;
                http(stream, host.as_deref(), SocketAddr::new(ip, *port), path, headers).await
            }
            Check::Exec { command } => exec(command, sandbox).await,
        }
    };
    match tokio::time::timeout(spec.timeout, question).await {
        Ok(answer) => answer,
        Err(_) => Err(format!("no answer within {:?}", spec.timeout)),
    }
}

async fn connect(host: Option<&str>, ip: IpAddr, port: u16) -> Result<TcpStream, String> {
    let ip = match host {
        Some(host) => host.parse().map_err(|_| format!("host {host:?} is no IP address"))?,
        None => ip,
    };
    let to = SocketAddr::new(ip, port);
    TcpStream::connect(to).await.map_err(|e| format!("cannot connect to {to}: {e}"))
}

/// HTTP/1.1 with one request on the connection (RFC 9112); only the status line of the answer is read.
async fn http(
    mut stream: TcpStream,
    host: Option<&str>,
    to: SocketAddr,
    path: &str,
    headers: &[(String, String)],
) -> Answer {
    let slash = if path.starts_with('/') { "" } else { "/" };
    let mut request =
        format!("GET {slash}{path} HTTP/1.1\r\nUser-Agent: causeway-lab\r\nConnection: close\r\n");
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        request += &match host {
            Some(host) => format!("Host: {host}:{}\r\n", to.port()),
            None => format!("Host: {to}\r\n"),
        };
    }
    for (name, value) in headers {
        request += &format!("{name}: {value}\r\n");
    }
    request += "\r\n";
    stream.write_all(request.as_bytes()).await.map_err(|e| format!("cannot ask {to}: {e}"))?;
    let mut answer = Vec::new();
    while answer.len() < STATUS_LINE && !answer.contains(&b'\n') {
        let read = stream.read_buf(&mut answer).await.map_err(|e| format!("no answer from {to}: {e}"))?;
        if read == 0 {
            break;
        }
    }
    match status(&answer) {
        Some(200..=399) => Ok(()),
        Some(code) => Err(format!("{to}{path} answers {code}")),
        None => Err(format!("{to} does not answer HTTP")),
    }
}

/// The code of a status line such as `HTTP/1.1 200 OK`.
fn status(answer: &[u8]) -> Option<u16> {
    let line = answer.split(|byte| *byte == b'\n').next()?;
    let mut words = std::str::from_utf8(line).ok()?.split_ascii_whitespace();
    words.next().filter(|word| word.starts_with("HTTP/1."))?;
    words.next()?.parse().ok()
}

async fn exec(command: &[String], sandbox: &Sandbox) -> Answer {
    let (program, args) = command.split_first().ok_or("the command is empty")?;
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    enter_before_exec(command.as_std_mut(), sandbox).map_err(|e| e.to_string())?;
    match command.status().await {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{program}: {status}")),
        Err(e) => Err(format!("cannot run {program}: {e}")),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::net::TcpListener;

    use super::*;

    fn spec(check: Check) -> Spec {
        let second = Duration::from_secs(1);
        Spec {
            check,
            initial_delay: Duration::ZERO,
            period: second,
            timeout: second,
            success_threshold: 1,
            failure_threshold: 1,
        }
    }

    #[test]
    fn status_lines() {
        for (text, code) in [
            ("HTTP/1.1 200 OK\r\n", Some(200)),
            ("HTTP/1.0 503\r\n", Some(503)),
            ("HTTP/2 200\r\n", None),
            ("SSH-2.0-x\r\n", None),
            ("", None),
        ] {
            assert_eq!(status(text.as_bytes()), code, "{text:?}");
        }
    }

    #[tokio::test]
    async fn http_and_tcp() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            for code in ["204 No Content", "500 No"] {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = [0; 256];
                let read = stream.read(&mut request).await.unwrap();
                let request = String::from_utf8_lossy(&request[..read]).into_owned();
                assert!(request.starts_with("GET /healthz HTTP/1.1\r\n"), "{request}");
                assert!(request.contains("X-A: b\r\n") && request.contains("Host: 127.0.0.1:"), "{request}");
                stream.write_all(format!("HTTP/1.1 {code}\r\n\r\n").as_bytes()).await.unwrap();
            }
        });
        let http = spec(Check::Http {
            host: None,
            port: address.port(),
            path: "healthz".into(),
            headers: vec![("X-A".into(), "b".into())],
        });
        let tcp = spec(Check::Tcp { host: None, port: address.port() });
        let here = Sandbox::default();
        assert_eq!(ask(&http, address.ip(), &here).await, Ok(()));
        assert!(ask(&http, address.ip(), &here).await.unwrap_err().contains("500"));
        server.await.unwrap();
        assert!(ask(&tcp, address.ip(), &here).await.unwrap_err().contains("cannot connect"));
    }

    #[tokio::test]
    async fn commands() {
        let here = Sandbox::default();
        let ip = IpAddr::from([127, 0, 0, 1]);
        let run =
            |words: &[&str]| spec(Check::Exec { command: words.iter().map(ToString::to_string).collect() });
        assert_eq!(ask(&run(&["true"]), ip, &here).await, Ok(()));
        assert!(ask(&run(&["false"]), ip, &here).await.unwrap_err().contains("exit status: 1"));
        assert!(ask(&run(&["/nonexistent"]), ip, &here).await.unwrap_err().contains("cannot run"));
        let slow = Spec { timeout: Duration::from_millis(20), ..run(&["sleep", "5"]) };
        assert!(ask(&slow, ip, &here).await.unwrap_err().contains("no answer"));
    }
}
