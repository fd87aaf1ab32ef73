//! The cache of one batch row in one block: its pages, in the order of positions.

use std::ops::Range;
use std::sync::Arc;

use super::kv_pool::{KvPage, KvPool, KvPoolError};
use crate::kernels::attention::{
    CachedPages, NewTokens, PAGE_TOKENS, PageView, StridedRows, store_tokens,
};

/// Keys and values of the tokens at positions `0..cached`.
///
/// A clone shares the pages; the first to write to a shared page gets a copy of its own ([`KvTable::reserve`]). So
/// beams are reordered by cloning tables.
#[derive(Clone, Debug)]
pub(crate) struct KvTable {
    pool: KvPool,
    /// Page `i` holds positions from `i * PAGE_TOKENS` on; there may be some beyond `cached`.
    pages: Vec<Arc<KvPage>>,
    cached: usize,
}

impl KvTable {
    /// An empty cache that takes no pages yet.
    ///
    /// - `max_length`: tokens it will hold at most; only room for the table itself is reserved
    pub(crate) fn new(pool: &KvPool, max_length: usize) -> Self {
        Self {
            pool: pool.clone(),
            pages: Vec::with_capacity(max_length.div_ceil(PAGE_TOKENS)),
            cached: 0,
        }
    }

    /// Tokens whose keys and values are valid.
    pub(crate) fn cached(&self) -> usize {
        self.cached
    }

    /// Pages held, shared ones included.
    #[cfg(test)]
    pub(crate) fn page_count(&self) -> usize {
        self.pages.len()
    }

    /// A page as attention reads it.
    ///
    /// # Panics
    /// If there is none at `index`.
    pub(crate) fn page(&self, index: usize) -> PageView<'_> {
        self.pages[index].view()
    }

    /// Forgets all but the first `position` tokens, which may not exceed what is cached, and frees the pages beyond.
    pub(crate) fn truncate(&mut self, position: usize) {
        debug_assert!(
            position <= self.cached,
            "invariant: checked before the step"
        );
        self.cached = self.cached.min(position);
        self.pages.truncate(self.cached.div_ceil(PAGE_TOKENS));
    }

    /// Gets the pages that the next `tokens` tokens will be written to: new ones, and copies of shared ones.
    ///
    /// # Errors
    /// [`KvPoolError`]; then nothing has changed.
    pub(crate) fn reserve(&mut self, tokens: usize) -> Result<(), KvPoolError> {
        let written = self.pages_written(tokens);
        let held = self.pages.len();
        let copies = self.pages[written.start.min(held)..written.end.min(held)]
            .iter()
            .filter(|page| is_shared(page));
        let copies = copies.count();
        let new = written.end.saturating_sub(held);
        if new + copies == 0 {
            return Ok(());
        }
        self.pool.take(new + copies, &mut self.pages)?;
        for index in written.start..written.end.min(held) {
            if !is_shared(&self.pages[index]) {
                continue;
            }
            let mut copy = self
                .pages
                .pop()
                .expect("invariant: a page was taken for each shared one");
            let page =
                Arc::get_mut(&mut copy).expect("invariant: a page just taken has one holder");
            page.copy_from(&self.pages[index]);
            self.pages[index] = copy;
        }
        Ok(())
    }

    /// Appends tokens, for which [`KvTable::reserve`] has got the pages.
    ///
    /// - `keys`, `values`: `[.., kv_heads * head_dim]`; positions are applied to the keys
    /// - `rows`: those of the tokens
    ///
    /// # Panics
    /// If pages were not reserved or have been shared since.
    pub(crate) fn append(
        &mut self,
        keys: StridedRows<'_>,
        values: StridedRows<'_>,
        rows: Range<usize>,
    ) {
        let end = self.cached + rows.len();
        let mut first_row = rows.start;
        while self.cached < end {
            let slot = self.cached % PAGE_TOKENS;
            let count = (end - self.cached).min(PAGE_TOKENS - slot);
            let page = self
                .pages
                .get_mut(self.cached / PAGE_TOKENS)
                .and_then(Arc::get_mut);
            let page = page.expect("invariant: pages are reserved before tokens are appended");
            let tokens = NewTokens {
                keys,
                values,
                first_row,
            };
            page.write(|layout, words| store_tokens(layout, words, slot..slot + count, &tokens));
            self.cached += count;
            first_row += count;
        }
    }

    /// Indices of the pages that the next `tokens` tokens are written to.
    fn pages_written(&self, tokens: usize) -> Range<usize> {
        if tokens == 0 {
            return 0..0;
        }
        self.cached / PAGE_TOKENS..(self.cached + tokens).div_ceil(PAGE_TOKENS)
    }
}

fn is_shared(page: &Arc<KvPage>) -> bool {
    Arc::strong_count(page) > 1
}

/// Row `i` of a call reads table `i`.
impl CachedPages for &[KvTable] {
    fn page(&self, row: usize, index: usize) -> PageView<'_> {
        self[row].page(index)
    }
}

/// Row `i` of a call reads table `i`.
impl CachedPages for &[&KvTable] {
    fn page(&self, row: usize, index: usize) -> PageView<'_> {
        self[row].page(index)
    }
}
