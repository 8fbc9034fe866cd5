//! What is installed already.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client};

use crate::api::{Error, major_minor};
use crate::settings::Settings;

const SETTINGS: &str = "causeway-settings";

/// An installation that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    /// Its settings.
    pub settings: Settings,
    /// The Helm release that it belongs to, as NAMESPACE/NAME; none when it was installed by ourselves.
    pub release: Option<String>,
}

/// Why what is installed cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum Unknown {
    /// The API server does not say.
    #[error(transparent)]
    Api(#[from] Error),
    /// The settings are not readable for this version.
    #[error(
        "the settings in ConfigMap {namespace}/{SETTINGS} are not this version's: {reason} \
         (use the `causeway` of the version that is installed)"
    )]
    Settings {
        /// Where they are.
        namespace: String,
        /// What is wrong with them.
        reason: String,
    },
}

/// What is installed in a namespace; none if nothing is.
///
/// # Errors
/// It cannot be told.
pub async fn installed(client: &Client, namespace: &str) -> Result<Option<Installed>, Unknown> {
    let api = Api::<ConfigMap>::namespaced(client.clone(), namespace);
    let found = api.get_opt(SETTINGS).await;
    let Some(map) = found.map_err(Error::new("reading", format!("ConfigMap {namespace}/{SETTINGS}")))? else {
        return Ok(None);
    };
    let annotation = |key: &str| map.metadata.annotations.as_ref().and_then(|all| all.get(key)).cloned();
    let release = annotation("meta.helm.sh/release-name")
        .map(|name| format!("{}/{name}", annotation("meta.helm.sh/release-namespace").unwrap_or_default()));
    let text = map.data.unwrap_or_default().remove("settings.yaml").unwrap_or_default();
    let settings = serde_saphyr::from_str(&text)
        .map_err(|error| Unknown::Settings { namespace: namespace.into(), reason: error.to_string() })?;
    Ok(Some(Installed { settings, release }))
}

/// Whether a version may follow another without a stop between: at most one minor version apart, forwards or back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Skew {
    /// It may.
    Fine,
    /// Versions between would be left out.
    TooFar,
    /// One of them is no version but some tag.
    Unknown,
}

/// How far two versions are from each other.
pub fn skew(from: &str, to: &str) -> Skew {
    match (major_minor(from), major_minor(to)) {
        (Some((a, x)), Some((b, y))) if a == b && x.abs_diff(y) <= 1 => Skew::Fine,
        (Some(_), Some(_)) => Skew::TooFar,
        _ => Skew::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_minor_version() {
        for (from, to, expected) in [
            ("0.1.0", "0.1.7", Skew::Fine),
            ("0.1.0", "0.2.0", Skew::Fine),
            ("0.2.0", "v0.1.9-rc.1", Skew::Fine),
            ("0.1.0", "0.3.0", Skew::TooFar),
            ("0.9.0", "1.0.0", Skew::TooFar),
            ("0.1.0", "latest", Skew::Unknown),
        ] {
            assert_eq!(skew(from, to), expected, "{from} to {to}");
        }
    }
}
