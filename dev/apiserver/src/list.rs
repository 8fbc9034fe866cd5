//! Lists: the newest, an exact version of the past, page by page.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use hyper::body::Bytes;
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::kind::Kind;
use crate::object::Object;
use crate::query::Query;
use crate::select::Selector;
use crate::store::{Store, What};

/// One page of a list, ready to be sent.
pub(crate) fn list(store: &Store, kind: &Kind, namespace: &str, query: &Query) -> Result<Bytes, Failure> {
    let selector = Selector::parse(kind, query.text("labelSelector"), query.text("fieldSelector"))?;
    let page = page(store, kind, namespace, &selector, query)?;
    let mut metadata = json!({ "resourceVersion": page.version.to_string() });
    if let Some(next) = &page.next {
        let token = json!({ "v": page.version, "after": next, "left": page.remaining });
        metadata["continue"] = BASE64.encode(token.to_string()).into();
        if let Some(remaining) = page.remaining {
            metadata["remainingItemCount"] = remaining.into();
        }
    }
    let size: usize = page.objects.iter().map(|o| o.json.len() + 80).sum();
    let mut bytes = Vec::with_capacity(size + 256);
    let head = format!(
        "{{\"kind\":\"{}List\",\"apiVersion\":\"{}\",\"metadata\":{metadata},",
        kind.kind,
        kind.api_version()
    );
    bytes.extend_from_slice(head.as_bytes());
    bytes.extend_from_slice(b"\"items\":[");
    // Built-in kinds say in a list only once what they are; custom ones say it in each item.
    let item_head = if kind.custom.is_some() { kind.head() } else { "{".to_string() };
    for (at, object) in page.objects.iter().enumerate() {
        if at > 0 {
            bytes.push(b',');
        }
        bytes.extend_from_slice(item_head.as_bytes());
        bytes.extend_from_slice(&object.json[1..]);
    }
    bytes.extend_from_slice(b"]}");
    Ok(bytes.into())
}

struct Page {
    version: u64,
    objects: Vec<Arc<Object>>,
    /// The last key of this page, if there is more behind it.
    next: Option<Box<str>>,
    /// How many that is, where it is known: not under a selector.
    remaining: Option<usize>,
}

/// From where on to read.
struct Place {
    version: u64,
    /// Behind this key.
    after: Option<String>,
    /// As it was at this very version.
    exact: bool,
    left: Option<usize>,
}

/// Which version is asked for, and after which key.
fn place(store: &Store, query: &Query) -> Result<Place, Failure> {
    let matching = query.text("resourceVersionMatch");
    let token = query.text("continue");
    let asked = query.version("resourceVersion")?;
    if !matching.is_empty() && (asked.is_none() || !token.is_empty()) {
        let why = "Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided";
        return Err(invalid_options("resourceVersionMatch", "FieldValueForbidden", why));
    }
    if !matches!(matching, "" | "Exact" | "NotOlderThan") {
        let why = format!("Unsupported value: {matching:?}: supported values: \"Exact\", \"NotOlderThan\"");
        return Err(invalid_options("resourceVersionMatch", "FieldValueNotSupported", &why));
    }
    if matching == "Exact" && asked == Some(0) {
        let why = "Forbidden: resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"";
        return Err(invalid_options("resourceVersionMatch", "FieldValueForbidden", why));
    }
    if !token.is_empty() {
        if asked.is_some_and(|v| v > 0) {
            return Err(Failure::bad_request(
                "specifying resource version is not allowed when using continue",
            ));
        }
        let read = BASE64.decode(token).ok().and_then(|t| serde_json::from_slice::<Value>(&t).ok());
        let read = read.and_then(|t| {
            let after = Some(t["after"].as_str()?.to_string());
            let left = t["left"].as_u64().map(|l| l as usize);
            Some(Place { version: t["v"].as_u64()?, after, exact: true, left })
        });
        return read.ok_or_else(|| {
            Failure::bad_request("invalid continue token: continue key is not valid: it is not one of ours")
        });
    }
    match asked {
        Some(version) if version > store.version => Err(Failure::too_new(version, store.version)),
        Some(version) if matching == "Exact" => Ok(Place { version, after: None, exact: true, left: None }),
        _ => Ok(Place { version: store.version, after: None, exact: false, left: None }),
    }
}

fn page(
    store: &Store,
    kind: &Kind,
    namespace: &str,
    selector: &Selector,
    query: &Query,
) -> Result<Page, Failure> {
    let Place { version, after, exact, left } = place(store, query)?;
    let table = store.table(&kind.resource())?;
    if exact && version < table.oldest {
        return Err(if after.is_some() {
            Failure::expired(
                "The provided continue parameter is too old to display a consistent list result. You can start \
                 a new list without the continue parameter, or use the continue token in this response to \
                 retrieve the remainder of the results.",
            )
        } else {
            Failure::expired("The resourceVersion for the provided list is too old.")
        });
    }
    // What has changed since: the objects as they were then, or None if they were not there.
    let mut then: BTreeMap<&str, Option<&Arc<Object>>> = BTreeMap::new();
    if exact {
        for change in table.log.iter().rev().take_while(|c| c.object.version > version) {
            let before = if change.what == What::Added { None } else { change.previous.as_ref() };
            then.insert(&change.object.key, before);
        }
    }
    let prefix = if namespace.is_empty() { String::new() } else { format!("{namespace}/") };
    let start = after.as_deref().unwrap_or(&prefix).to_string();
    let inside = |key: &str| key.starts_with(&prefix) && after.as_deref().is_none_or(|a| key > a);
    let now = table.from(&start);
    let now = now.take_while(|o| o.key.starts_with(&prefix)).filter(|o| inside(&o.key));
    let mut now = now.filter(|o| !then.contains_key(&*o.key)).peekable();
    let restored = then.iter().filter(|(key, _)| inside(key)).filter_map(|(_, object)| *object);
    let mut restored = restored.peekable();
    let mut merged = std::iter::from_fn(|| match (now.peek(), restored.peek()) {
        (Some(a), Some(b)) if b.key < a.key => restored.next(),
        (Some(_), _) => now.next(),
        (None, _) => restored.next(),
    })
    .filter(|o| selector.matches(o));
    let limit = query.number("limit")?.filter(|l| *l > 0).map_or(usize::MAX, |l| l as usize);
    let objects: Vec<Arc<Object>> = merged.by_ref().take(limit).cloned().collect();
    let more = merged.next().is_some();
    let remaining = match left {
        Some(left) => Some(left.saturating_sub(objects.len())),
        // Counting a namespace costs a walk through the rest, once; the tokens then carry the count.
        None if more && selector.is_empty() => Some(1 + merged.count()),
        None => None,
    };
    let next = if more { objects.last().map(|o| o.key.clone()) } else { None };
    Ok(Page { version, objects, next, remaining })
}

/// The options of a list or watch contradict each other.
pub(crate) fn invalid_options(field: &str, reason: &str, why: &str) -> Failure {
    Failure::invalid("meta.k8s.io", "ListOptions", "", field, reason, why)
}
