//! The CNI plugin: carries what a container runtime says to the agent on this node, and the answer back (CNI 1.1.0).
//!
//! Started for every pod, so it does as little as it can: no runtime, no client library, one request over a Unix
//! socket. Everything is decided by the agent; only `VERSION` needs nobody, and an agent that does not answer is told
//! as "try again later".

mod loopback;

use std::env;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};
use wire::local::{CniRequest, CniResponse};

/// Where the agent answers, unless the network configuration's `socket` says otherwise.
const SOCKET: &str = "/run/causeway/agent.sock";

/// How long the agent may take for one request.
const PATIENCE: Duration = Duration::from_secs(30);

/// The longest configuration taken in, and the longest answer.
const CONFIG_MAX: u64 = 4 << 20;
const ANSWER_MAX: u64 = 4 << 20;

/// What cannot be answered by asking the agent.
#[derive(Debug, thiserror::Error)]
enum PluginError {
    #[error("cannot read the network configuration from standard input")]
    Input(#[source] io::Error),
    #[error("the network configuration is longer than {CONFIG_MAX} bytes")]
    TooLong,
    #[error("the network configuration is not JSON")]
    Json(#[source] serde_json::Error),
    #[error("environment variable {0} is missing")]
    Missing(&'static str),
    #[error("the agent does not answer at {socket}")]
    Unreachable { socket: String, source: io::Error },
    /// The same, to `STATUS`, which has a number of its own for "no pod can be added".
    #[error("no pod can be added: the agent does not answer at {socket}")]
    Unavailable { socket: String, source: io::Error },
    #[error("the agent's answer is not understood")]
    Answer(String),
}

impl PluginError {
    /// CNI 1.1.0, "Section 5: Result Types", error codes.
    fn code(&self) -> u32 {
        match self {
            Self::Missing(_) => 4,
            Self::Input(_) => 5,
            Self::TooLong | Self::Json(_) => 6,
            Self::Unreachable { .. } | Self::Answer(_) => 11,
            Self::Unavailable { .. } => 50,
        }
    }

    fn details(&self) -> String {
        match self {
            Self::Missing(_) => {
                "this program is called by container runtimes, as the CNI specification says".into()
            }
            Self::Input(e) => e.to_string(),
            Self::TooLong => "write a shorter one".into(),
            Self::Json(e) => e.to_string(),
            Self::Unreachable { source, .. } | Self::Unavailable { source, .. } => format!(
                "{source}; is `causeway agent` running on this node, and does the configuration's \"socket\" name its socket?"
            ),
            Self::Answer(why) => format!("{why}; is the agent of the same version as the plugin?"),
        }
    }
}

/// Whether a container runtime calls: it runs the program without arguments and says everything in the environment.
pub(crate) fn called_by_runtime() -> bool {
    env::args_os().len() <= 1 && env::var_os("CNI_COMMAND").is_some()
}

/// Runs the plugin: environment and standard input in, result or error on standard output.
pub(crate) fn run() -> ExitCode {
    let (response, version) = match input() {
        Ok((command, config)) => {
            let version = config.get("cniVersion").and_then(Value::as_str).unwrap_or("1.1.0").to_string();
            (answer(&command, config), version)
        }
        Err(e) => (Err(e), "1.1.0".into()),
    };
    let (text, exit) = printed(response, &version);
    match io::stdout().write_all(text.as_bytes()) {
        Ok(()) => exit,
        Err(_) => ExitCode::FAILURE,
    }
}

fn input() -> Result<(String, Value), PluginError> {
    let command = env::var("CNI_COMMAND").map_err(|_| PluginError::Missing("CNI_COMMAND"))?;
    let mut bytes = Vec::new();
    io::stdin().lock().take(CONFIG_MAX + 1).read_to_end(&mut bytes).map_err(PluginError::Input)?;
    if bytes.len() as u64 > CONFIG_MAX {
        return Err(PluginError::TooLong);
    }
    Ok((command, serde_json::from_slice(&bytes).map_err(PluginError::Json)?))
}

fn answer(command: &str, config: Value) -> Result<CniResponse, PluginError> {
    let variable = |name| env::var(name).unwrap_or_default();
    if loopback::is_called() {
        return Ok(loopback::answer(command, &variable("CNI_NETNS"), &config));
    }
    if command == "VERSION" {
        let asked = config.get("cniVersion").and_then(Value::as_str).unwrap_or("1.1.0");
        let versions = json!({"cniVersion": asked, "supportedVersions": agent::cni::VERSIONS});
        return Ok(CniResponse::Result(versions));
    }
    let socket = config.get("socket").and_then(Value::as_str).unwrap_or(SOCKET).to_string();
    let request = CniRequest {
        command: command.into(),
        container_id: variable("CNI_CONTAINERID"),
        netns: variable("CNI_NETNS"),
        ifname: variable("CNI_IFNAME"),
        args: variable("CNI_ARGS"),
        config,
    };
    ask(&socket, &request).map_err(|e| match e {
        PluginError::Unreachable { socket, source } if command == "STATUS" => {
            PluginError::Unavailable { socket, source }
        }
        other => other,
    })
}

/// What goes to standard output, and the exit status.
fn printed(response: Result<CniResponse, PluginError>, version: &str) -> (String, ExitCode) {
    let error = |code: u32, msg: String, details: String| {
        let error = json!({"cniVersion": version, "code": code, "msg": msg, "details": details});
        (format!("{error}\n"), ExitCode::FAILURE)
    };
    match response {
        Ok(CniResponse::Result(Value::Null)) => (String::new(), ExitCode::SUCCESS),
        Ok(CniResponse::Result(result)) => (format!("{result}\n"), ExitCode::SUCCESS),
        Ok(CniResponse::Error { code, msg, details }) => error(code, msg, details),
        Err(e) => error(e.code(), e.to_string(), e.details()),
    }
}

/// One `POST /v1/cni` over HTTP/1.1 (RFC 9112), as small as it gets: the connection ends with the answer.
fn ask(socket: &str, request: &CniRequest) -> Result<CniResponse, PluginError> {
    let body = serde_json::to_vec(request).expect("strings and JSON have a form in JSON");
    let head = format!(
        "POST /v1/cni HTTP/1.1\r\nHost: causeway\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let exchange = || -> io::Result<Vec<u8>> {
        let mut stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.write_all(&[head.as_bytes(), &body].concat())?;
        let mut answer = Vec::new();
        stream.take(ANSWER_MAX).read_to_end(&mut answer)?;
        Ok(answer)
    };
    let answer = exchange().map_err(|source| PluginError::Unreachable { socket: socket.into(), source })?;
    parse(&answer)
}

/// Reads an answer to [`ask`].
fn parse(answer: &[u8]) -> Result<CniResponse, PluginError> {
    let wrong = |why: &str| PluginError::Answer(why.into());
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n").ok_or(wrong("it was cut off"))?;
    let head = std::str::from_utf8(&answer[..end]).map_err(|_| wrong("its head is not text"))?;
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap_or_default();
    let code = status.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3));
    let headers = lines.filter_map(|line| line.split_once(':'));
    let mut length = None;
    for (name, value) in headers {
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse::<usize>().ok();
        }
    }
    let body = &answer[end + 4..];
    let length = length.ok_or(wrong("it has no length"))?;
    let body = body.get(..length).ok_or(wrong("it was cut off"))?;
    match code {
        Some("200") => serde_json::from_slice(body).map_err(|e| PluginError::Answer(e.to_string())),
        _ => Err(PluginError::Answer(format!("{status}: {}", String::from_utf8_lossy(body).trim()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn http(status: &str, body: &str) -> Vec<u8> {
        format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
        .into()
    }

    #[test]
    fn answers() {
        let good = parse(&http("200 OK", r#"{"result":{"ips":[]}}"#)).unwrap();
        assert!(matches!(good, CniResponse::Result(value) if value == json!({"ips": []})));
        let refused = parse(&http("200 OK", r#"{"error":{"code":11,"msg":"m","details":"d"}}"#)).unwrap();
        assert!(matches!(refused, CniResponse::Error { code: 11, .. }));
        let whole = http("200 OK", r#"{"result":null}"#);
        let bad = [
            Vec::new(),
            b"HTTP/1.1 200 OK\r\n".to_vec(),
            b"HTTP/1.1 200 OK\r\n\r\n{}".to_vec(),
            b"\xff\xff\r\n\r\n".to_vec(),
            b"HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551616\r\n\r\n".to_vec(),
            whole[..whole.len() - 1].to_vec(),
            http("200 OK", "{"),
            http("200 OK", "{}"),
            http("503 Service Unavailable", r#"{"error":"not now"}"#),
            http("2000 OK", "null"),
        ];
        for answer in bad {
            let error = parse(&answer).unwrap_err();
            assert_eq!(error.code(), 11, "{}", String::from_utf8_lossy(&answer));
        }
    }

    #[test]
    fn output() {
        let (text, _) = printed(Ok(CniResponse::Result(Value::Null)), "1.0.0");
        assert_eq!(text, "");
        let unreachable =
            PluginError::Unreachable { socket: "/x".into(), source: io::Error::from_raw_os_error(2) };
        let (text, _) = printed(Err(unreachable), "1.0.0");
        let error: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&error["cniVersion"], &error["code"]), (&json!("1.0.0"), &json!(11)));
        assert!(error["msg"].as_str().unwrap().contains("/x"));
        assert!(error["details"].as_str().unwrap().contains("causeway agent"));
    }

    #[test]
    fn version_needs_nobody() {
        let response = answer("VERSION", json!({"cniVersion": "1.0.0"})).unwrap();
        let CniResponse::Result(value) = response else { panic!("{response:?}") };
        assert_eq!(value, json!({"cniVersion": "1.0.0", "supportedVersions": ["0.4.0", "1.0.0", "1.1.0"]}));
    }

    #[test]
    fn nobody_there() {
        let request = CniRequest {
            command: "ADD".into(),
            container_id: "a".into(),
            netns: String::new(),
            ifname: String::new(),
            args: String::new(),
            config: json!({}),
        };
        assert_eq!(ask("/nowhere/agent.sock", &request).unwrap_err().code(), 11);
        let nowhere = |command| answer(command, json!({"socket": "/nowhere/agent.sock"})).unwrap_err().code();
        assert_eq!((nowhere("ADD"), nowhere("DEL"), nowhere("STATUS")), (11, 11, 50));
    }
}
