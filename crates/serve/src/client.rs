//! Asks a daemon on its Unix socket.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::body::Body;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::task::JoinSet;

use crate::local::ErrorBody;

/// No answer is longer, in bytes.
const LONGEST_ANSWER: usize = 256 << 20;

/// No answer is waited for longer. Linking clusters takes a conversation with the other side.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// There is nobody.
    #[error("nobody answers on {socket}: is the {} running? ({source})", daemon(socket))]
    Nobody {
        /// Where.
        socket: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// We may not ask.
    #[error("not allowed to ask on {0}: run this as root or as a member of the socket's group")]
    NotAllowed(PathBuf),
    /// The daemon refused.
    #[error("{text}")]
    Refused {
        /// What kind of refusal.
        status: StatusCode,
        /// In the daemon's words.
        text: String,
    },
    /// The daemon did not answer in time.
    #[error("{socket}: no answer to {question} within {} s: the daemon is stuck or overloaded, see its log", PATIENCE.as_secs())]
    Silent {
        /// Where.
        socket: PathBuf,
        /// What was asked.
        question: String,
    },
    /// The answer made no sense.
    #[error(
        "{socket}: the answer to {question} was not understood: {reason}; is the daemon of the same version?"
    )]
    Nonsense {
        /// Where.
        socket: PathBuf,
        /// What was asked.
        question: String,
        /// What was wrong with it.
        reason: String,
    },
}

/// Asks for a value.
///
/// # Errors
/// When nobody answers, or not with this.
pub async fn get<T: DeserializeOwned>(socket: &Path, path: &str) -> Result<T, ClientError> {
    Question { socket, method: Method::GET, path }.ask_json(Vec::new()).await
}

/// Asks for text, such as `/metrics`.
///
/// # Errors
/// When nobody answers, or not with text.
pub async fn get_text(socket: &Path, path: &str) -> Result<String, ClientError> {
    let question = Question { socket, method: Method::GET, path };
    let answer = question.ask(Vec::new()).await?;
    String::from_utf8(answer).map_err(|e| question.nonsense(e.to_string()))
}

/// Hands a value over, and asks for one.
///
/// # Errors
/// When nobody answers, or not with this.
pub async fn post<B: Serialize + ?Sized, T: DeserializeOwned>(
    socket: &Path,
    path: &str,
    body: &B,
) -> Result<T, ClientError> {
    let body = serde_json::to_vec(body).expect("our own types are JSON");
    Question { socket, method: Method::POST, path }.ask_json(body).await
}

/// Has something removed.
///
/// # Errors
/// When nobody answers, or not with this.
pub async fn delete<T: DeserializeOwned>(socket: &Path, path: &str) -> Result<T, ClientError> {
    Question { socket, method: Method::DELETE, path }.ask_json(Vec::new()).await
}

struct Question<'a> {
    socket: &'a Path,
    method: Method,
    path: &'a str,
}

impl Question<'_> {
    async fn ask_json<T: DeserializeOwned>(&self, body: Vec<u8>) -> Result<T, ClientError> {
        let answer = self.ask(body).await?;
        serde_json::from_slice(&answer).map_err(|e| self.nonsense(e.to_string()))
    }

    async fn ask(&self, body: Vec<u8>) -> Result<Vec<u8>, ClientError> {
        let silent = || ClientError::Silent { socket: self.socket.into(), question: self.to_string() };
        tokio::time::timeout(PATIENCE, self.converse(body)).await.map_err(|_| silent())?
    }

    async fn converse(&self, body: Vec<u8>) -> Result<Vec<u8>, ClientError> {
        let stream = UnixStream::connect(self.socket).await.map_err(|source| match source.kind() {
            ErrorKind::PermissionDenied => ClientError::NotAllowed(self.socket.into()),
            _ => ClientError::Nobody { socket: self.socket.into(), source },
        })?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|e| self.nonsense(e.to_string()))?;
        let request = Request::builder()
            .method(self.method.clone())
            .uri(self.path)
            .header(header::HOST, "localhost")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(body))
            .map_err(|e| self.nonsense(e.to_string()))?;
        // Carries the exchange; ends with this set.
        let mut carrying = JoinSet::new();
        carrying.spawn(connection);
        let response = sender.send_request(request).await.map_err(|e| self.nonsense(e.to_string()))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), LONGEST_ANSWER).collect().await.map_err(|e| {
            let too_long = e.downcast_ref::<LengthLimitError>().is_some();
            self.nonsense(if too_long { "it is too long".into() } else { e.to_string() })
        })?;
        let body = body.to_bytes().to_vec();
        if status.is_success() {
            return Ok(body);
        }
        let text = match serde_json::from_slice::<ErrorBody>(&body) {
            Ok(ErrorBody { error }) => error,
            Err(_) => format!("{self}: {status}: {}", String::from_utf8_lossy(&body).trim()),
        };
        Err(ClientError::Refused { status, text })
    }

    fn nonsense(&self, reason: String) -> ClientError {
        ClientError::Nonsense { socket: self.socket.into(), question: self.to_string(), reason }
    }
}

impl std::fmt::Display for Question<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}

/// Who ought to answer on a socket, by its name.
fn daemon(socket: &Path) -> &'static str {
    match socket.file_stem().and_then(|name| name.to_str()) {
        Some("agent") => "agent",
        Some("controller") => "controller",
        _ => "daemon",
    }
}
