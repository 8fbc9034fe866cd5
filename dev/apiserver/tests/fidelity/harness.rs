//! Where the cases run: a client, a namespace that goes afterwards, and requests as plain as HTTP has them.

use std::future::Future;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures::{Stream, StreamExt as _, TryStreamExt as _};
use http_body_util::BodyExt as _;
use hyper::Request;
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};

/// How long anything may take that a case waits for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A place for one case.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) client: kube::Client,
    /// Made for this case alone; also a name for objects of the whole cluster.
    pub(crate) namespace: String,
    /// Whether the server begins a watch with a list where it is asked to.
    pub(crate) streaming_lists: bool,
    /// Whether it surely has forgotten its first versions: a real one that was only just started has not.
    pub(crate) forgets: bool,
}

/// An answer: the code and the body.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: u16,
    pub(crate) body: Value,
}

impl Answer {
    /// The body, if the request succeeded.
    #[track_caller]
    pub(crate) fn ok(self) -> Value {
        assert!((200..300).contains(&self.code), "{} {}", self.code, self.body);
        self.body
    }

    /// Refused with this code and reason.
    #[track_caller]
    pub(crate) fn refused(self, code: u16, reason: &str) -> Value {
        assert_eq!((self.code, self.body["reason"].as_str()), (code, Some(reason)), "{}", self.body);
        assert_eq!((&self.body["kind"], &self.body["status"]), (&json!("Status"), &json!("Failure")));
        assert_eq!(self.body["code"], code);
        self.body
    }
}

impl Place {
    async fn new(kubeconfig: &str, streaming_lists: bool, forgets: bool) -> Place {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let config = Kubeconfig::from_yaml(kubeconfig).expect("the kubeconfig is one");
        let options = KubeConfigOptions::default();
        let config = kube::Config::from_custom_kubeconfig(config, &options).await;
        let mut config = config.expect("a usable kubeconfig");
        // The cases look at refusals that the client would otherwise answer by trying again.
        config.default_retry = false;
        let client = kube::Client::try_from(config).expect("a client");
        let namespace = format!("cwt-{}-{number}", std::process::id());
        let place = Place { client, namespace, streaming_lists, forgets };
        place.create("/api/v1/namespaces", json!({ "metadata": { "name": place.namespace } })).await.ok();
        place
    }

    /// The path of a core resource in this namespace.
    pub(crate) fn core(&self, rest: &str) -> String {
        format!("/api/v1/namespaces/{}/{rest}", self.namespace)
    }

    pub(crate) async fn call(&self, method: &str, path: &str, media: &str, body: Option<&Value>) -> Answer {
        let body = body.map(Value::to_string).unwrap_or_default();
        let request = Request::builder().method(method).uri(path).header("content-type", media);
        let request = request.body(Body::from(body.into_bytes())).expect("a sound request");
        let response = self.client.send(request).await.unwrap_or_else(|e| panic!("{method} {path}: {e}"));
        let code = response.status().as_u16();
        let bytes = response.into_body().collect().await.expect("a whole body").to_bytes();
        let text = || Value::String(String::from_utf8_lossy(&bytes).into_owned());
        Answer { code, body: serde_json::from_slice(&bytes).unwrap_or_else(|_| text()) }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.call("GET", path, "application/json", None).await
    }

    pub(crate) async fn create(&self, path: &str, body: Value) -> Answer {
        self.call("POST", path, "application/json", Some(&body)).await
    }

    pub(crate) async fn update(&self, path: &str, body: &Value) -> Answer {
        self.call("PUT", path, "application/json", Some(body)).await
    }

    pub(crate) async fn merge(&self, path: &str, body: Value) -> Answer {
        self.call("PATCH", path, "application/merge-patch+json", Some(&body)).await
    }

    /// Server-side apply by this manager.
    pub(crate) async fn apply(&self, path: &str, manager: &str, force: bool, body: Value) -> Answer {
        let path = format!("{path}?fieldManager={manager}&force={force}");
        self.call("PATCH", &path, "application/apply-patch+yaml", Some(&body)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.call("DELETE", path, "application/json", None).await
    }

    /// The account that pods of this namespace run under, which a controller may be about to make.
    pub(crate) async fn account(&self) {
        let account = json!({ "metadata": { "name": "default" } });
        let made = self.create(&self.core("serviceaccounts"), account).await;
        assert!(matches!(made.code, 201 | 409), "{}", made.body);
    }

    /// A watch as its lines.
    pub(crate) async fn watch(&self, path: &str) -> Watch {
        let request = Request::get(path).body(Body::empty()).expect("a sound request");
        let response = self.client.send(request).await.unwrap_or_else(|e| panic!("watching {path}: {e}"));
        let code = response.status().as_u16();
        assert_eq!(code, 200, "watching {path}");
        let bytes = response.into_body().into_data_stream().map_err(std::io::Error::other);
        let lines =
            futures::stream::unfold((Box::pin(bytes), Vec::new()), |(mut bytes, mut rest)| async move {
                loop {
                    if let Some(end) = rest.iter().position(|b| *b == b'\n') {
                        let tail = rest.split_off(end + 1);
                        let line: Value = serde_json::from_slice(&rest).expect("each line is an event");
                        return Some((line, (bytes, tail)));
                    }
                    rest.extend_from_slice(&bytes.next().await?.ok()?);
                }
            });
        Watch(Box::pin(lines))
    }

    /// Asks until the answer is as it should be.
    pub(crate) async fn until(&self, path: &str, what: &str, fits: impl Fn(&Answer) -> bool) -> Value {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let answer = self.get(path).await;
            if fits(&answer) {
                return answer.body;
            }
            assert!(
                tokio::time::Instant::now() < deadline,
                "{path} never {what}: {} {}",
                answer.code,
                answer.body
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// The events of a watch.
pub(crate) struct Watch(std::pin::Pin<Box<dyn Stream<Item = Value> + Send>>);

impl Watch {
    /// The next event, or `None` at the end of the watch.
    pub(crate) async fn next(&mut self) -> Option<Value> {
        tokio::time::timeout(PATIENCE, self.0.next()).await.expect("the watch says something in time")
    }

    /// The next event that is no bookmark, as its type and the object's name.
    pub(crate) async fn told(&mut self) -> (String, String) {
        loop {
            let event = self.next().await.expect("the watch goes on");
            let kind = event["type"].as_str().unwrap_or_default().to_string();
            if kind != "BOOKMARK" {
                return (kind, event["object"]["metadata"]["name"].as_str().unwrap_or_default().to_string());
            }
        }
    }
}

/// The version of an object or a list.
#[track_caller]
pub(crate) fn version(object: &Value) -> u64 {
    let text = object["metadata"]["resourceVersion"].as_str();
    text.and_then(|v| v.parse().ok()).unwrap_or_else(|| panic!("no version: {object}"))
}

/// The names in a list, or of the objects of a list.
pub(crate) fn names(list: &Value) -> Vec<String> {
    let items = list["items"].as_array().into_iter().flatten();
    items.map(|i| i["metadata"]["name"].as_str().unwrap_or_default().to_string()).collect()
}

/// A case that waits for what never comes is a failed one.
async fn in_time(case: impl Future<Output = ()>) {
    tokio::time::timeout(3 * PATIENCE, case).await.expect("a case ends within a minute");
}

pub(crate) async fn on_double<F: Future<Output = ()>>(streaming_lists: bool, case: impl FnOnce(Place) -> F) {
    let options = apiserver::Options { streaming_lists, endpoint_slices: true, ..Default::default() };
    let server = apiserver::Server::start(options);
    in_time(case(Place::new(&server.kubeconfig(), streaming_lists, true).await)).await;
}

pub(crate) async fn on_real<F: Future<Output = ()>>(case: impl FnOnce(Place) -> F) {
    let path =
        std::env::var("CAUSEWAY_TEST_KUBECONFIG").expect("run by ./x test kubernetes, which says where");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("reading {path}: {e}"));
    let streaming_lists = std::env::var("CAUSEWAY_TEST_STREAMING_LISTS").is_ok_and(|v| v == "1");
    let place = Place::new(&text, streaming_lists, false).await;
    let space = format!("/api/v1/namespaces/{}", place.namespace);
    let guard = place.clone();
    in_time(case(place)).await;
    guard.delete(&space).await;
}
