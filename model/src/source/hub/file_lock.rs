//! A lock that one process at a time has, and that ends with it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::Path;
use std::time::Duration;

/// A lock that was taken; given back by being dropped.
#[derive(Debug)]
pub(super) struct FileLock(#[allow(dead_code, reason = "it is open, and that is all")] File);

impl FileLock {
    /// Takes the lock whose file is at `path`; `None` as long as another has it.
    ///
    /// # Errors
    /// As the operating system says.
    pub(super) fn try_take(path: &Path) -> io::Result<Option<Self>> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut options = OpenOptions::new();
        let file = options
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

/// Time between two looks at whether another process is done.
pub(super) const LOCK_PERIOD: Duration = Duration::from_millis(100);
