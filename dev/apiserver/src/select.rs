//! Label and field selectors.

use crate::failure::Failure;
use crate::kind::Kind;
use crate::object::Object;

/// What a list or watch is limited to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Selector {
    labels: Vec<Requirement>,
    fields: Vec<(String, bool, String)>,
}

#[derive(Debug, Clone, PartialEq)]
enum Requirement {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    Absent(String),
}

impl Selector {
    /// Reads both selectors; an empty text selects everything.
    pub(crate) fn parse(kind: &Kind, labels: &str, fields: &str) -> Result<Selector, Failure> {
        let labels = split(labels).iter().map(|r| requirement(r)).collect::<Result<_, _>>()?;
        let fields = split(fields)
            .iter()
            .map(|term| {
                let (field, wanted, value) = if let Some((f, v)) = term.split_once("!=") {
                    (f, false, v)
                } else if let Some((f, v)) = term.split_once("==").or_else(|| term.split_once('=')) {
                    (f, true, v)
                } else {
                    return Err(Failure::bad_request(format!("invalid selector: '{term}'")));
                };
                if !kind.selects(field) {
                    return Err(Failure::bad_request(format!("field label not supported: {field}")));
                }
                Ok((field.to_string(), wanted, value.to_string()))
            })
            .collect::<Result<_, _>>()?;
        Ok(Selector { labels, fields })
    }

    /// Whether it selects everything.
    pub(crate) fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    pub(crate) fn matches(&self, object: &Object) -> bool {
        let labels = self.labels.iter().all(|requirement| match requirement {
            Requirement::In(key, values) => object.label(key).is_some_and(|v| values.iter().any(|w| w == v)),
            Requirement::NotIn(key, values) => {
                !object.label(key).is_some_and(|v| values.iter().any(|w| w == v))
            }
            Requirement::Exists(key) => object.label(key).is_some(),
            Requirement::Absent(key) => object.label(key).is_none(),
        });
        labels
            && self.fields.iter().all(|(field, wanted, value)| {
                let found = match field.as_str() {
                    "metadata.name" => object.name(),
                    "metadata.namespace" => object.namespace(),
                    other => object.fields.iter().find(|(f, _)| *f == other).map_or("", |(_, v)| v),
                };
                (found == value) == *wanted
            })
    }
}

/// The terms between commas that are not inside parentheses.
fn split(text: &str) -> Vec<String> {
    let (mut depth, mut terms) = (0, vec![String::new()]);
    for c in text.chars() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                terms.push(String::new());
                continue;
            }
            _ => {}
        }
        terms.last_mut().expect("it begins with one").push(c);
    }
    terms.iter().map(|t| t.trim().to_string()).filter(|t| !t.is_empty()).collect()
}

fn requirement(term: &str) -> Result<Requirement, Failure> {
    let set = |list: &str| -> Option<Vec<String>> {
        let inner = list.trim().strip_prefix('(')?.strip_suffix(')')?;
        Some(inner.split(',').map(|v| v.trim().to_string()).collect())
    };
    let key = |text: &str| text.trim().to_string();
    let found = if let Some((k, list)) = term.split_once(" notin ") {
        set(list).map(|values| Requirement::NotIn(key(k), values))
    } else if let Some((k, list)) = term.split_once(" in ") {
        set(list).map(|values| Requirement::In(key(k), values))
    } else if let Some((k, v)) = term.split_once("!=") {
        Some(Requirement::NotIn(key(k), vec![key(v)]))
    } else if let Some((k, v)) = term.split_once("==").or_else(|| term.split_once('=')) {
        Some(Requirement::In(key(k), vec![key(v)]))
    } else if let Some(k) = term.strip_prefix('!') {
        Some(Requirement::Absent(key(k)))
    } else {
        Some(Requirement::Exists(key(term)))
    };
    let sound = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    found
        .filter(|r| match r {
            Requirement::In(k, vs) | Requirement::NotIn(k, vs) => {
                k.chars().all(sound) && vs.iter().all(|v| v.chars().all(sound))
            }
            Requirement::Exists(k) | Requirement::Absent(k) => !k.is_empty() && k.chars().all(sound),
        })
        .ok_or_else(|| Failure::bad_request(format!("unable to parse requirement: {term:?}")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn labels_and_fields() {
        let kind = crate::kind::built_in().into_iter().find(|k| k.kind == "Pod").unwrap();
        let pod = json!({ "metadata": { "name": "p", "namespace": "n", "labels": { "app": "web", "x/y": "" } },
                          "spec": { "nodeName": "one" } });
        let pod = Object::new(&kind, pod, 1);
        for (labels, fields, wanted) in [
            ("", "", true),
            ("app=web", "", true),
            ("app==web,x/y", "", true),
            ("app!=web", "", false),
            ("other!=web", "", true),
            ("app in (api, web)", "", true),
            ("app notin (api,web)", "", false),
            ("!other,x/y=", "", true),
            ("!app", "", false),
            ("", "metadata.name=p,metadata.namespace=n", true),
            ("", "spec.nodeName=one", true),
            ("", "spec.nodeName!=one", false),
            ("", "status.phase=", true),
        ] {
            let selector = Selector::parse(&kind, labels, fields).unwrap();
            assert_eq!(selector.matches(&pod), wanted, "{labels} {fields}");
        }
        for (labels, fields) in [("a==,(", ""), ("a in b", ""), ("", "spec.foo=x"), ("", "spec.nodeName")] {
            assert_eq!(Selector::parse(&kind, labels, fields).unwrap_err().code, 400, "{labels} {fields}");
        }
    }
}
