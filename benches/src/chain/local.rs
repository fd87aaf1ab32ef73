//! All blocks in this process: what a chain is compared to.

use std::ops::Range;
use std::path::Path;

use anyhow::Result;
use block_model::{BlockSpan, CacheHandle, CpuOptions, CpuSpan, HiddenStates, ModelSource, Row};

use crate::format::Format;
use crate::models;

#[derive(Debug)]
pub(super) struct Local {
    span: CpuSpan,
    cache: CacheHandle,
    blocks: Range<usize>,
    hidden: usize,
}

impl Local {
    /// The first `blocks` blocks of the model in float32 on one thread, as the servers have them, with an empty cache.
    pub(super) fn load(model: &Path, blocks: usize, max_length: usize) -> Result<Self> {
        let source = ModelSource::directory(model)?;
        let blocks = 0..blocks;
        let options = CpuOptions {
            threads: Some(1),
            ..Format::F32.options()
        };
        let mut span = CpuSpan::load(&source, blocks.clone(), &options)?;
        let cache = span.open_cache(blocks.clone(), 1, max_length)?;
        Ok(Self {
            hidden: span.description().hidden,
            span,
            cache,
            blocks,
        })
    }

    /// Runs `tokens` tokens at `position`, which cuts the cache there.
    pub(super) fn step(&mut self, position: usize, tokens: usize) -> Result<()> {
        let values = models::hidden_states(tokens, self.hidden);
        let row = Row {
            cache: self.cache,
            blocks: self.blocks.clone(),
            position,
            hidden_states: HiddenStates {
                values: &values,
                shape: [1, tokens, self.hidden],
            },
            prompts: None,
            reorder: None,
        };
        for answer in self.span.step(&[row]) {
            std::hint::black_box(answer?);
        }
        Ok(())
    }
}
