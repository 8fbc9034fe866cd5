//! Rules of access, as RBAC writes them.

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::journal::Request;

/// A `PolicyRule`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct Rule {
    api_groups: Vec<String>,
    resources: Vec<String>,
    resource_names: Vec<String>,
    verbs: Vec<String>,
    #[serde(rename = "nonResourceURLs")]
    urls: Vec<String>,
}

/// What clients may do. With no rules at all: everything.
#[derive(Debug, Default)]
pub(crate) struct Access {
    rules: Vec<(Option<String>, Rule)>,
    enforced: bool,
}

impl Access {
    /// Adds rules, for one namespace or for the whole cluster.
    pub(crate) fn add(&mut self, namespace: Option<&str>, rules: &impl Serialize) -> Result<()> {
        let rules = serde_json::to_value(rules).context("writing rules of access as JSON")?;
        let rules: Vec<Rule> = serde_json::from_value(rules).context("reading rules of access")?;
        self.enforced = true;
        self.rules.extend(rules.into_iter().map(|r| (namespace.map(str::to_string), r)));
        Ok(())
    }

    /// Whether the request may be carried out. `name` is the object's, or the one a field selector names.
    pub(crate) fn allows(&self, request: &Request, verb: &str, name: &str) -> bool {
        let open = ["/version", "/api", "/apis", "/healthz", "/readyz", "/livez", "/openapi"];
        if !self.enforced || request.resource.is_empty() && open.iter().any(|o| request.path.starts_with(o)) {
            return true;
        }
        self.rules.iter().any(|(namespace, rule)| {
            if namespace.as_deref().is_some_and(|n| n != request.namespace) {
                return false;
            }
            let any = |list: &[String], wanted: &str| list.iter().any(|x| x == "*" || x == wanted);
            if request.resource.is_empty() {
                return any(&rule.urls, &request.path) && any(&rule.verbs, verb);
            }
            let resource = if request.subresource.is_empty() {
                request.resource.clone()
            } else {
                format!("{}/{}", request.resource, request.subresource)
            };
            let named = rule.resource_names.is_empty() || rule.resource_names.iter().any(|n| n == name);
            any(&rule.api_groups, &request.group)
                && any(&rule.resources, &resource)
                && any(&rule.verbs, verb)
                && named
        })
    }
}

/// The refusal.
pub(crate) fn refused(request: &Request, verb: &str) -> Failure {
    let scope = match request.namespace.as_str() {
        "" => "at the cluster scope".to_string(),
        namespace => format!("in the namespace {namespace:?}"),
    };
    let part =
        if request.subresource.is_empty() { String::new() } else { format!("/{}", request.subresource) };
    let why = format!(
        "User cannot {verb} resource \"{}{part}\" in API group {:?} {scope}",
        request.resource, request.group
    );
    Failure::forbidden(&request.group, &request.resource, &request.name, &why)
}
