//! Which file of a checkpoint holds which tensor.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::small_file::read_text;
use crate::error::LoadError;

/// Name of the weights if they are in one file.
pub(super) const SINGLE_FILE: &str = "model.safetensors";

/// Name of the index if they are in several.
pub(super) const INDEX_FILE: &str = "model.safetensors.index.json";

/// A checkpoint's table of contents.
#[derive(Debug)]
pub(super) enum WeightIndex {
    /// All tensors are in one file.
    Single(PathBuf),
    /// Tensor name to file name, as the index says.
    Sharded {
        /// The index file.
        path: PathBuf,
        /// Plain file names: none leads out of the checkpoint's directory.
        files: HashMap<String, String>,
    },
}

impl WeightIndex {
    /// Reads an index file.
    ///
    /// # Errors
    /// [`LoadError::Damaged`] if it is not an index or names a file elsewhere; [`LoadError::Io`].
    pub(super) fn read(path: &Path) -> Result<Self, LoadError> {
        let damaged = |reason: String| LoadError::damaged(path, reason);
        let text = read_text(path)?;
        let index: RawIndex = serde_json::from_str(&text).map_err(|e| damaged(e.to_string()))?;
        let stray = index.weight_map.values().find(|name| !is_plain_name(name));
        if let Some(stray) = stray {
            return Err(damaged(format!(
                "names {stray:?}, which is no plain file name"
            )));
        }
        Ok(Self::Sharded {
            path: path.to_owned(),
            files: index.weight_map,
        })
    }
}

#[derive(Deserialize)]
struct RawIndex {
    weight_map: HashMap<String, String>,
}

/// Whether joining `name` to a directory stays inside that directory.
fn is_plain_name(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    let plain = matches!(parts.next(), Some(std::path::Component::Normal(_)));
    plain && parts.next().is_none() && !name.contains(['/', '\\'])
}

#[cfg(test)]
mod tests {
    use super::is_plain_name;

    #[test]
    fn an_index_cannot_lead_elsewhere() {
        assert!(is_plain_name("model-00001-of-00002.safetensors"));
        for name in [
            "",
            ".",
            "..",
            "/etc/passwd",
            "../model",
            "a/b",
            "a/",
            r"..\model",
        ] {
            assert!(!is_plain_name(name), "{name:?}");
        }
    }
}
