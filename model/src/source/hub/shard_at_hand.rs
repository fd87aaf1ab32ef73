//! A file of weights as far as it is on this machine.

use std::path::Path;

use super::failure;
use super::partial_file::PartialFile;
use super::range_set::RangeSet;
use crate::dtype::SpanDType;
use crate::error::LoadError;
use crate::source::shard::Shard;

/// A file whose header at least is here.
#[derive(Debug)]
pub(in crate::source) struct ShardAtHand {
    shard: Shard,
    /// Bytes that are here; all if `None`.
    complete: Option<RangeSet>,
}

impl ShardAtHand {
    /// A file with all its bytes.
    ///
    /// # Errors
    /// As [`Shard::open`].
    pub(in crate::source) fn whole(path: &Path) -> Result<Self, LoadError> {
        Ok(Self {
            shard: Shard::open(path)?,
            complete: None,
        })
    }

    /// A file with holes; `None` if one is in the header.
    ///
    /// # Errors
    /// As [`Shard::open`]; [`LoadError::Hub`] if the disk cannot be read.
    pub(super) fn in_parts(file: &PartialFile) -> Result<Option<Self>, LoadError> {
        let path = file.path();
        let disk = |source| failure::disk(path.to_owned(), source);
        let complete = file.complete().map_err(disk)?;
        if complete.start_bytes() < Shard::MIN_BYTES
            || complete.start_bytes() < Shard::header_end(path)?
        {
            return Ok(None);
        }
        Ok(Some(Self {
            shard: Shard::open(path)?,
            complete: Some(complete),
        }))
    }

    /// Bytes of a tensor that are not here; none are missing of one that the file does not have.
    pub(in crate::source) fn missing_bytes(&self, tensor: &str) -> u64 {
        let name = self.shard.spelling(tensor);
        let range = name.and_then(|name| self.shard.range(&name));
        match (&self.complete, range) {
            (Some(complete), Some(range)) => RangeSet::from(range).without(complete).bytes(),
            (None, _) | (_, None) => 0,
        }
    }

    /// Whether the file has a tensor.
    pub(in crate::source) fn has(&self, tensor: &str) -> bool {
        self.shard.spelling(tensor).is_some()
    }

    /// Type of a tensor as stored, if it is there and can be read.
    pub(in crate::source) fn dtype(&self, tensor: &str) -> Option<SpanDType> {
        let name = self.shard.spelling(tensor)?;
        self.shard.dtype(&name).ok()
    }
}
