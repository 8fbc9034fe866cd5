//! Cilium's policies: `cilium.io/v2`. What they say is kept as it is written: what of it is understood is decided where it
//! is turned into policies, field by field, so that nothing is passed over.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Serialize};
use serde_json::Value;

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
        #[serde(rename_all = "camelCase", deny_unknown_fields)]
        pub struct $kind {
            /// Its version of the API.
            #[serde(default)]
            pub api_version: String,
            /// Its kind.
            #[serde(default)]
            pub kind: String,
            /// Its metadata.
            #[serde(default)]
            pub metadata: ObjectMeta,
            /// What it says.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub spec: Option<Value>,
            /// What else it says.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub specs: Option<Vec<Value>>,
            /// What has become of it; nothing that is read.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub status: Option<Value>,
        }
    )*};
}

kinds! {
    /// Who may speak with the pods of a namespace.
    CiliumNetworkPolicy
    /// Who may speak with whom in the whole cluster.
    CiliumClusterwideNetworkPolicy
}
