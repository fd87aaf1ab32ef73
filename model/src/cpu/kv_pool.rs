//! Pages of the KV cache, within a budget of bytes.
//!
//! - Owner: everybody who holds the pool or one of its pages; the memory goes with the last of them.
//! - A page is free, or it has one holder or several; only a single holder can write to it.
//! - Memory is mapped as it is first needed and then recycled; a page is zeroed whenever it is handed out again.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use thiserror::Error;

use crate::kernels::attention::{PageLayout, PageMemory, PageView, map_pages};

/// Memory mapped at once, bytes: a few huge pages, so that little of the last one is left over.
const SLAB_BYTES: usize = 8 * 1024 * 1024;

/// Why no pages were handed out; nothing has changed.
#[derive(Debug, Error)]
pub(crate) enum KvPoolError {
    /// The budget is used up until a session ends or rolls back.
    #[error("KV cache is full: {needed} pages needed, {free} of {total} are free")]
    Full {
        /// Pages asked for.
        needed: usize,
        /// Pages that could be had.
        free: usize,
        /// Pages of the whole budget.
        total: usize,
    },
    /// The machine has less memory than the budget says.
    #[error("no memory for KV pages: {0}")]
    OutOfMemory(#[from] std::io::Error),
}

/// Hands out pages of one layout.
#[derive(Clone, Debug)]
pub(crate) struct KvPool {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    layout: PageLayout,
    /// Pages that the budget allows.
    total: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    free: Vec<FreePage>,
    /// Pages that exist, free or not; at most `total`.
    mapped: usize,
}

#[derive(Debug)]
struct FreePage {
    memory: PageMemory,
    is_zero: bool,
}

/// A page in use; its memory goes back to the pool.
#[derive(Debug)]
pub(crate) struct KvPage {
    /// `None` only while it is dropped.
    memory: Option<PageMemory>,
    /// Whether all values are finite, as `store_tokens` has said.
    is_finite: bool,
    pool: Arc<Shared>,
}

impl KvPool {
    /// A pool of pages whose memory never exceeds `budget` bytes.
    pub(crate) fn new(layout: PageLayout, budget: usize) -> Self {
        let shared = Shared {
            layout,
            total: budget / layout.bytes(),
            state: Mutex::new(State {
                free: Vec::new(),
                mapped: 0,
            }),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Size and order of the pages.
    pub(crate) fn layout(&self) -> &PageLayout {
        &self.shared.layout
    }

    /// Memory of the pages in use, bytes.
    pub(crate) fn used_bytes(&self) -> usize {
        let state = self.shared.lock();
        (state.mapped - state.free.len()) * self.shared.layout.bytes()
    }

    /// Pages that can still be handed out.
    #[cfg(test)]
    pub(crate) fn free_pages(&self) -> usize {
        let state = self.shared.lock();
        self.shared.total - state.mapped + state.free.len()
    }

    /// Adds `count` zeroed pages to `pages`, or none.
    ///
    /// # Errors
    /// [`KvPoolError`]; then `pages` is as before.
    pub(crate) fn take(
        &self,
        count: usize,
        pages: &mut Vec<Arc<KvPage>>,
    ) -> Result<(), KvPoolError> {
        let mut state = self.shared.lock();
        self.shared.map_missing(&mut state, count)?;
        let kept = state.free.len() - count;
        pages.extend(state.free.drain(kept..).map(|mut page| {
            if !page.is_zero {
                page.memory.fill(0);
            }
            Arc::new(KvPage {
                memory: Some(page.memory),
                is_finite: true,
                pool: Arc::clone(&self.shared),
            })
        }));
        Ok(())
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Maps memory until `count` pages are free.
    fn map_missing(&self, state: &mut State, count: usize) -> Result<(), KvPoolError> {
        let left = self.total - state.mapped;
        let free = state.free.len();
        if count > left + free {
            return Err(KvPoolError::Full {
                needed: count,
                free: left + free,
                total: self.total,
            });
        }
        let missing = count.saturating_sub(free);
        if missing == 0 {
            return Ok(());
        }
        let pages_per_slab = (SLAB_BYTES / self.layout.bytes()).max(1);
        let new = missing.next_multiple_of(pages_per_slab).min(left);
        let mut memory = Vec::with_capacity(new);
        map_pages(new, self.layout.words(), &mut memory)?;
        state.mapped += new;
        // Room for all that can ever come back, so that giving back never allocates. The new ones lie below the free
        // ones and in reverse, so that pages are handed out in the order of their memory.
        let spare = state.mapped - free;
        state.free.reserve(spare);
        let fresh = memory.into_iter().rev().map(|memory| FreePage {
            memory,
            is_zero: true,
        });
        state.free.splice(0..0, fresh);
        Ok(())
    }
}

impl KvPage {
    /// As attention reads it.
    pub(crate) fn view(&self) -> PageView<'_> {
        PageView {
            words: self.words(),
            is_finite: self.is_finite,
        }
    }

    /// Writes to the page; `write` says whether all values that it wrote are finite.
    pub(crate) fn write(&mut self, write: impl FnOnce(&PageLayout, &mut [u32]) -> bool) {
        let memory = self
            .memory
            .as_mut()
            .expect("invariant: a page has memory until it is dropped");
        self.is_finite &= write(&self.pool.layout, memory);
    }

    /// Becomes equal to another page of the same pool.
    pub(crate) fn copy_from(&mut self, other: &Self) {
        self.is_finite = true;
        self.write(|_, words| {
            words.copy_from_slice(other.words());
            other.is_finite
        });
    }

    fn words(&self) -> &[u32] {
        self.memory
            .as_ref()
            .expect("invariant: a page has memory until it is dropped")
    }
}

impl Drop for KvPage {
    fn drop(&mut self) {
        if let Some(memory) = self.memory.take() {
            let page = FreePage {
                memory,
                is_zero: false,
            };
            self.pool.lock().free.push(page);
        }
    }
}
