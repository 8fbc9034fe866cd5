//! What a path leads to.

/// A resource, its namespace, an object of it, a part of that; or nothing of the kind.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Path {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) plural: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) subresource: String,
}

impl Path {
    /// Reads a path of `/api/v1/…` or `/apis/GROUP/VERSION/…` below the version; `None` for all others.
    pub(crate) fn parse(path: &str) -> Option<Path> {
        let steps: Vec<&str> = path.trim_matches('/').split('/').collect();
        let (group, version, rest) = match steps.as_slice() {
            ["api", version, rest @ ..] => ("", *version, rest),
            ["apis", group, version, rest @ ..] => (*group, *version, rest),
            _ => return None,
        };
        let (namespace, plural, name, subresource) = match rest {
            ["namespaces"] => ("", "namespaces", "", ""),
            ["namespaces", name] => ("", "namespaces", *name, ""),
            ["namespaces", name, part @ ("status" | "finalize")] => ("", "namespaces", *name, *part),
            ["namespaces", namespace, plural] => (*namespace, *plural, "", ""),
            ["namespaces", namespace, plural, name] => (*namespace, *plural, *name, ""),
            ["namespaces", namespace, plural, name, part] => (*namespace, *plural, *name, *part),
            [plural] => ("", *plural, "", ""),
            [plural, name] => ("", *plural, *name, ""),
            [plural, name, part] => ("", *plural, *name, *part),
            _ => return None,
        };
        let owned = |s: &str| s.to_string();
        Some(Path {
            group: owned(group),
            version: owned(version),
            plural: owned(plural),
            namespace: owned(namespace),
            name: owned(name).replace("%3A", ":").replace("%3a", ":"),
            subresource: owned(subresource),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Path;

    #[test]
    fn paths() {
        for (path, said) in [
            ("/api/v1/pods", "|v1|pods|||"),
            ("/api/v1/namespaces", "|v1|namespaces|||"),
            ("/api/v1/namespaces/a", "|v1|namespaces||a|"),
            ("/api/v1/namespaces/a/status", "|v1|namespaces||a|status"),
            ("/api/v1/namespaces/a/pods/b/status", "|v1|pods|a|b|status"),
            ("/apis/apps/v1/namespaces/a/deployments", "apps|v1|deployments|a||"),
            ("/apis/causeway.io/v1alpha1/meshnodes/one/status", "causeway.io|v1alpha1|meshnodes||one|status"),
        ] {
            let p = Path::parse(path).unwrap();
            let parts = [p.group, p.version, p.plural, p.namespace, p.name, p.subresource];
            assert_eq!(parts.join("|"), said, "{path}");
        }
        for path in ["/", "/version", "/api", "/apis", "/apis/apps", "/api/v1", "/apis/apps/v1", "/healthz"] {
            assert_eq!(Path::parse(path), None, "{path}");
        }
    }
}
