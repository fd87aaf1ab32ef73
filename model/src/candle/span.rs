//! The span contract on the generic path.

use std::collections::HashMap;
use std::fmt::Display;
use std::ops::Range;

use candle_core::{Device, Tensor};

use super::kv_cache::{BlockCache, KvCache, KvShape};
use super::stack::BlockStack;
use crate::checks::{
    check_blocks, check_hidden_states, check_prompts, check_row, check_some_batch,
};
use crate::contract::{BlockSpan, CacheHandle, ForwardRow, Row, SpanDescription, SpanError};

/// A span computed by tensor operations, on any device; see [`CandleSpan::load`].
#[derive(Debug)]
pub struct CandleSpan {
    description: SpanDescription,
    stack: BlockStack,
    kv_shape: KvShape,
    caches: HashMap<CacheHandle, KvCache>,
    next_handle: u64,
}

impl CandleSpan {
    pub(super) fn new(description: SpanDescription, stack: BlockStack, kv_shape: KvShape) -> Self {
        Self {
            description,
            stack,
            kv_shape,
            caches: HashMap::new(),
            next_handle: 0,
        }
    }

    fn step_row(&mut self, row: &Row<'_>) -> Result<Vec<f32>, SpanError> {
        let cache = self.caches.get_mut(&row.cache);
        let cache = cache.ok_or(SpanError::UnknownCache)?;
        check_row(
            row,
            &cache.limits,
            |blocks| cache.cached(blocks),
            self.description.hidden,
        )?;
        let entries = cache.entries_mut(&row.blocks);
        for entry in entries.iter_mut() {
            entry.truncate(row.position);
        }
        let moved = match row.reorder {
            Some(indices) => reorder(entries, indices, &self.stack.device),
            None => Ok(()),
        };
        let output = moved.and_then(|()| {
            self.stack.run(
                &row.blocks,
                &row.hidden_states,
                row.prompts.as_ref(),
                row.position,
                Some(&mut *entries),
            )
        });
        output.map_err(|error| {
            // The blocks may hold different tokens now, so none of them can be used.
            entries.iter_mut().for_each(|entry| entry.truncate(0));
            compute_error(error)
        })
    }
}

impl BlockSpan for CandleSpan {
    fn description(&self) -> &SpanDescription {
        &self.description
    }

    fn open_cache(
        &mut self,
        blocks: Range<usize>,
        batch: usize,
        max_length: usize,
    ) -> Result<CacheHandle, SpanError> {
        check_blocks(&blocks, &self.description.blocks)?;
        check_some_batch(batch)?;
        let bytes = self.kv_shape.bytes(blocks.len(), batch, max_length);
        if !bytes.is_some_and(can_be_reserved) {
            return Err(SpanError::OutOfMemory {
                bytes: bytes.map_or(u64::MAX, |bytes| bytes as u64),
            });
        }
        let cache = KvCache::new(&self.kv_shape, blocks, batch, max_length);
        let handle = CacheHandle::new(self.next_handle);
        self.caches.insert(handle, cache.map_err(compute_error)?);
        self.next_handle += 1;
        Ok(handle)
    }

    fn close_cache(&mut self, cache: CacheHandle) {
        self.caches.remove(&cache);
    }

    fn step(&mut self, rows: &[Row<'_>]) -> Vec<Result<Vec<f32>, SpanError>> {
        rows.iter().map(|row| self.step_row(row)).collect()
    }

    fn forward(&mut self, row: &ForwardRow<'_>) -> Result<Vec<f32>, SpanError> {
        check_blocks(&row.blocks, &self.description.blocks)?;
        check_hidden_states(&row.hidden_states, self.description.hidden)?;
        if let Some(prompts) = &row.prompts {
            check_prompts(prompts, &row.blocks, row.hidden_states.shape)?;
        }
        let prompts = row.prompts.as_ref();
        self.stack
            .run(&row.blocks, &row.hidden_states, prompts, 0, None)
            .map_err(compute_error)
    }
}

/// Lets each batch row continue another row's past; the identity costs nothing.
fn reorder(
    entries: &mut [BlockCache],
    indices: &[usize],
    device: &Device,
) -> candle_core::Result<()> {
    if indices.iter().enumerate().all(|(row, index)| row == *index) {
        return Ok(());
    }
    let indices: Vec<i64> = indices.iter().map(|index| *index as i64).collect();
    let indices = Tensor::new(indices, device)?;
    entries
        .iter_mut()
        .try_for_each(|entry| entry.reorder(&indices))
}

/// Whether the allocator would grant so many bytes; without asking, a refusal ends the process.
fn can_be_reserved(bytes: usize) -> bool {
    Vec::<u8>::new().try_reserve_exact(bytes).is_ok()
}

fn compute_error(error: impl Display) -> SpanError {
    SpanError::Compute(error.to_string())
}
