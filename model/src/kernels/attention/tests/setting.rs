//! A session with random tokens, computed in any pieces.

use half::bf16;

use super::super::{
    AttentionCall, AttentionRow, AttentionScratch, AttentionShape, CachedPages, KvFormat,
    NewTokens, PAGE_TOKENS, PageLayout, PageView, StridedRows, attend, store_tokens,
};
use super::oracle;
use crate::kernels::level::Level;
use crate::kernels::pool::Pool;

/// Tokens of one session: rows `[queries, keys, values]` of a fused product.
pub(super) struct Setting {
    pub(super) shape: AttentionShape,
    pub(super) tokens: usize,
    /// `[tokens, (heads + 2 * kv_heads) * head_dim]`
    pub(super) fused: Vec<f32>,
    pub(super) threads: usize,
}

impl Setting {
    pub(super) fn new(
        format: KvFormat,
        heads: usize,
        kv_heads: usize,
        head_dim: usize,
        tokens: usize,
    ) -> Self {
        let layout = PageLayout {
            kv_heads,
            head_dim,
            format,
        };
        let shape = AttentionShape {
            heads,
            layout,
            scale: 1.0 / (head_dim as f32).sqrt(),
            window: None,
            soft_cap: None,
            alibi: None,
        };
        let width = (heads + 2 * kv_heads) * head_dim;
        let mut fused = random(tokens * width, (heads * 1000 + head_dim) as u64);
        if format != KvFormat::F32 {
            // Not every level rounds queries; so they come rounded.
            fused
                .iter_mut()
                .for_each(|number| *number = bf16::from_f32(*number).to_f32());
        }
        Self {
            shape,
            tokens,
            fused,
            threads: 2,
        }
    }

    pub(super) fn width(&self) -> usize {
        (self.shape.heads + 2 * self.shape.layout.kv_heads) * self.shape.layout.head_dim
    }

    pub(super) fn rows(&self, offset: usize) -> StridedRows<'_> {
        StridedRows {
            values: &self.fused,
            stride: self.width(),
            offset,
        }
    }

    pub(super) fn queries(&self) -> StridedRows<'_> {
        self.rows(0)
    }

    pub(super) fn keys(&self) -> StridedRows<'_> {
        self.rows(self.shape.heads * self.shape.layout.head_dim)
    }

    pub(super) fn values(&self) -> StridedRows<'_> {
        self.rows((self.shape.heads + self.shape.layout.kv_heads) * self.shape.layout.head_dim)
    }

    pub(super) fn oracle(&self) -> Vec<f64> {
        oracle::attention(self)
    }

    /// The outputs of all tokens, `[tokens, heads * head_dim]`, computed in steps of so many tokens.
    pub(super) fn run(&self, level: Level, cuts: &[usize]) -> Vec<f32> {
        assert_eq!(cuts.iter().sum::<usize>(), self.tokens);
        let width = self.shape.heads * self.shape.layout.head_dim;
        let mut cache = Pages::new(self.shape.layout);
        let mut out = vec![f32::NAN; self.tokens * width];
        let mut scratch = AttentionScratch::new(self.threads);
        let pool = Pool::new(self.threads).unwrap();
        let mut position = 0;
        for tokens in cuts {
            cache.append(self, position, *tokens);
            let queries = StridedRows {
                values: &self.fused[position * self.width()..],
                ..self.queries()
            };
            let call = AttentionCall {
                level,
                shape: &self.shape,
                rows: &[AttentionRow {
                    position,
                    first_row: 0,
                    tokens: *tokens,
                }],
                pages: &cache,
                queries,
            };
            attend(&pool, &call, &mut out[position * width..], &mut scratch);
            position += tokens;
        }
        out
    }
}

/// Pages of one session.
pub(super) struct Pages {
    layout: PageLayout,
    pages: Vec<(Vec<u32>, bool)>,
}

impl Pages {
    pub(super) fn new(layout: PageLayout) -> Self {
        Self {
            layout,
            pages: Vec::new(),
        }
    }

    pub(super) fn append(&mut self, setting: &Setting, position: usize, tokens: usize) {
        let mut start = position;
        while start < position + tokens {
            let (page, slot) = (start / PAGE_TOKENS, start % PAGE_TOKENS);
            let count = (position + tokens - start).min(PAGE_TOKENS - slot);
            if page == self.pages.len() {
                self.pages.push((vec![0; self.layout.words()], true));
            }
            let (words, is_finite) = &mut self.pages[page];
            let new = NewTokens {
                keys: setting.keys(),
                values: setting.values(),
                first_row: start,
            };
            *is_finite &= store_tokens(&self.layout, words, slot..slot + count, &new);
            start += count;
        }
    }
}

impl CachedPages for Pages {
    fn page(&self, _row: usize, index: usize) -> PageView<'_> {
        let (words, is_finite) = &self.pages[index];
        PageView {
            words,
            is_finite: *is_finite,
        }
    }
}

/// Several sessions.
impl CachedPages for Vec<Pages> {
    fn page(&self, row: usize, index: usize) -> PageView<'_> {
        self[row].page(0, index)
    }
}

/// Numbers between -2 and 2.
pub(super) fn random(len: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 22) as f32 - 2.0
    };
    (0..len).map(|_| next()).collect()
}
