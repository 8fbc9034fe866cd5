//! Firewalls of the machine that drop what it forwards, as long as no rule of theirs lets it pass: pods' packets are
//! forwarded. Only looked at, never touched: what rules say cannot be told from outside.

use std::io;

use crate::{legacy, nft};

/// Whoever drops what is forwarded, in the calling thread's network namespace, by the name its administrator knows it
/// by. Blocks, for some milliseconds.
///
/// # Errors
/// The packet filters cannot be read.
pub fn dropping_forward() -> io::Result<Vec<String>> {
    let mut found = nft::dropping_forward()?;
    found.extend(legacy::dropping_forward()?.into_iter().map(|name| format!("{name}-legacy, chain FORWARD")));
    Ok(found)
}
