//! Where the lines are kept that a person has typed.

use std::fs::{self, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use block_program::{Exit, Failure, Folders};

/// The history of this user, made with mode 0600 if there is none: what people tell a model is their own affair.
///
/// # Errors
/// The home folder is unknown or cannot be written to (exit 71).
pub(super) fn file() -> Result<PathBuf, Failure> {
    let path = Folders::of_user("swarm")?.state_file("history");
    match make_private(&path) {
        Ok(()) => Ok(path),
        Err(error) => Err(
            Failure::new(Exit::OsError, format!("cannot write {}", path.display()))
                .caused_by(&error)
                .hint("--no-history, or set XDG_STATE_HOME to a folder of yours"),
        ),
    }
}

fn make_private(path: &Path) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(PRIVATE)
        .open(path)?;
    file.set_permissions(Permissions::from_mode(PRIVATE))
}

/// Nobody else may read it.
const PRIVATE: u32 = 0o600;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_that_others_could_read_is_closed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("swarm/history");
        make_private(&path).unwrap();
        fs::write(&path, "a secret\n").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        make_private(&path).unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            PRIVATE
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), "a secret\n");
    }
}
