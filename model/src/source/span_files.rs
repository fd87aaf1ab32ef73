//! What of a span's weights is on this machine already, and what is still to be fetched.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::Range;

use super::hub::ShardAtHand;
use super::index::{INDEX_FILE, SINGLE_FILE, WeightIndex};
use super::model_source::{ModelSource, is_absence};
use super::stored::PackedNames;
use crate::checks::check_blocks_of_model;
use crate::dtype::SpanDType;
use crate::error::LoadError;
use crate::families::{self, BlockLayout};

/// A span's weights before they are loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpanFiles {
    /// Bytes of its tensors that are not on this machine yet: exact for blocks in files of which a part is here, else by
    /// `config.json`, within a thousandth of their size in a checkpoint that is what it says. Zero for a local directory or file, from which nothing is fetched.
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
        if let Some(model) = self.gguf_model() {
            let first = families::block(self.config(), blocks.start);
            return Ok(SpanFiles {
                download_bytes: 0,
                stored: model.dtype(&first.attention.query.weight()).ok(),
            });
        }
        let packed = PackedNames::of(self)?;
        let index = packed.index();
        let mut shards: HashMap<&str, Option<ShardAtHand>> = HashMap::new();
        let mut files = SpanFiles::default();
        for block in blocks {
            let layout = families::block(self.config(), block);
            let first = layout.attention.query.weight();
            let mut missing_bytes = Some(0u64);
            for tensor in layout.tensor_names() {
                let mut of_tensor = None;
                for name in self.packing().stored_names(&tensor) {
                    let place = index.and_then(|index| index.file_of(&name));
                    let shard = match place.map(|file| (file, shards.entry(file))) {
                        None => continue,
                        Some((_, Entry::Occupied(known))) => known.into_mut().as_ref(),
                        Some((file, Entry::Vacant(new))) => {
                            new.insert(self.shard_at_hand(file)?).as_ref()
                        }
                    };
                    let Some(shard) = shard else {
                        of_tensor = None;
                        break;
                    };
                    of_tensor = Some(of_tensor.unwrap_or(0) + shard.missing_bytes(&name));
                    if files.stored.is_none() && name == first {
                        files.stored = shard.dtype(&name);
                    }
                }
                missing_bytes = missing_bytes
                    .zip(of_tensor)
                    .map(|(sum, more)| sum.saturating_add(more));
            }
            let bytes = missing_bytes.unwrap_or_else(|| self.stored_bytes(&layout, &packed));
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

    /// The index, which may be fetched; `None` if there is none, so that all weights are in one file.
    pub(super) fn index_at_hand(&self) -> Result<Option<WeightIndex>, LoadError> {
        if self.knows(SINGLE_FILE) {
            return Ok(Some(WeightIndex::Single));
        }
        if self.commit().is_none() {
            return self.weight_index().map(Some);
        }
        match self.file(INDEX_FILE) {
            Ok(path) => WeightIndex::read(&path).map(Some),
            Err(error) if is_absence(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A block as stored, bytes.
    fn stored_bytes(&self, layout: &BlockLayout, packed: &PackedNames) -> u64 {
        let dtype = self.config().dtype.unwrap_or(SpanDType::F32);
        let parts = layout.parts().into_iter();
        let parts = parts.filter(|part| packed.contains(&part.weight()));
        let (mut values, mut bytes) = (layout.values(), 0u64);
        for part in parts {
            let shape = [part.outputs, part.inputs];
            values = values.saturating_sub(part.outputs as u64 * part.inputs as u64);
            bytes = bytes.saturating_add(self.packing().bytes(shape, dtype));
        }
        bytes.saturating_add(values.saturating_mul(dtype.size_bytes() as u64))
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
