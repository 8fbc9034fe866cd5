//! A Unix socket that is ours alone: never taken from a process that lives, never open to more than it should be.

use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use axum::Router;
use tokio::net::UnixListener;

use crate::connections;

/// Who may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// The owner of the socket (mode 0600).
    Owner,
    /// The socket's group, too (mode 0660).
    Group,
}

/// A socket that could not be had.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Somebody answers there.
    #[error("another process answers on {0}: stop it, or give this one another socket")]
    Taken(PathBuf),
    /// Something else is there.
    #[error("{0} exists and is not a socket: move it away, it will not be overwritten")]
    NotASocket(PathBuf),
    /// The system refused.
    #[error("cannot {attempt} {path}: {source}")]
    System {
        /// What was attempted.
        attempt: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// Takes the socket, and then serves for as long as the returned future is polled. A socket that a dead process left
/// behind is replaced.
///
/// # Errors
/// When the path is in use or cannot be written.
pub async fn serve(
    path: &Path,
    access: Access,
    router: Router,
) -> Result<impl Future<Output = ()> + Send + 'static, BindError> {
    let listener = bind(path, access).await?;
    Ok(connections::serve(listener, router))
}

async fn bind(path: &Path, access: Access) -> Result<UnixListener, BindError> {
    let failed = |attempt, path: &Path| {
        let path = path.to_path_buf();
        move |source| BindError::System { attempt, path, source }
    };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(failed("make the folder", folder))?;
    }
    check_free(path).await?;

    // Made under another name and moved into place: at its own name it never exists with other permissions, nor
    // without somebody listening.
    let new = path.with_extension(format!("{}.new", std::process::id()));
    match std::fs::remove_file(&new) {
        Err(e) if e.kind() != ErrorKind::NotFound => return Err(failed("remove", &new)(e)),
        _ => (),
    }
    let listener = UnixListener::bind(&new).map_err(failed("listen on", &new))?;
    let mode = match access {
        Access::Owner => 0o600,
        Access::Group => 0o660,
    };
    std::fs::set_permissions(&new, PermissionsExt::from_mode(mode))
        .map_err(failed("set the mode of", &new))?;
    std::fs::rename(&new, path).map_err(failed("put the socket at", path))?;
    Ok(listener)
}

/// Nobody may live at the path.
async fn check_free(path: &Path) -> Result<(), BindError> {
    let found = match std::fs::symlink_metadata(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(BindError::System { attempt: "look at", path: path.into(), source }),
        Ok(found) => found,
    };
    if !found.file_type().is_socket() {
        return Err(BindError::NotASocket(path.into()));
    }
    match tokio::net::UnixStream::connect(path).await {
        Err(e) if e.kind() == ErrorKind::ConnectionRefused => Ok(()),
        Err(source) => Err(BindError::System { attempt: "ask who answers on", path: path.into(), source }),
        Ok(_) => Err(BindError::Taken(path.into())),
    }
}
