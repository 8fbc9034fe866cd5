//! What was asked of the server.

use std::fmt;
use std::time::Instant;

/// One request, as the log and the rules of access see it.
#[derive(Debug, Clone)]
pub struct Request {
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`; `get` for other paths too.
    pub verb: String,
    /// The API group; empty for the core group.
    pub group: String,
    /// The resource's plural; empty for paths that are no resources.
    pub resource: String,
    /// `status`, `token`, or empty.
    pub subresource: String,
    /// Empty for objects of the whole cluster, and for all namespaces.
    pub namespace: String,
    /// The object's name; empty for collections.
    pub name: String,
    /// The path, for what is no resource.
    pub path: String,
    /// What stands behind the question mark.
    pub query: String,
    /// Who asked, by its own words.
    pub user_agent: String,
    /// The HTTP status of the answer; 0 while there is none.
    pub code: u16,
    /// When it arrived.
    pub at: Instant,
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.verb)?;
        if self.resource.is_empty() {
            write!(f, " {}", self.path)?;
        } else {
            write!(f, " {}", self.resource)?;
            for (mark, part) in [(".", &self.group), ("/", &self.subresource), (" ", &self.name)] {
                if !part.is_empty() {
                    write!(f, "{mark}{part}")?;
                }
            }
            if !self.namespace.is_empty() {
                write!(f, " in {}", self.namespace)?;
            }
        }
        write!(f, " by {:?}: {}", self.user_agent, self.code)
    }
}
