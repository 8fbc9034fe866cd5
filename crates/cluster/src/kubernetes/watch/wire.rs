//! Lists and watches as bytes: one request each, read as they come.

use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper::header::RETRY_AFTER;
use hyper::http::{Request, Response};
use kube::Client;
use kube::api::{ListParams, WatchParams};
use kube::client::Body;
use kube::core::{Request as Path, Status};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::failure::Failure;

/// The most that is read of the reason for a refusal.
const REASON: usize = 64 * 1024;

/// One page of a list.
#[derive(Deserialize)]
pub(super) struct Page<'a> {
    #[serde(default)]
    pub(super) metadata: PageMeta,
    #[serde(default, borrow)]
    pub(super) items: Option<Vec<&'a RawValue>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PageMeta {
    #[serde(default)]
    pub(super) resource_version: String,
    #[serde(default, rename = "continue")]
    pub(super) next: String,
}

/// One line of a watch.
#[derive(Deserialize)]
pub(super) struct Line<'a> {
    #[serde(rename = "type")]
    pub(super) what: Told,
    #[serde(borrow)]
    pub(super) object: &'a RawValue,
}

/// What a line of a watch tells of its object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum Told {
    Added,
    Modified,
    Deleted,
    Bookmark,
    Error,
}

/// Asks for a page of a list.
pub(super) async fn page(client: &Client, path: &str, limit: u32, next: &str) -> Result<Vec<u8>, Failure> {
    let mut params = ListParams::default().limit(limit);
    if !next.is_empty() {
        params = params.continue_token(next);
    }
    let request = Path::new(path).list(&params).map_err(unsayable)?;
    let body = ask(client, request).await?.into_body();
    Ok(body.collect().await?.to_bytes().into())
}

/// Begins a watch: from a place, or with everything there is.
pub(super) async fn watch(
    client: &Client,
    path: &str,
    from: Option<&str>,
    lasting: Duration,
) -> Result<Lines, Failure> {
    let params = WatchParams {
        timeout: Some(u32::try_from(lasting.as_secs()).unwrap_or(1).clamp(1, 294)),
        bookmarks: true,
        send_initial_events: from.is_none(),
        ..WatchParams::default()
    };
    // No place at all stands for one that is as new as the newest.
    let request = Path::new(path).watch(&params, from.unwrap_or_default()).map_err(unsayable)?;
    let body = ask(client, request).await?.into_body();
    Ok(Lines { body, buffer: Vec::new(), read: 0, searched: 0 })
}

fn unsayable(error: kube::core::request::Error) -> Failure {
    Failure::Unreadable(error.to_string())
}

async fn ask(client: &Client, request: Request<Vec<u8>>) -> Result<Response<Body>, Failure> {
    let response = client.send(request.map(Body::from)).await?;
    if response.status().is_success() {
        return Ok(response);
    }
    let code = response.status();
    let retry_after = response.headers().get(RETRY_AFTER);
    let retry_after =
        retry_after.and_then(|value| value.to_str().ok()?.parse().ok()).map(Duration::from_secs);
    let text = http_body_util::Limited::new(response.into_body(), REASON).collect().await;
    let text = text.map(|body| body.to_bytes()).unwrap_or_default();
    let message = match serde_json::from_slice::<Status>(&text) {
        Ok(status) => status.message,
        Err(_) => String::from_utf8_lossy(&text).chars().take(200).collect(),
    };
    let known = code.canonical_reason().unwrap_or_default();
    let message = if message.trim().is_empty() { known.into() } else { message.trim().into() };
    Err(Failure::Refused { code: code.as_u16(), message, retry_after })
}

/// The lines of an answer, as they come.
pub(super) struct Lines {
    body: Body,
    buffer: Vec<u8>,
    /// What lies before it was handed out.
    read: usize,
    /// What lies before it has no end of a line.
    searched: usize,
}

impl Lines {
    /// The next whole line; nothing at the end. May be given up and asked again.
    pub(super) async fn next(&mut self) -> Result<Option<&[u8]>, Failure> {
        loop {
            if let Some(length) = self.buffer[self.searched..].iter().position(|byte| *byte == b'\n') {
                let (start, end) = (self.read, self.searched + length);
                (self.read, self.searched) = (end + 1, end + 1);
                return Ok(Some(&self.buffer[start..end]));
            }
            self.buffer.drain(..self.read);
            (self.read, self.searched) = (0, self.buffer.len());
            match self.body.frame().await {
                None => return Ok(None),
                Some(Err(error)) => return Err(error.into()),
                Some(Ok(frame)) => {
                    if let Some(data) = frame.data_ref() {
                        self.buffer.extend_from_slice(data);
                    }
                }
            }
        }
    }
}
