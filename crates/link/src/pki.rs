//! Who is who: every cluster has its own CA, and a certificate that names a cluster counts only if that cluster's
//! CA signed it.

mod authority;
mod credentials;
mod identity;
mod tls;
mod trust;
mod verify;

pub(crate) use authority::Authority;
pub(crate) use authority::{SignError, pem};
pub(crate) use credentials::{Credentials, Key, Leaf, validity};
pub use identity::Identity;
pub(crate) use tls::{client_config, server_config};
pub(crate) use trust::{Roots, Trust, fingerprint, parse_roots};
pub use verify::Untrusted;
pub(crate) use verify::{Expect, check_leaf, identity_of};

#[cfg(test)]
mod tests;
