//! The Helm chart: the same manifests with their holes left open, and the settings as values.

mod values;

use crate::definitions::definitions;
use crate::objects::{FILES, OF_OWN_NAMESPACE, parts};
use crate::settings::{SYSTEM, schema};
use crate::tree::yaml;

/// Where the chart belongs, below the root of the repository.
pub const FOLDER: &str = "charts/causeway";

const MARK: &str = "Generated from crates/install by `./x generate`: do not edit.";

/// The chart's files: the path below the chart's folder, and the text.
pub fn files() -> Vec<(String, String)> {
    let mut files = vec![
        ("Chart.yaml".to_owned(), chart()),
        ("values.yaml".to_owned(), values::yaml()),
        ("values.schema.json".to_owned(), values_schema()),
        ("templates/_helpers.tpl".to_owned(), helpers()),
        ("templates/NOTES.txt".to_owned(), NOTES.to_owned()),
    ];
    // Helm makes these only where they are not there, and never deletes them.
    for definition in definitions() {
        let name = definition["spec"]["names"]["plural"].as_str().unwrap_or_default().to_owned();
        files.push((format!("crds/{name}.yaml"), format!("# {MARK}\n{}\n", yaml::text(&definition.into()))));
    }
    for part in parts() {
        let mut text = format!("# {MARK}\n{}\n", yaml::text(&part.tree));
        if part.file == "namespace" {
            // Helm makes the namespace of its release itself, and refuses to find it among the manifests.
            text = format!("{{{{- if ne .Release.Namespace .Values.namespace }}}}\n{text}{{{{- end }}}}\n");
        }
        if OF_OWN_NAMESPACE.contains(&part.file) {
            text = format!("{{{{- if ne .Values.namespace {SYSTEM:?} }}}}\n{text}{{{{- end }}}}\n");
        }
        files.push((format!("templates/{}.yaml", part.file), text));
    }
    files
}

/// The book's page about the settings.
pub fn book() -> String {
    let intro = "\
# Settings

Everything that can be chosen about an installation in Kubernetes. `causeway install --values FILE` and `causeway
upgrade --values FILE` take a file with any of these, the Helm chart takes them as its values; what a file leaves out
has its default, or what `causeway install` finds in the cluster. Empty means \"not set\".

";
    format!("<!-- {MARK} -->\n{intro}{}", values::table())
}

fn chart() -> String {
    let version = env!("CARGO_PKG_VERSION");
    format!(
        "\
# {MARK}
apiVersion: v2
name: causeway
description: One network over many Kubernetes clusters, clouds and machines
type: application
version: {version}
appVersion: \"{version}\"
kubeVersion: \">=1.30.0-0\"
"
    )
}

fn values_schema() -> String {
    let mut schema = schema();
    schema["description"] = MARK.into();
    // A chart that is part of another is given this one field more.
    schema["properties"]["global"] = serde_json::json!({ "type": "object" });
    // The chart cannot look these up in the cluster, as `causeway install` does.
    schema["properties"]["cluster"]["properties"]["name"]["minLength"] = 1.into();
    for list in ["nodes", "addresses"] {
        schema["properties"]["controllers"]["properties"][list]["minItems"] = 1.into();
    }
    serde_json::to_string_pretty(&schema).expect("a schema is JSON") + "\n"
}

fn helpers() -> String {
    let mut text = format!("{{{{/* {MARK} */}}}}\n");
    for file in FILES {
        let body = yaml::text(&(file.tree)());
        text.push_str(&format!("{{{{- define \"causeway.{}\" -}}}}\n{body}\n{{{{- end -}}}}\n", file.name));
    }
    text
}

const NOTES: &str = "\
Causeway is being started in the namespace {{ .Values.namespace }}.

  kubectl --namespace {{ .Values.namespace }} rollout status daemonset/causeway-agent
  causeway check
{{- if and (eq .Release.Namespace .Values.namespace) (ne .Values.namespace \"kube-system\") }}

Where pod security is enforced, the namespace needs a label, because agents use the host:
  kubectl label namespace {{ .Values.namespace }} pod-security.kubernetes.io/enforce=privileged
{{- end }}

Before uninstalling, let the agents take everything of ours off their nodes, and wait until they have:
  causeway uninstall --nodes-only --namespace {{ .Values.namespace }}
  helm uninstall {{ .Release.Name }} --namespace {{ .Release.Namespace }}
";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;

    #[test]
    fn every_setting_has_its_place() {
        let text = values::yaml();
        let read: Settings = serde_saphyr::from_str(&text).unwrap();
        assert_eq!(read, Settings::default(), "the chart's values are the defaults");
        let comments = text.lines().filter(|line| line.trim_start().starts_with('#')).count();
        assert!(comments > 40, "{text}");
    }
}
