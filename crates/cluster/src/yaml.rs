//! Strict YAML (and so JSON): text into any serde type, and for every mistake the file, line, column, field and what
//! to write instead.
//!
//! Stricter than serde asks for: a field that the type does not know is an error, also in types that would ignore
//! it, as are duplicate keys, custom tags and text that YAML 1.1 and 1.2 read differently (`no`, unquoted). Sizes are
//! bounded before anything is built, so that hostile text costs little.
//!
//! ```
//! #[derive(serde::Deserialize)]
//! struct Lab {
//!     clusters: Vec<Cluster>,
//! }
//! #[derive(serde::Deserialize)]
//! struct Cluster {
//!     name: String,
//! }
//! let text = "clusters:\n- name: aws\n- name: aws\n";
//! let labs = causeway_cluster::yaml::parse::<Lab>("lab.yaml", text).unwrap();
//! assert_eq!(labs[0].value.clusters[1].name, "aws");
//! let error = labs[0].error("clusters[1].name", "`aws` is already the name of another cluster", "a new name");
//! assert_eq!(
//!     error.to_string(),
//!     "lab.yaml:3:9: clusters[1].name: `aws` is already the name of another cluster; write a new name"
//! );
//! ```

mod de;
mod error;
mod located;
mod node;
mod scalar;
mod suggest;

use serde::de::DeserializeOwned;

pub use error::{Error, Reason};
pub use located::{Located, field};
pub use node::{MAX_BYTES, MAX_DEPTH, MAX_NODES};
pub use suggest::nearest;

/// Reads every document of `text` as a `T`. Empty documents are passed over. `file` is what errors call the text.
pub fn parse<T: DeserializeOwned>(file: &str, text: &str) -> Result<Vec<Located<T>>, Error> {
    documents(file, text)?.into_iter().map(|document| document.read()).collect()
}

/// The documents of `text`, not yet read as any type.
pub(crate) fn documents(file: &str, text: &str) -> Result<Vec<Located<()>>, Error> {
    let file: std::sync::Arc<str> = file.into();
    let roots = node::read(&file, text)?;
    Ok(roots.into_iter().filter(|root| !root.is_null()).map(|root| Located::new(&file, root)).collect())
}

#[cfg(test)]
mod tests;
