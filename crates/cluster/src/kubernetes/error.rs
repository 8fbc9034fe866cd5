//! What can go wrong between us and an API server.

use thiserror::Error;

/// Something that was asked of an API server, and not done.
#[derive(Debug, Error)]
pub enum Error {
    /// The configuration that says where the API server is cannot be used.
    #[error("cannot find the API server: {tried}; {check}")]
    Config {
        /// Which configuration was read, and what is wrong with it.
        tried: String,
        /// What to look at.
        check: String,
    },
    /// The API server refused, or did not answer.
    #[error("cannot {action}: {source}")]
    Api {
        /// What was asked: `patch meshnodes/aws-1`.
        action: String,
        /// What came back.
        source: Box<kube::Error>,
    },
}

impl Error {
    /// That `action` failed with `source`.
    pub fn api(action: impl Into<String>, source: kube::Error) -> Self {
        Self::Api { action: action.into(), source: Box::new(source) }
    }
}

/// An error with everything that led to it, each said once.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        let said = error.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        next = error.source();
    }
    text
}
