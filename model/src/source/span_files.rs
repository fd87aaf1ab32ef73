//! What of a span's weights is on this machine already, and what is still to be fetched.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::Range;

use super::hub::ShardAtHand;
use super::index::{INDEX_FILE, SINGLE_FILE, WeightIndex};
use super::model_source::{ModelSource, is_absence};
use crate::checks::check_blocks_of_model;
use crate::dtype::SpanDType;
use crate::error::LoadError;
use crate::families::{self, BlockLayout};

/// A span's weights before they are loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpanFiles {
    /// Bytes of its tensors that are not on this machine yet: exact for blocks in files of which a part is here, else by
    /// `config.json`, within a thousandth of their size in a checkpoint that is what it says. Zero for a local directory, from which nothing is fetched.
    pub download_bytes: u64,
    /// Type of the weights by the file that holds the first one, if that is on this machine.
    pub stored: Option<SpanDType>,
}

impl ModelSource {
    /// Looks for the files of `blocks` without fetching any weights; of a repository the index may be fetched.
    ///
    /// # Errors
    /// [`LoadError::BlocksOutsideModel`], [`LoadError::Damaged`], [`LoadError::Hub`], [`LoadError::Io`], and
    /// [`LoadError::NotFound`] for a directory without weights.
    pub fn span_files(&self, blocks: Range<usize>) -> Result<SpanFiles, LoadError> {
        check_blocks_of_model(&blocks, self.config())?;
        let index = if self.knows(SINGLE_FILE) {
            Some(WeightIndex::Single)
        } else if self.commit().is_none() {
            Some(self.weight_index()?)
        } else {
            self.index_at_hand()?
        };
        let mut shards: HashMap<&str, Option<ShardAtHand>> = HashMap::new();
        let mut files = SpanFiles::default();
        for block in blocks {
            let layout = families::block(self.config(), block);
            let first = layout.attention.query.weight();
            let mut missing_bytes = Some(0u64);
            for tensor in layout.tensor_names() {
                let place = index.as_ref().and_then(|index| index.file_of(&tensor));
                let shard = match place.map(|file| (file, shards.entry(file))) {
                    None => None,
                    Some((_, Entry::Occupied(known))) => known.into_mut().as_ref(),
                    Some((file, Entry::Vacant(new))) => {
                        new.insert(self.shard_at_hand(file)?).as_ref()
                    }
                };
                let of_tensor = shard.map(|shard| shard.missing_bytes(&tensor));
                missing_bytes = missing_bytes
                    .zip(of_tensor)
                    .map(|(sum, more)| sum.saturating_add(more));
                if files.stored.is_none() && tensor == first {
                    files.stored = shard.and_then(|shard| shard.dtype(&tensor));
                }
            }
            let bytes = missing_bytes.unwrap_or_else(|| self.stored_bytes(&layout));
            files.download_bytes = files.download_bytes.saturating_add(bytes);
        }
        if self.commit().is_none() {
            files.download_bytes = 0;
        }
        Ok(files)
    }

    /// Fetches what [`CpuSpan::load`](crate::CpuSpan::load) of `blocks` would fetch, and reads no weights.
    ///
    /// # Errors
    /// As [`CpuSpan::load`](crate::CpuSpan::load) until it reads weights.
    pub fn fetch(&self, blocks: Range<usize>) -> Result<(), LoadError> {
        check_blocks_of_model(&blocks, self.config())?;
        let names: Vec<String> = blocks
            .flat_map(|block| families::block(self.config(), block).tensor_names())
            .collect();
        super::Checkpoint::open(self, &names).map(drop)
    }

    /// Fetches what [`ClientHead::load`](crate::ClientHead::load) would fetch, and reads no weights.
    ///
    /// # Errors
    /// As [`ClientHead::load`](crate::ClientHead::load) until it reads weights.
    pub fn fetch_ends(&self) -> Result<(), LoadError> {
        let names = families::ends(self.config()).tensor_names();
        super::Checkpoint::open(self, &names).map(drop)
    }

    /// The index; `None` if there is none, so that all weights are in one file.
    fn index_at_hand(&self) -> Result<Option<WeightIndex>, LoadError> {
        match self.file(INDEX_FILE) {
            Ok(path) => WeightIndex::read(&path).map(Some),
            Err(error) if is_absence(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A block as stored, bytes.
    fn stored_bytes(&self, layout: &BlockLayout) -> u64 {
        let dtype = self.config().dtype.unwrap_or(SpanDType::F32);
        layout.values().saturating_mul(dtype.size_bytes() as u64)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::model_source::CONFIG_FILE;
    use super::*;

    const INDEX: [&str; 2] = [CONFIG_FILE, INDEX_FILE];

    /// A folder with some files of the fixture.
    fn folder_with(files: &[&str]) -> tempfile::TempDir {
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny-llama");
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            std::fs::copy(fixture.join(file), folder.path().join(file)).unwrap();
        }
        folder
    }

    fn files_of(folder: &tempfile::TempDir) -> Result<SpanFiles, LoadError> {
        ModelSource::directory(folder.path())
            .unwrap()
            .span_files(0..1)
    }

    #[test]
    fn a_folder_is_never_fetched_from_and_says_its_type_if_it_can() {
        let shard = "model-00001-of-00002.safetensors";
        let whole = folder_with(&[INDEX[0], INDEX[1], shard]);
        let stored = Some(SpanDType::F32);
        let found = files_of(&whole).unwrap();
        assert_eq!((found.download_bytes, found.stored), (0, stored));
        let found = files_of(&folder_with(&INDEX)).unwrap();
        assert_eq!((found.download_bytes, found.stored), (0, None));
    }

    #[test]
    fn a_folder_without_weights_and_blocks_outside_the_model_are_errors() {
        let bare = folder_with(&INDEX[..1]);
        let error = files_of(&bare).unwrap_err();
        assert!(matches!(error, LoadError::NotFound { .. }), "{error:?}");
        let source = ModelSource::directory(bare.path()).unwrap();
        let error = source.span_files(3..5).unwrap_err();
        let is_outside = matches!(error, LoadError::BlocksOutsideModel { .. });
        assert!(is_outside, "{error:?}");
    }
}
