//! The JSON and text files beside the weights, each of which may be missing.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use block_model::{HubError, LoadError, ModelSource};
use serde_json::Value as Json;

use super::LocalModelError;

/// Path of one of the model's files, `None` if the model has no such file, as far as can be known.
///
/// # Errors
/// The hub could not be asked.
pub(super) fn optional_path(
    source: &ModelSource,
    name: &str,
) -> Result<Option<PathBuf>, LocalModelError> {
    match source.file(name) {
        Ok(path) => Ok(Some(path)),
        Err(error) if is_absence(&error) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Reads a file of at most `most` bytes.
///
/// # Errors
/// It cannot be read, or is larger.
pub(super) fn read_bytes(path: &Path, most: u64) -> Result<Vec<u8>, LocalModelError> {
    let malformed = |reason: String| malformed(path, reason);
    let file = File::open(path).map_err(|error| malformed(error.to_string()))?;
    let mut bytes = Vec::new();
    file.take(most + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| malformed(error.to_string()))?;
    if bytes.len() as u64 > most {
        return Err(malformed(format!("larger than {most} bytes")));
    }
    Ok(bytes)
}

/// Reads a text of at most `most` bytes.
///
/// # Errors
/// It cannot be read, is larger, or is no UTF-8.
pub(super) fn read_text(path: &Path, most: u64) -> Result<String, LocalModelError> {
    let bytes = read_bytes(path, most)?;
    String::from_utf8(bytes).map_err(|error| malformed(path, error.to_string()))
}

/// Reads one of the model's JSON files, if it has it.
///
/// # Errors
/// The hub could not be asked, or the file is no JSON object.
pub(super) fn optional_json(
    source: &ModelSource,
    name: &str,
) -> Result<Option<Json>, LocalModelError> {
    let Some(path) = optional_path(source, name)? else {
        return Ok(None);
    };
    let text = read_text(&path, MAX_JSON_BYTES)?;
    let json: Json =
        serde_json::from_str(&text).map_err(|error| malformed(&path, error.to_string()))?;
    if !json.is_object() {
        return Err(malformed(&path, "must be a JSON object".to_owned()));
    }
    Ok(Some(json))
}

pub(super) fn malformed(path: &Path, reason: String) -> LocalModelError {
    LocalModelError::Malformed {
        path: path.to_owned(),
        reason,
    }
}

/// Whether the file is simply not part of the model.
fn is_absence(error: &LoadError) -> bool {
    matches!(
        error,
        LoadError::NotFound { .. }
            | LoadError::Hub(HubError::NotFound { .. } | HubError::NotCached { .. })
    )
}

/// Largest JSON file that is read: a `tokenizer_config.json` that lists 6,000 special tokens has 1.2 MB.
const MAX_JSON_BYTES: u64 = 16 * 1024 * 1024;
