//! One process for one identity: two servers with the same peer id would take each
//! other's connections.

use std::fs::{File, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

use block_network::{IdentityError, Keypair, identity};

use crate::error_report::{Exit, Failure};

/// Holds the lock until dropped; the system frees it if the process dies.
#[derive(Debug)]
pub struct IdentityLock {
    _file: File,
}

impl IdentityLock {
    /// Locks `identity` for this process; creates its folder if needed.
    ///
    /// # Errors
    /// Another process holds it (exit 75), or the folder cannot be written (71 or 77).
    pub fn take(identity: &Path) -> Result<Self, Failure> {
        Self::take_with_hint(
            identity,
            "--identity FILE gives this server its own; --port 0 --admin-listen 127.0.0.1:0 its own ports",
        )
    }

    /// As [`Self::take`]; `hint` says what to do if another process holds it.
    ///
    /// # Errors
    /// As [`Self::take`].
    pub fn take_with_hint(identity: &Path, hint: &str) -> Result<Self, Failure> {
        let path = lock_path(identity);
        let cannot = |error: &std::io::Error| {
            let exit = match error.kind() {
                std::io::ErrorKind::PermissionDenied => Exit::NoPermission,
                _ => Exit::OsError,
            };
            Failure::new(
                exit,
                format!(
                    "cannot write beside the identity file {}",
                    identity.display()
                ),
            )
            .caused_by(error)
            .hint("--identity FILE in a folder that this user may write")
        };
        if let Some(folder) = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
        {
            std::fs::create_dir_all(folder).map_err(|error| cannot(&error))?;
        }
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|error| cannot(&error))?;
        match file.try_lock() {
            Ok(()) => {
                // The number only helps a person; the lock itself is the system's.
                let _ = file
                    .set_len(0)
                    .and_then(|()| file.rewind())
                    .and_then(|()| write!(file, "{}", std::process::id()));
                Ok(Self { _file: file })
            }
            Err(TryLockError::WouldBlock) => Err(taken(identity, &mut file).hint(hint)),
            Err(TryLockError::Error(error)) => Err(cannot(&error)),
        }
    }
}

/// The key pair in `path`, made if there is none.
///
/// # Errors
/// It is no key (exit 65), or cannot be read or written (77).
pub fn load_or_create(path: &Path) -> Result<Keypair, Failure> {
    identity::load_or_create(path).map_err(|error| match &error {
        IdentityError::Malformed { .. } => {
            Failure::new(Exit::BadData, "the identity cannot be used")
                .caused_by(&error)
                .hint("--identity FILE; a file that does not exist yet is made")
        }
        IdentityError::Io { .. } => Failure::new(Exit::NoPermission, "the identity cannot be used")
            .caused_by(&error)
            .hint("--identity FILE in a folder that this user may write"),
    })
}

fn taken(identity: &Path, file: &mut File) -> Failure {
    let mut holder = String::new();
    let is_read = file.take(MAX_PID_BYTES).read_to_string(&mut holder).is_ok();
    let failure = Failure::new(
        Exit::TemporaryFailure,
        format!("another process uses the identity {}", identity.display()),
    );
    if is_read && !holder.is_empty() {
        failure.cause(format!("it has the process id {holder}"))
    } else {
        failure
    }
}

fn lock_path(identity: &Path) -> PathBuf {
    let mut name = identity.as_os_str().to_owned();
    name.push(".lock");
    name.into()
}

/// Longest process id as text, with room.
const MAX_PID_BYTES: u64 = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_holder_is_told_about_the_first() {
        let root = tempfile::tempdir().unwrap();
        let identity = root.path().join("state").join("identity.key");
        let first = IdentityLock::take(&identity).unwrap();
        let failure = IdentityLock::take(&identity).unwrap_err();
        assert_eq!(failure.exit(), Exit::TemporaryFailure);
        assert!(
            failure
                .to_string()
                .contains(&std::process::id().to_string()),
            "{failure}"
        );
        drop(first);
        IdentityLock::take(&identity).unwrap();
        assert!(!identity.exists(), "the lock does not make the key");
    }
}
