//! What links to other clusters may cost.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What links to other clusters may cost, and when what they brought is forgotten.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Link {
    /// What one cluster may say. The link of one that says more is frozen and reported; the others do not notice.
    pub budget: Budget,
    /// When what a cluster said is forgotten that has not been heard since: `never`, or a time such as 90s, 15m, 12h, 7d.
    #[schemars(regex(pattern = "^(never|[1-9][0-9]{0,8}[smhd])$"))]
    pub forget_after: String,
}

/// What one cluster may say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Budget {
    /// Objects held of it.
    pub objects: u64,
    /// Bytes held of it, as they travel.
    pub bytes: u64,
    /// Changes it tells in a second, in the long run.
    pub changes_per_second: u64,
    /// Bytes it tells in a second, in the long run.
    pub bytes_per_second: u64,
}

impl Default for Link {
    fn default() -> Self {
        Self { budget: Budget::default(), forget_after: "never".into() }
    }
}

impl Default for Budget {
    /// As the controller's own: far beyond what a cluster of 5,000 nodes says.
    fn default() -> Self {
        Self {
            objects: 500_000,
            bytes: 512 * 1024 * 1024,
            changes_per_second: 5_000,
            bytes_per_second: 8 * 1024 * 1024,
        }
    }
}
