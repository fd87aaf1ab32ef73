//! What one session holds at one span: a table of pages for each block and batch row.

use std::collections::HashMap;
use std::ops::Range;

use super::kv_pool::{KvPool, KvPoolError};
use super::kv_table::KvTable;
use crate::checks::CacheLimits;
use crate::contract::CacheHandle;

/// Keys and values of one session.
#[derive(Debug)]
pub(super) struct Cache {
    pub(super) limits: CacheLimits,
    tables: Vec<KvTable>, // [blocks, batch], or [1, batch] if the blocks share them
    has_one_block: bool,
}

impl Cache {
    /// An empty cache; it takes pages as it grows.
    pub(super) fn new(pool: &KvPool, limits: CacheLimits) -> Self {
        let count = limits.blocks.len() * limits.batch;
        let tables = (0..count)
            .map(|_| KvTable::new(pool, limits.max_length))
            .collect();
        Self {
            limits,
            tables,
            has_one_block: false,
        }
    }

    /// For whole sequences, of which nothing is kept: each block writes over what the one before has left.
    pub(super) fn for_one_pass(pool: &KvPool, limits: CacheLimits) -> Self {
        let tables = (0..limits.batch)
            .map(|_| KvTable::new(pool, limits.max_length))
            .collect();
        Self {
            limits,
            tables,
            has_one_block: true,
        }
    }

    fn index(&self, block: usize) -> usize {
        if self.has_one_block {
            0
        } else {
            (block - self.limits.blocks.start) * self.limits.batch
        }
    }

    /// The tables of one block, one for each batch row.
    pub(super) fn block(&self, block: usize) -> &[KvTable] {
        let start = self.index(block);
        &self.tables[start..start + self.limits.batch]
    }

    /// As [`Cache::block`], to be written.
    pub(super) fn block_mut(&mut self, block: usize) -> &mut [KvTable] {
        let start = self.index(block);
        &mut self.tables[start..start + self.limits.batch]
    }

    /// Tokens in the table of these blocks that holds fewest.
    pub(super) fn cached(&self, blocks: &Range<usize>) -> usize {
        let tables = blocks.clone().flat_map(|block| self.block(block));
        tables.map(KvTable::cached).min().unwrap_or(0)
    }

    /// Forgets all but the first `position` tokens of these blocks.
    pub(super) fn truncate(&mut self, blocks: &Range<usize>, position: usize) {
        for block in blocks.clone() {
            self.block_mut(block)
                .iter_mut()
                .for_each(|table| table.truncate(position));
        }
    }

    /// Lets each batch row continue another row's past; pages are shared until somebody writes to them.
    pub(super) fn reorder(&mut self, blocks: &Range<usize>, indices: &[usize]) {
        if indices.iter().enumerate().all(|(row, index)| row == *index) {
            return;
        }
        for block in blocks.clone() {
            let tables = self.block_mut(block);
            let moved: Vec<_> = indices.iter().map(|index| tables[*index].clone()).collect();
            for (table, moved) in tables.iter_mut().zip(moved) {
                *table = moved;
            }
        }
    }

    /// Gets the pages for `tokens` more tokens of every batch row in these blocks.
    ///
    /// # Errors
    /// [`KvPoolError`]; some tables may then hold pages that they do not need yet.
    pub(super) fn reserve(
        &mut self,
        blocks: &Range<usize>,
        tokens: usize,
    ) -> Result<(), KvPoolError> {
        let count = if self.has_one_block { 1 } else { blocks.len() };
        for block in blocks.clone().take(count) {
            for table in self.block_mut(block) {
                table.reserve(tokens)?;
            }
        }
        Ok(())
    }

    /// Whether the blocks share their tables, so that each begins anew.
    pub(super) fn has_one_block(&self) -> bool {
        self.has_one_block
    }
}

/// All caches of a span.
#[derive(Debug, Default)]
pub(super) struct Caches {
    slots: Vec<Option<Cache>>,
    free: Vec<usize>,
    by_handle: HashMap<CacheHandle, usize>,
    next_handle: u64,
}

impl Caches {
    /// Takes a cache and names it.
    pub(super) fn open(&mut self, cache: Cache) -> CacheHandle {
        let handle = CacheHandle::new(self.next_handle);
        self.next_handle += 1;
        let slot = self.put(cache);
        self.by_handle.insert(handle, slot);
        handle
    }

    /// Drops a cache, if it is there.
    pub(super) fn close(&mut self, handle: CacheHandle) {
        if let Some(slot) = self.by_handle.remove(&handle) {
            self.take(slot);
        }
    }

    /// The slot of a cache.
    pub(super) fn slot(&self, handle: CacheHandle) -> Option<usize> {
        self.by_handle.get(&handle).copied()
    }

    /// Takes a cache that has no name.
    pub(super) fn put(&mut self, cache: Cache) -> usize {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        self.slots[slot] = Some(cache);
        slot
    }

    /// Frees a slot.
    pub(super) fn take(&mut self, slot: usize) {
        if self.slots[slot].take().is_some() {
            self.free.push(slot);
        }
    }

    /// The cache in a slot that is known to be taken.
    pub(super) fn get(&self, slot: usize) -> &Cache {
        self.slots[slot]
            .as_ref()
            .expect("invariant: a slot in use holds a cache")
    }

    /// As [`Caches::get`], to be written.
    pub(super) fn get_mut(&mut self, slot: usize) -> &mut Cache {
        self.slots[slot]
            .as_mut()
            .expect("invariant: a slot in use holds a cache")
    }
}
