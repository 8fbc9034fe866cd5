//! How something is written: server-side apply of our fields, within a time, and what a failure asks for.

use std::fmt::Debug;
use std::time::{Duration, SystemTime};

use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client, Error as KubeError};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::retry::Steps;
use super::{Error, FIELD_MANAGER};

/// How long the API server may take to answer one request.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// What a failed request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// Ask again, after this long if the server said so: it, or the way to it, is in trouble.
    Again(Option<Duration>),
    /// Look again: the object is another than was thought.
    Look,
    /// There is no such object.
    Gone,
    /// Somebody has to put something right: a right is missing, or the object is refused as it is.
    Repair,
}

impl Error {
    /// What this failure asks for.
    pub fn remedy(&self) -> Remedy {
        match self {
            Self::Api { source, .. } => remedy(source),
            _ => Remedy::Repair,
        }
    }
}

fn remedy(error: &KubeError) -> Remedy {
    let KubeError::Api(status) = error else {
        return match error {
            KubeError::Service(_) | KubeError::HyperError(_) | KubeError::ReadEvents(_) => {
                Remedy::Again(None)
            }
            // An answer that is no Kubernetes: something in between is in trouble.
            KubeError::SerdeError(_) | KubeError::FromUtf8(_) => Remedy::Again(None),
            _ => Remedy::Repair,
        };
    };
    let after = status.details.as_ref().map(|details| details.retry_after_seconds).filter(|after| *after > 0);
    match status.code {
        404 => Remedy::Gone,
        409 => Remedy::Look,
        408 | 429 | 500..=599 => Remedy::Again(after.map(|after| Duration::from_secs(after.into()))),
        _ => Remedy::Repair,
    }
}

/// Waits for the answer to a request, but not forever. `action` is what is attempted: `patch meshnodes/aws-1`.
///
/// # Errors
/// What the API server says, or that it says nothing.
pub async fn answered<T>(
    action: impl FnOnce() -> String,
    patience: Duration,
    request: impl Future<Output = Result<T, KubeError>>,
) -> Result<T, Error> {
    match tokio::time::timeout(patience, request).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(Error::api(action(), error)),
        Err(_) => {
            let late = std::io::Error::new(std::io::ErrorKind::TimedOut, "no answer in time");
            Err(Error::api(action(), KubeError::Service(late.into())))
        }
    }
}

/// Applies our fields of an object, taking them from whoever has them.
///
/// # Errors
/// What the API server says, or that it says nothing.
pub async fn apply<K>(api: &Api<K>, name: &str, fields: &impl Fields) -> Result<K, Error>
where
    K: Clone + DeserializeOwned + Debug,
{
    let action = || format!("patch {}/{name}", fields.resource());
    answered(action, PATIENCE, api.patch(name, &ours(), &Patch::Apply(fields.value()))).await
}

/// Applies our fields of an object's status.
///
/// # Errors
/// What the API server says, or that it says nothing.
pub async fn apply_status<K>(api: &Api<K>, name: &str, fields: &impl Fields) -> Result<K, Error>
where
    K: Clone + DeserializeOwned + Debug,
{
    let action = || format!("patch {}/{name}/status", fields.resource());
    answered(action, PATIENCE, api.patch_status(name, &ours(), &Patch::Apply(fields.value()))).await
}

/// Creates an object that must not be there yet.
///
/// # Errors
/// What the API server says: [`Remedy::Look`] when it is there.
pub async fn create<K>(api: &Api<K>, resource: &str, name: &str, object: &K) -> Result<K, Error>
where
    K: Clone + DeserializeOwned + Serialize + Debug,
{
    let params = PostParams { field_manager: Some(FIELD_MANAGER.into()), ..PostParams::default() };
    answered(|| format!("create {resource}/{name}"), PATIENCE, api.create(&params, object)).await
}

/// What is applied: the fields that are ours, and no others.
pub trait Fields {
    /// The objects' name in a URL.
    fn resource(&self) -> &'static str;
    /// The fields, with apiVersion, kind and name.
    fn value(&self) -> Value;
}

/// The API server's version: `v1.33.1`. Asks until it answers.
pub async fn version(client: &Client) -> String {
    let mut steps = Steps::new(Duration::from_secs(1), Duration::from_secs(60));
    loop {
        match answered(|| "get /version".into(), PATIENCE, client.apiserver_version()).await {
            Ok(info) => return info.git_version,
            Err(error) if error.remedy() == Remedy::Repair => return format!("unknown: {error}"),
            Err(_) => {
                let pause = steps.next().unwrap_or(PATIENCE);
                tokio::time::sleep(pause).await;
            }
        }
    }
}

/// Server-side apply in our name. Forced: these fields are nobody else's.
pub(super) fn ours() -> PatchParams {
    PatchParams::apply(FIELD_MANAGER).force()
}

/// Now, as Kubernetes writes it: for people's eyes only, never for a decision.
pub(super) fn now() -> Timestamp {
    Timestamp::try_from(SystemTime::now()).unwrap_or(Timestamp::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    #[test]
    fn what_failures_ask_for() {
        for (code, after, expected) in [
            (404, 0, Remedy::Gone),
            (409, 0, Remedy::Look),
            (429, 3, Remedy::Again(Some(Duration::from_secs(3)))),
            (500, 0, Remedy::Again(None)),
            (503, 0, Remedy::Again(None)),
            (403, 0, Remedy::Repair),
            (422, 0, Remedy::Repair),
        ] {
            let mut status = Status::failure("no", "Unheard").with_code(code);
            let details = serde_json::json!({ "retryAfterSeconds": after });
            status.details = serde_json::from_value(details).ok();
            let error = Error::api("patch a/b", KubeError::Api(status.boxed()));
            assert_eq!(error.remedy(), expected, "{code}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_a_failure_too() {
        let never = std::future::pending::<Result<(), KubeError>>();
        let error = answered(|| "get nodes/a".into(), PATIENCE, never).await.unwrap_err();
        assert_eq!(error.remedy(), Remedy::Again(None));
        assert!(error.to_string().contains("get nodes/a"), "{error}");
    }
}
