//! Memory that attention needs and keeps from call to call.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::layout::LANES;
use super::schedule::Task;
use super::tile::{TileScratch, View};

/// Bytes to which operands of vectors are aligned: none lies across two cache lines.
const ALIGNMENT: usize = 64;

/// Working memory of attention; it grows to what the largest call needs and stays so.
#[derive(Debug)]
pub(crate) struct AttentionScratch {
    pub(super) tasks: Vec<Task>,
    /// One for each thread; a thread locks only its own.
    by_thread: Vec<Mutex<ThreadScratch>>,
}

impl AttentionScratch {
    /// Working memory for so many threads.
    pub(crate) fn new(threads: usize) -> Self {
        let by_thread = (0..threads.max(1))
            .map(|_| Mutex::new(ThreadScratch::new()))
            .collect();
        Self {
            tasks: Vec::new(),
            by_thread,
        }
    }

    pub(super) fn threads(&self) -> usize {
        self.by_thread.len()
    }

    pub(super) fn of_thread(&self, thread: usize) -> MutexGuard<'_, ThreadScratch> {
        self.by_thread[thread]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one thread needs for one task; the fields are those of `tile::RowGroup`, for all of the task's rows.
#[derive(Debug)]
pub(super) struct ThreadScratch {
    pub(super) queries: Aligned<u32>,
    pub(super) maxima: Aligned<f32>,
    pub(super) weights: Aligned<f32>,
    pub(super) sums: Aligned<f32>,
    /// What the rows of a group see of the present tile.
    pub(super) views: Vec<View>,
    /// A widened tile, keys and then values.
    pub(super) widened: Aligned<u32>,
    /// Values of a tile without those that a row may not see.
    pub(super) censored: Aligned<u32>,
    pub(super) tile: Box<TileScratch>,
}

impl ThreadScratch {
    fn new() -> Self {
        Self {
            queries: Aligned::new(),
            maxima: Aligned::new(),
            weights: Aligned::new(),
            sums: Aligned::new(),
            views: Vec::with_capacity(LANES),
            widened: Aligned::new(),
            censored: Aligned::new(),
            tile: Box::new(TileScratch::new()),
        }
    }
}

/// A buffer whose slices start at a cache line.
#[derive(Debug)]
pub(super) struct Aligned<T> {
    values: Vec<T>,
}

impl<T: Copy + Default> Aligned<T> {
    const fn new() -> Self {
        Self { values: Vec::new() }
    }

    /// The first `len` values, whatever they hold.
    pub(super) fn take(&mut self, len: usize) -> &mut [T] {
        let spare = ALIGNMENT / size_of::<T>();
        if self.values.len() < len + spare {
            self.values.resize(len + spare, T::default());
        }
        let start = self.values.as_ptr().align_offset(ALIGNMENT).min(spare);
        &mut self.values[start..start + len]
    }
}
