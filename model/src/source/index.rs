//! Which file of a checkpoint holds which tensor.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::small_file::read_text;
use crate::error::LoadError;
use crate::families::spellings;

/// Name of the weights if they are in one file.
pub(super) const SINGLE_FILE: &str = "model.safetensors";

/// Name of the index if they are in several.
pub(super) const INDEX_FILE: &str = "model.safetensors.index.json";

/// Names of weights that are never read, if there are no others.
pub(super) const PICKLED_FILES: [&str; 2] = ["pytorch_model.bin", "pytorch_model.bin.index.json"];

/// A checkpoint's table of contents.
#[derive(Debug)]
pub(super) enum WeightIndex {
    /// All tensors are in [`SINGLE_FILE`].
    Single,
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

    /// Which file holds a tensor, if the index names one.
    pub(super) fn file_of(&self, tensor: &str) -> Option<&str> {
        match self {
            Self::Single => Some(SINGLE_FILE),
            Self::Sharded { files, .. } => spellings(tensor)
                .find_map(|name| files.get(&name))
                .map(String::as_str),
        }
    }

    /// Which files hold `tensors`, in the order of their first ones.
    ///
    /// # Errors
    /// [`LoadError::MissingTensor`] if the index names none for one.
    pub(super) fn files_of(&self, tensors: &[String]) -> Result<Vec<WantedTensors>, LoadError> {
        let mut wanted: Vec<WantedTensors> = Vec::new();
        let mut numbers: HashMap<&str, usize> = HashMap::new();
        for tensor in tensors {
            let file = self.file_of(tensor).ok_or_else(|| self.missing(tensor))?;
            let number = *numbers.entry(file).or_insert(wanted.len());
            if number == wanted.len() {
                let (file, tensors) = (file.to_owned(), Vec::new());
                wanted.push(WantedTensors { file, tensors });
            }
            wanted[number].tensors.push(tensor.clone());
        }
        Ok(wanted)
    }

    fn missing(&self, tensor: &str) -> LoadError {
        let path = match self {
            Self::Single => PathBuf::from(SINGLE_FILE),
            Self::Sharded { path, .. } => path.clone(),
        };
        LoadError::MissingTensor {
            path,
            tensor: tensor.to_owned(),
        }
    }
}

/// Tensors of one file that are to be read.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct WantedTensors {
    /// Plain name of the file.
    pub(super) file: String,
    /// Names of the tensors, by which the file may know them otherwise; at least one.
    pub(super) tensors: Vec<String>,
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
