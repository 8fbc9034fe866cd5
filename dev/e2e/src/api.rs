//! The API as plain paths and JSON, by somebody who may do everything.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use http_body_util::BodyExt as _;
use kube::client::Body;
use serde_json::Value;

/// How long anything may take that is waited for, unless the story has a shorter limit.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A client.
#[derive(Clone)]
pub(crate) struct Api(kube::Client);

impl Api {
    pub(crate) async fn new(kubeconfig: &Path) -> Result<Api> {
        let config = kube::config::Kubeconfig::read_from(kubeconfig)
            .with_context(|| format!("reading {}", kubeconfig.display()))?;
        let options = kube::config::KubeConfigOptions::default();
        let mut config = kube::Config::from_custom_kubeconfig(config, &options).await?;
        config.default_retry = false;
        Ok(Api(kube::Client::try_from(config)?))
    }

    /// The code and the body of an answer.
    async fn call(
        &self,
        method: &str,
        path: &str,
        media: &str,
        body: Option<&Value>,
    ) -> Result<(u16, Value)> {
        let body = body.map(Value::to_string).unwrap_or_default();
        let request = hyper::Request::builder().method(method).uri(path).header("content-type", media);
        let response = self.0.send(request.body(Body::from(body.into_bytes()))?).await;
        let response = response.with_context(|| format!("{method} {path}"))?;
        let code = response.status().as_u16();
        let bytes =
            response.into_body().collect().await.with_context(|| format!("{method} {path}"))?.to_bytes();
        let text = || Value::String(String::from_utf8_lossy(&bytes).into_owned());
        Ok((code, serde_json::from_slice(&bytes).unwrap_or_else(|_| text())))
    }

    async fn done(&self, method: &str, path: &str, media: &str, body: Option<&Value>) -> Result<Value> {
        let (code, answer) = self.call(method, path, media, body).await?;
        if !(200..300).contains(&code) {
            bail!("{method} {path}: {code} {answer}");
        }
        Ok(answer)
    }

    /// Whether the server says that it is ready.
    pub(crate) async fn is_ready(&self) -> bool {
        self.call("GET", "/readyz", "application/json", None).await.is_ok_and(|(code, _)| code == 200)
    }

    pub(crate) async fn get(&self, path: &str) -> Result<Value> {
        self.done("GET", path, "application/json", None).await
    }

    /// Creates an object; one that is there already is as good.
    pub(crate) async fn create(&self, path: &str, body: Value) -> Result<Value> {
        match self.call("POST", path, "application/json", Some(&body)).await? {
            (200..300, answer) => Ok(answer),
            (409, answer) if answer["reason"] == "AlreadyExists" => Ok(answer),
            (code, answer) => bail!("POST {path}: {code} {answer}"),
        }
    }

    pub(crate) async fn merge(&self, path: &str, body: Value) -> Result<Value> {
        self.done("PATCH", path, "application/merge-patch+json", Some(&body)).await
    }

    /// Deletes a pod at once, as a kubelet does at its end.
    pub(crate) async fn delete_now(&self, path: &str) -> Result<Value> {
        self.done("DELETE", &format!("{path}?gracePeriodSeconds=0"), "application/json", None).await
    }
}

/// Asks until it is so, and says how long that took.
pub(crate) async fn until(
    what: &str,
    patience: Duration,
    mut is_so: impl AsyncFnMut() -> Result<bool>,
) -> Result<Duration> {
    let begun = Instant::now();
    let mut last = None;
    while begun.elapsed() < patience {
        match is_so().await {
            Ok(true) => return Ok(begun.elapsed()),
            Ok(false) => {}
            Err(e) => last = Some(e),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    match last {
        Some(error) => Err(error.context(format!("not so within {patience:?}: {what}"))),
        None => bail!("not so within {patience:?}: {what}"),
    }
}
