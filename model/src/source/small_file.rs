//! Reading the JSON files beside the weights, bounded.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::error::LoadError;

/// Largest JSON file that is read: an index of a model with a million tensors is below this.
const MAX_TEXT_BYTES: u64 = 128 * 1024 * 1024;

/// Reads a text file.
///
/// # Errors
/// [`LoadError::NotFound`], [`LoadError::Damaged`] if it is too large or no UTF-8,
/// [`LoadError::Io`].
pub(crate) fn read_text(path: &Path) -> Result<String, LoadError> {
    let damaged = |reason: String| LoadError::damaged(path, reason);
    let file = File::open(path).map_err(|source| io_error(path, source))?;
    let mut bytes = Vec::new();
    file.take(MAX_TEXT_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|source| io_error(path, source))?;
    if bytes.len() as u64 > MAX_TEXT_BYTES {
        return Err(damaged(format!("larger than {MAX_TEXT_BYTES} bytes")));
    }
    String::from_utf8(bytes).map_err(|error| damaged(error.to_string()))
}

/// Tells a file that is not there from one that cannot be read.
pub(crate) fn io_error(path: &Path, source: std::io::Error) -> LoadError {
    let path = path.to_owned();
    if source.kind() == std::io::ErrorKind::NotFound {
        LoadError::NotFound { path }
    } else {
        LoadError::Io { path, source }
    }
}
