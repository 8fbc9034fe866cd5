//! From a request to its answer.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Bytes, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, RETRY_AFTER, USER_AGENT};
use hyper::{Method, Response};
use serde_json::{Value, json};

use crate::access;
use crate::discovery;
use crate::failure::Failure;
use crate::journal::Request;
use crate::list;
use crate::object::text;
use crate::path::Path;
use crate::query::Query;
use crate::server::{ADMIN, Shared};
use crate::store::Store;
use crate::watch;
use crate::write::Write;

type Body = BoxBody<Bytes, io::Error>;

/// What a request comes to.
enum Answer {
    Json(u16, Bytes),
    Text(u16, &'static str),
    Watch(Box<watch::Watch>),
}

/// Answers one request; an error breaks the connection.
pub(crate) async fn answer(
    shared: Arc<Shared>,
    request: hyper::Request<Incoming>,
) -> Result<Response<Body>, io::Error> {
    let (parts, body) = request.into_parts();
    let query = Query::parse(parts.uri.query().unwrap_or_default());
    let path = Path::parse(parts.uri.path());
    let mut entry = entry(&parts.method, parts.uri.path(), &query, path.as_ref(), &parts.headers);
    entry.query = parts.uri.query().unwrap_or_default().to_string();
    let verdict = shared.faults.strike(&entry);
    if !verdict.delay.is_zero() {
        tokio::time::sleep(verdict.delay).await;
    }
    if verdict.hang || verdict.cut {
        shared.log(entry);
        if verdict.hang {
            std::future::pending::<()>().await;
        }
        return Err(io::Error::other("the connection is cut, as a fault asked for"));
    }
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let admin = parts
        .headers
        .get(AUTHORIZATION)
        .is_some_and(|v| v.as_bytes() == format!("Bearer {ADMIN}").as_bytes());
    let call =
        Call { shared: &shared, entry: &entry, query: &query, headers: &parts.headers, body: &body, admin };
    let result = match verdict.refuse {
        Some(failure) => Err(failure),
        None => call.carry_out(path),
    };
    let mut retry = None;
    let answer = result.unwrap_or_else(|failure| {
        retry = failure.seconds();
        Answer::Json(failure.code, failure.status().to_string().into())
    });
    entry.code = match &answer {
        Answer::Json(code, _) | Answer::Text(code, _) => *code,
        Answer::Watch(_) => 200,
    };
    let code = entry.code;
    shared.log(entry);
    if verdict.lose_response {
        return Err(io::Error::other("the answer is lost, as a fault asked for"));
    }
    let mut response = Response::builder().status(code);
    if let Some(seconds) = retry {
        response = response.header(RETRY_AFTER, seconds);
    }
    let full = |bytes: Bytes| Full::new(bytes).map_err(|never| match never {}).boxed();
    let (kind, body) = match answer {
        Answer::Json(_, bytes) => ("application/json", full(bytes)),
        Answer::Text(_, text) => ("text/plain; charset=utf-8", full(Bytes::from_static(text.as_bytes()))),
        Answer::Watch(watch) => ("application/json", StreamBody::new(watch.stream()).boxed()),
    };
    response.header(CONTENT_TYPE, kind).body(body).map_err(io::Error::other)
}

/// The request as the log shows it.
fn entry(method: &Method, path: &str, query: &Query, to: Option<&Path>, headers: &HeaderMap) -> Request {
    let collection = to.is_some_and(|p| p.name.is_empty());
    let verb = match *method {
        Method::GET if collection && query.is_true("watch") => "watch",
        Method::GET if collection => "list",
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE if collection => "deletecollection",
        Method::DELETE => "delete",
        _ => "get",
    };
    let part = |of: fn(&Path) -> &String| to.map(of).cloned().unwrap_or_default();
    let agent = headers.get(USER_AGENT).and_then(|a| a.to_str().ok());
    Request {
        verb: verb.into(),
        group: part(|p| &p.group),
        resource: part(|p| &p.plural),
        subresource: part(|p| &p.subresource),
        namespace: part(|p| &p.namespace),
        name: part(|p| &p.name),
        path: path.into(),
        query: String::new(),
        user_agent: agent.unwrap_or_default().into(),
        code: 0,
        at: Instant::now(),
    }
}

/// A request that no fault has struck.
struct Call<'a> {
    shared: &'a Arc<Shared>,
    entry: &'a Request,
    query: &'a Query,
    headers: &'a HeaderMap,
    body: &'a Bytes,
    admin: bool,
}

impl Call<'_> {
    fn carry_out(&self, path: Option<Path>) -> Result<Answer, Failure> {
        let mut store = self.shared.store.lock().expect("never poisoned");
        let Some(path) = path else { return Ok(self.elsewhere(&store)) };
        let selected =
            self.query.text("fieldSelector").split(',').find_map(|t| t.strip_prefix("metadata.name="));
        let name = if path.name.is_empty() { selected.unwrap_or_default() } else { &path.name };
        self.permit(&self.entry.verb, name)?;
        if path.group == "authentication.k8s.io" && path.plural == "tokenreviews" {
            let review = self.json()?;
            let tokens = self.shared.tokens.lock().expect("never poisoned");
            return Ok(Answer::Json(201, tokens.review(&store, &review).to_string().into()));
        }
        let Some(kind) = store.kind(&path.group, &path.version, &path.plural) else {
            let known = store.kinds().iter().any(|k| k.group == path.group && k.version == path.version);
            let custom = store.kinds().iter().any(|k| k.group == path.group && k.custom.is_some());
            if known && !custom {
                return Err(Failure::no_such_resource());
            }
            return Ok(Answer::Text(404, "404 page not found\n"));
        };
        let part_served = match path.subresource.as_str() {
            "" => true,
            "status" => kind.status,
            "token" => kind.plural == "serviceaccounts",
            _ => false,
        };
        if !part_served || !kind.namespaced && !path.namespace.is_empty() {
            return Err(Failure::no_such_resource());
        }
        let place = Write {
            kind: kind.clone(),
            namespace: path.namespace.clone(),
            name: path.name.clone(),
            subresource: path.subresource.clone(),
            manager: self.manager(),
            dry_run: self.query.text("dryRun") == "All",
        };
        if kind.namespaced
            && path.namespace.is_empty()
            && !matches!(self.entry.verb.as_str(), "list" | "watch")
        {
            return Err(method_not_allowed());
        }
        match (self.entry.verb.as_str(), path.subresource.as_str()) {
            ("get", _) => Ok(Answer::Json(200, place.live(&store)?.whole(&kind))),
            ("list", _) => Ok(Answer::Json(200, list::list(&store, &kind, &path.namespace, self.query)?)),
            ("watch", _) => {
                let agent = &self.entry.user_agent;
                let watch = watch::open(self.shared, &store, kind, &path.namespace, self.query, agent)?;
                Ok(Answer::Watch(Box::new(watch)))
            }
            ("create", "token") => {
                let account = place.live(&store)?;
                let mut tokens = self.shared.tokens.lock().expect("never poisoned");
                let answer = tokens.request(&mut store, &account, &self.json()?)?;
                Ok(Answer::Json(201, answer.to_string().into()))
            }
            ("create", "") if path.name.is_empty() => {
                let value = self.object(&place)?;
                Ok(Answer::Json(201, place.create(&mut store, value)?.whole(&kind)))
            }
            ("update", "" | "status") => {
                let value = self.object(&place)?;
                Ok(Answer::Json(200, place.update(&mut store, value)?.whole(&kind)))
            }
            ("patch", "" | "status") => self.patch(&mut store, &place),
            ("delete", "") => {
                let options = if self.body.is_empty() { json!({}) } else { self.json()? };
                self.delete(&mut store, &place, options)
            }
            ("deletecollection", "") => {
                let page = list::list(&store, &kind, &path.namespace, self.query)?;
                let list: Value = serde_json::from_slice(&page).unwrap_or_default();
                for item in list["items"].as_array().into_iter().flatten() {
                    let (namespace, name) = (text(item, "namespace").into(), text(item, "name").into());
                    Write { namespace, name, ..place.clone() }.delete(&mut store, &json!({}))?;
                }
                Ok(Answer::Json(200, page))
            }
            _ => Err(method_not_allowed()),
        }
    }

    fn elsewhere(&self, store: &Store) -> Answer {
        let path = self.entry.path.as_str();
        if matches!(path, "/healthz" | "/readyz" | "/livez") {
            return Answer::Text(200, "ok");
        }
        match discovery::answer(store, path) {
            Some(answer) => Answer::Json(200, answer.to_string().into()),
            None => Answer::Text(404, "404 page not found\n"),
        }
    }

    /// Holds the request against the rules of access.
    fn permit(&self, verb: &str, name: &str) -> Result<(), Failure> {
        let access = self.shared.access.lock().expect("never poisoned");
        if self.admin || access.allows(self.entry, verb, name) {
            return Ok(());
        }
        let refused = Request { verb: verb.into(), code: 403, ..self.entry.clone() };
        self.shared.violations.lock().expect("never poisoned").push(refused);
        Err(access::refused(self.entry, verb))
    }

    fn json(&self) -> Result<Value, Failure> {
        let value: Value = serde_json::from_slice(self.body)
            .map_err(|e| Failure::bad_request(format!("the object provided is unrecognized: {e}")))?;
        if value.is_object() { Ok(value) } else { Err(Failure::bad_request("an object was expected")) }
    }

    /// The body as an object of the kind that the path leads to.
    fn object(&self, place: &Write) -> Result<Value, Failure> {
        let value = self.json()?;
        let (kind, version) = (place.kind.kind.as_str(), place.kind.api_version());
        let said = |field: &str| value[field].as_str().unwrap_or_default();
        if !said("kind").is_empty() && said("kind") != kind
            || !said("apiVersion").is_empty() && said("apiVersion") != version
        {
            let why = format!(
                "{} in version {:?} cannot be handled as a {kind}: the object provided is unrecognized",
                said("kind"),
                said("apiVersion")
            );
            return Err(Failure::bad_request(why));
        }
        let (namespace, name) = (text(&value, "namespace"), text(&value, "name"));
        if !namespace.is_empty() && namespace != place.namespace {
            let why = "the namespace of the provided object does not match the namespace sent on the request";
            return Err(Failure::bad_request(why));
        }
        if !place.name.is_empty() && !name.is_empty() && name != place.name {
            let why = format!(
                "the name of the object ({name}) does not match the name on the URL ({})",
                place.name
            );
            return Err(Failure::bad_request(why));
        }
        Ok(value)
    }

    /// Who is named as the manager of what is written.
    fn manager(&self) -> String {
        let asked = self.query.text("fieldManager");
        let agent = self.entry.user_agent.split('/').next().unwrap_or_default();
        let name = if asked.is_empty() { agent } else { asked };
        if name.is_empty() { "unknown".into() } else { name.into() }
    }

    fn patch(&self, store: &mut Store, place: &Write) -> Result<Answer, Failure> {
        let kind = place.kind.clone();
        let media = self.headers.get(CONTENT_TYPE).and_then(|c| c.to_str().ok()).unwrap_or_default();
        match media.split(';').next().unwrap_or_default().trim() {
            // A strategic patch is taken as a merge patch: nobody here sends one that differs.
            "application/merge-patch+json" | "application/strategic-merge-patch+json" => {
                let patch = self.json()?;
                Ok(Answer::Json(200, place.merge(store, &patch)?.whole(&kind)))
            }
            "application/apply-patch+yaml" | "application/apply-patch+cbor" => {
                if self.query.text("fieldManager").is_empty() {
                    let (group, options) = ("meta.k8s.io", "PatchOptions");
                    let why = "Required value: is required for apply patch";
                    return Err(Failure::invalid(
                        group,
                        options,
                        "",
                        "fieldManager",
                        "FieldValueRequired",
                        why,
                    ));
                }
                let applied = self.object(place)?;
                if applied["kind"].is_null() || applied["apiVersion"].is_null() {
                    return Err(Failure::bad_request("an applied object says its apiVersion and kind"));
                }
                if place.live(store).is_err() && place.subresource.is_empty() {
                    // What does not exist yet is created, which is a permission of its own.
                    self.permit("create", &place.name)?;
                }
                let (object, created) = place.apply(store, applied, self.query.is_true("force"))?;
                Ok(Answer::Json(if created { 201 } else { 200 }, object.whole(&kind)))
            }
            _ => Err(Failure::new(415, "UnsupportedMediaType", "415: Unsupported Media Type")),
        }
    }

    fn delete(&self, store: &mut Store, place: &Write, mut options: Value) -> Result<Answer, Failure> {
        if let Some(grace) = self.query.number("gracePeriodSeconds")? {
            options["gracePeriodSeconds"] = grace.into();
        }
        let kind = &place.kind;
        let (object, remains) = place.delete(store, &options)?;
        if remains || kind.returns_deleted() {
            return Ok(Answer::Json(200, object.whole(kind)));
        }
        let uid = object.value()["metadata"]["uid"].clone();
        let mut details = json!({ "name": place.name, "kind": kind.plural, "uid": uid });
        if !kind.group.is_empty() {
            details["group"] = kind.group.as_str().into();
        }
        let done = json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
                           "details": details });
        Ok(Answer::Json(200, done.to_string().into()))
    }
}

fn method_not_allowed() -> Failure {
    let why = "the server does not allow this method on the requested resource";
    Failure::new(405, "MethodNotAllowed", why)
}
