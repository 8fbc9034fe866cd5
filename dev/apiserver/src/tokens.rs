//! ServiceAccount tokens: asked for by TokenRequest, judged by TokenReview.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::clock;
use crate::failure::Failure;
use crate::object::{Object, key, text};
use crate::store::Store;

/// What the API server itself is called in a token.
const API: &str = "https://kubernetes.default.svc";

/// Whom a token stands for.
#[derive(Debug, Clone, Default)]
pub struct Identity {
    /// `system:serviceaccount:NAMESPACE:NAME`.
    pub username: String,
    /// The ServiceAccount's uid.
    pub uid: String,
    /// Groups.
    pub groups: Vec<String>,
    /// Such as `authentication.kubernetes.io/node-name`.
    pub extra: BTreeMap<String, Vec<String>>,
    /// For whom the token is meant.
    pub audiences: Vec<String>,
}

/// The tokens that are accepted.
#[derive(Default)]
pub(crate) struct Tokens(HashMap<String, Accepted>);

struct Accepted {
    identity: Identity,
    until: Option<Instant>,
    /// Resource, key and uid of the objects that must still be there.
    bound: Vec<(&'static str, String, String)>,
}

impl Tokens {
    pub(crate) fn accept(&mut self, token: &str, identity: Identity) {
        self.0.insert(token.into(), Accepted { identity, until: None, bound: Vec::new() });
    }

    pub(crate) fn revoke(&mut self, token: &str) {
        self.0.remove(token);
    }

    /// Answers a TokenReview.
    pub(crate) fn review(&self, store: &Store, review: &Value) -> Value {
        let mut answer = review.clone();
        answer["metadata"] = json!({ "creationTimestamp": null });
        answer["status"] = match self.judge(store, &review["spec"]) {
            Ok(status) => status,
            Err(why) => json!({ "user": {}, "error": why }),
        };
        answer
    }

    fn judge(&self, store: &Store, spec: &Value) -> Result<Value, String> {
        let token = spec["token"].as_str().unwrap_or_default();
        let accepted = self.0.get(token).ok_or("invalid bearer token")?;
        if accepted.until.is_some_and(|until| until < Instant::now()) {
            return Err("[invalid bearer token, service account token has expired]".into());
        }
        for (resource, key, uid) in &accepted.bound {
            if store.get(resource, key).is_none_or(|o| text(&o.value(), "uid") != uid) {
                return Err("[invalid bearer token, service account token has been invalidated]".into());
            }
        }
        let wanted: Vec<&str> =
            spec["audiences"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let wanted = if wanted.is_empty() { vec![API] } else { wanted };
        let identity = &accepted.identity;
        let audiences: Vec<&str> =
            wanted.iter().copied().filter(|w| identity.audiences.iter().any(|a| a == w)).collect();
        if audiences.is_empty() {
            return Err(format!(
                "[invalid bearer token, token audiences {:?} is invalid for the target audiences {wanted:?}]",
                identity.audiences
            ));
        }
        let user = json!({ "username": identity.username, "uid": identity.uid, "groups": identity.groups,
                           "extra": identity.extra });
        Ok(json!({ "authenticated": true, "user": user, "audiences": audiences }))
    }

    /// Answers a TokenRequest for a ServiceAccount.
    pub(crate) fn request(
        &mut self,
        store: &mut Store,
        account: &Object,
        request: &Value,
    ) -> Result<Value, Failure> {
        let spec = &request["spec"];
        let (namespace, name) = (account.namespace(), account.name());
        let uid = text(&account.value(), "uid").to_string();
        let id = store.uid();
        let mut extra = BTreeMap::new();
        let mut bound = vec![("serviceaccounts", key(namespace, name), uid.clone())];
        let mut say = |field: &str, value: &str| {
            extra.insert(format!("authentication.kubernetes.io/{field}"), vec![value.to_string()]);
        };
        say("credential-id", &format!("JTI={id}"));
        let reference = &spec["boundObjectRef"];
        if reference["kind"] == "Pod" {
            let pod_name = reference["name"].as_str().unwrap_or_default();
            let at = key(namespace, pod_name);
            let found = store.get("pods", &at).ok_or_else(|| Failure::not_found("", "pods", pod_name))?;
            let pod = found.value();
            let pod_uid = text(&pod, "uid");
            if reference["uid"].as_str().is_some_and(|u| u != pod_uid) {
                let why = "the UID in the bound object reference does not match the UID in record";
                return Err(Failure::conflict("", "pods", pod_name, why));
            }
            if pod["spec"]["serviceAccountName"].as_str().unwrap_or("default") != name {
                return Err(Failure::bad_request(format!(
                    "cannot bind token for serviceaccount {name:?} to pod running with different serviceaccount name."
                )));
            }
            say("pod-name", pod_name);
            say("pod-uid", pod_uid);
            if let Some(node) = pod["spec"]["nodeName"].as_str().filter(|n| !n.is_empty()) {
                say("node-name", node);
                if let Some(node) = store.get("nodes", node) {
                    say("node-uid", text(&node.value(), "uid"));
                }
            }
            bound.push(("pods", at, pod_uid.to_string()));
        }
        let seconds = spec["expirationSeconds"].as_u64().unwrap_or(3_600);
        if seconds < 600 {
            let why = format!("Invalid value: {seconds}: may not specify a duration less than 10 minutes");
            let field = "spec.expirationSeconds";
            let group = "authentication.k8s.io";
            return Err(Failure::invalid(group, "TokenRequest", "", field, "FieldValueInvalid", &why));
        }
        let lifetime = Duration::from_secs(seconds);
        let audiences: Vec<String> = match spec["audiences"].as_array() {
            Some(list) if !list.is_empty() => {
                list.iter().filter_map(|a| a.as_str().map(str::to_string)).collect()
            }
            _ => vec![API.to_string()],
        };
        let identity = Identity {
            username: format!("system:serviceaccount:{namespace}:{name}"),
            uid,
            groups: vec![
                "system:serviceaccounts".into(),
                format!("system:serviceaccounts:{namespace}"),
                "system:authenticated".into(),
            ],
            extra,
            audiences: audiences.clone(),
        };
        let token = format!("token-{}-{}", store.uid(), id);
        self.0.insert(token.clone(), Accepted { identity, until: Some(Instant::now() + lifetime), bound });
        let mut answer = request.clone();
        answer["kind"] = "TokenRequest".into();
        answer["apiVersion"] = "authentication.k8s.io/v1".into();
        answer["metadata"] =
            json!({ "name": name, "namespace": namespace, "creationTimestamp": clock::now() });
        answer["spec"]["audiences"] = audiences.into();
        answer["spec"]["expirationSeconds"] = seconds.into();
        answer["status"] = json!({ "token": token, "expirationTimestamp": clock::after(lifetime) });
        Ok(answer)
    }
}
