//! Keys and values of past tokens, preallocated and written in place.

use std::ops::Range;

use candle_core::{DType, Device, Result, Tensor};

use crate::checks::CacheLimits;

/// What one session has at one span.
#[derive(Debug)]
pub(crate) struct KvCache {
    pub(crate) limits: CacheLimits,
    /// One for each of its blocks.
    entries: Vec<BlockCache>,
}

/// Keys and values of one session in one block.
#[derive(Debug)]
pub(crate) struct BlockCache {
    keys: Tensor,   // [batch, kv_heads, max_length, head_dim]
    values: Tensor, // [batch, kv_heads, max_length, head_dim]
    /// Tokens whose keys and values are valid.
    pub(super) cached: usize,
}

/// The part of a cache's size that the model sets.
#[derive(Clone, Debug)]
pub(crate) struct KvShape {
    pub(crate) kv_heads: usize,
    pub(crate) head_dim: usize,
    pub(crate) dtype: DType,
    pub(crate) device: Device,
}

impl KvShape {
    /// Keys and values of one token in one block, bytes.
    pub(crate) fn bytes_per_token(&self) -> usize {
        2 * self.kv_heads * self.head_dim * self.dtype.size_in_bytes()
    }

    /// Size of a whole cache, bytes; `None` if it does not fit the type.
    pub(crate) fn bytes(&self, blocks: usize, batch: usize, max_length: usize) -> Option<usize> {
        self.bytes_per_token()
            .checked_mul(blocks)?
            .checked_mul(batch)?
            .checked_mul(max_length)
    }
}

impl KvCache {
    /// Reserves the whole cache. On a CPU the pages are zero pages until a token is written.
    pub(crate) fn new(
        shape: &KvShape,
        blocks: Range<usize>,
        batch: usize,
        max_length: usize,
    ) -> Result<Self> {
        let entries: Result<Vec<_>> = blocks
            .clone()
            .map(|_| BlockCache::new(shape, batch, max_length))
            .collect();
        Ok(Self {
            entries: entries?,
            limits: CacheLimits {
                blocks,
                batch,
                max_length,
            },
        })
    }

    /// Tokens in the entry of some of the cache's blocks that holds fewest.
    pub(crate) fn cached(&self, blocks: &Range<usize>) -> usize {
        let start = self.limits.blocks.start;
        let entries = self.entries[blocks.start - start..blocks.end - start].iter();
        entries.map(|entry| entry.cached).min().unwrap_or(0)
    }

    /// The entries of some of the cache's blocks, to be written.
    pub(crate) fn entries_mut(&mut self, blocks: &Range<usize>) -> &mut [BlockCache] {
        let start = self.limits.blocks.start;
        &mut self.entries[blocks.start - start..blocks.end - start]
    }
}

impl BlockCache {
    fn new(shape: &KvShape, batch: usize, max_length: usize) -> Result<Self> {
        let size = (batch, shape.kv_heads, max_length, shape.head_dim);
        Ok(Self {
            keys: Tensor::zeros(size, shape.dtype, &shape.device)?,
            values: Tensor::zeros(size, shape.dtype, &shape.device)?,
            cached: 0,
        })
    }

    /// Forgets all but the first `position` tokens; `position` may not exceed what is cached.
    pub(crate) fn truncate(&mut self, position: usize) {
        debug_assert!(
            position <= self.cached,
            "invariant: checked before the step"
        );
        self.cached = position;
    }

    /// Gives batch row `i` the past of row `indices[i]`.
    ///
    /// - `indices`: `[batch]` of `u32`
    pub(crate) fn reorder(&mut self, indices: &Tensor) -> Result<()> {
        if self.cached == 0 {
            return Ok(());
        }
        for past in [&self.keys, &self.values] {
            let valid = past.narrow(2, 0, self.cached)?.contiguous()?;
            past.slice_set(&valid.index_select(indices, 0)?, 2, 0)?;
        }
        Ok(())
    }

    /// Appends `seq` tokens and returns views of all that is cached then.
    ///
    /// - `keys`, `values`: `[batch, kv_heads, seq, head_dim]`
    /// - returns keys and values, `[batch, kv_heads, past + seq, head_dim]`
    pub(crate) fn append(&mut self, keys: &Tensor, values: &Tensor) -> Result<(Tensor, Tensor)> {
        let total = self.cached + keys.dim(2)?;
        self.keys.slice_set(&keys.contiguous()?, 2, self.cached)?;
        self.values
            .slice_set(&values.contiguous()?, 2, self.cached)?;
        self.cached = total;
        Ok((
            self.keys.narrow(2, 0, total)?,
            self.values.narrow(2, 0, total)?,
        ))
    }
}
