//! Questions to whoever sits there.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use anyhow::{Result, bail};

/// Goes on only when somebody says yes.
///
/// # Errors
/// Nobody does; `instead` says what to write where nobody can be asked.
pub(crate) fn confirm(question: &str, instead: &str) -> Result<()> {
    if !std::io::stdin().is_terminal() {
        bail!("not done: {question} Nobody can be asked here: {instead}");
    }
    eprint!("{question} [y/N] ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    match answer.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => bail!("not done"),
    }
}
