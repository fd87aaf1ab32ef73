//! Which file of a checkpoint holds which tensor.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::packed::Packing;
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
        let files = files(&read_text(path)?).map_err(|reason| LoadError::damaged(path, reason))?;
        Ok(Self::Sharded {
            path: path.to_owned(),
            files,
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

    /// Which files hold `tensors`, or what they are packed as, in the order of their first ones.
    ///
    /// # Errors
    /// [`LoadError::MissingTensor`] if the index names none for one.
    pub(super) fn files_of(
        &self,
        tensors: &[String],
        packing: Packing,
    ) -> Result<Vec<WantedTensors>, LoadError> {
        let mut wanted: Vec<WantedTensors> = Vec::new();
        let mut numbers: HashMap<&str, usize> = HashMap::new();
        for tensor in tensors {
            let mut is_named = false;
            for name in packing.stored_names(tensor) {
                let Some(file) = self.file_of(&name) else {
                    continue;
                };
                is_named = true;
                let number = *numbers.entry(file).or_insert(wanted.len());
                if number == wanted.len() {
                    let (file, tensors) = (file.to_owned(), Vec::new());
                    wanted.push(WantedTensors { file, tensors });
                }
                wanted[number].tensors.push(name);
            }
            if !is_named {
                return Err(self.missing(tensor));
            }
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
    /// Names of the tensors, by which the file may know them otherwise; at least one. Of those that stand for one
    /// tensor if it is packed, a single file has only some.
    pub(super) tensors: Vec<String>,
}

/// Reads an index: tensor name to file name.
///
/// # Errors
/// What is wrong, if it is no index or names a file elsewhere.
fn files(text: &str) -> Result<HashMap<String, String>, String> {
    let index: RawIndex = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let stray = index.weight_map.values().find(|name| !is_plain_name(name));
    match stray {
        Some(stray) => Err(format!("names {stray:?}, which is no plain file name")),
        None => Ok(index.weight_map),
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
    use proptest::prelude::*;

    use super::{files, is_plain_name};

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

    proptest! {
        #[test]
        fn damaged_indices_never_panic_or_lead_elsewhere(
            changes in prop::collection::vec((0usize..200, any::<char>()), 0..6),
            cut in 0usize..200,
        ) {
            let index = r#"{"metadata":{"total_size":9},"weight_map":{"a":"model-1.safetensors","b":"c"}}"#;
            let mut text: Vec<char> = index.chars().collect();
            for (place, letter) in changes {
                let place = place % text.len();
                text[place] = letter;
            }
            let cut: String = text[..cut % text.len()].iter().collect();
            for text in [text.iter().collect(), cut] {
                let found = files(&text).unwrap_or_default();
                prop_assert!(found.values().all(|name| is_plain_name(name)));
            }
        }

        #[test]
        fn names_of_any_shape_stay_in_the_folder(name in r"[./\\a-z:]{0,12}") {
            let index = serde_json::json!({"weight_map": {"tensor": name}}).to_string();
            let stays = files(&index).is_ok();
            prop_assert_eq!(stays, is_plain_name(&name));
            let joined = std::path::Path::new("folder").join(&name);
            prop_assert!(!stays || joined.parent() == Some(std::path::Path::new("folder")));
        }
    }
}
