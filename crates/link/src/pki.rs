//! Who is who: every cluster has its own CA, and a certificate that names a cluster counts only if that cluster's
//! CA signed it.

mod authority;
mod credentials;
mod examiner;
mod identity;
mod root;
mod rotation;
mod tls;
mod trust;
mod verify;

pub use authority::Lifetimes;
pub(crate) use authority::{Authority, SignError, all_pem, pem};
pub(crate) use credentials::{Credentials, Key, Leaf, validity};
pub use examiner::Examiner;
pub use identity::Identity;
pub(crate) use tls::{client_config, server_config};
pub(crate) use trust::{Roots, Trust, fingerprint, follows, parse_crosses, parse_roots};
pub use verify::Untrusted;
pub(crate) use verify::{Expect, Lapsed, check_leaf, identity_of};

#[cfg(test)]
mod tests;
