//! Steps of many sessions through one span, timed.

use std::cell::RefCell;
use std::hint::black_box;
use std::ops::Range;
use std::time::Instant;

use anyhow::Result;
use block_model::{BlockSpan, CacheHandle, HiddenStates, Row};

use crate::models;

/// Tokens of one step while a context is filled.
const CHUNK: usize = 256;

/// A span and what is fed to it.
pub(crate) struct Workload {
    span: RefCell<Box<dyn BlockSpan>>,
    blocks: Range<usize>,
    hidden: usize,
    /// `[tokens, hidden]`, as many tokens as any step has.
    input: Vec<f32>,
}

/// Sessions with equally long texts.
#[derive(Debug)]
pub(crate) struct Sessions {
    caches: Vec<CacheHandle>,
    /// Tokens in every cache.
    context: usize,
}

impl Workload {
    /// A span whose steps have at most `max_tokens` new tokens.
    pub(crate) fn new(span: Box<dyn BlockSpan>, max_tokens: usize) -> Self {
        let hidden = span.description().hidden;
        Self {
            blocks: span.description().blocks.clone(),
            hidden,
            input: models::hidden_states_bf16(max_tokens.max(CHUNK), hidden),
            span: RefCell::new(span),
        }
    }

    /// Opens `count` sessions, fills each with `context` tokens and leaves room for `room` more.
    ///
    /// # Errors
    /// The span's.
    pub(crate) fn open(&self, count: usize, context: usize, room: usize) -> Result<Sessions> {
        let mut caches = Vec::with_capacity(count);
        for _ in 0..count {
            let length = context + room;
            let cache = self
                .span
                .borrow_mut()
                .open_cache(self.blocks.clone(), 1, length)?;
            for start in (0..context).step_by(CHUNK) {
                self.call(&[self.row(cache, start, CHUNK.min(context - start))])?;
            }
            caches.push(cache);
        }
        Ok(Sessions { caches, context })
    }

    /// Seconds of one step with one new token for each of the first `count` sessions: the mean of `steps` steps, one
    /// after the other, after which the sessions are as before.
    ///
    /// # Errors
    /// The span's.
    pub(crate) fn decode(&self, sessions: &Sessions, count: usize, steps: usize) -> Result<f64> {
        let started = Instant::now();
        for step in 0..steps {
            let position = sessions.context + step;
            let caches = sessions.caches.iter().take(count);
            let rows: Vec<_> = caches.map(|cache| self.row(*cache, position, 1)).collect();
            self.call(&rows)?;
        }
        Ok(started.elapsed().as_secs_f64() / steps as f64)
    }

    /// Seconds of a prompt of `tokens` tokens in one step of the first session, from its beginning.
    ///
    /// # Errors
    /// The span's.
    pub(crate) fn prompt(&self, sessions: &Sessions, tokens: usize) -> Result<f64> {
        let started = Instant::now();
        for cache in sessions.caches.iter().take(1) {
            self.call(&[self.row(*cache, 0, tokens)])?;
        }
        Ok(started.elapsed().as_secs_f64())
    }

    fn row(&self, cache: CacheHandle, position: usize, tokens: usize) -> Row<'_> {
        Row {
            cache,
            blocks: self.blocks.clone(),
            position,
            hidden_states: HiddenStates {
                values: &self.input[..tokens * self.hidden],
                shape: [1, tokens, self.hidden],
            },
            prompts: None,
            reorder: None,
        }
    }

    fn call(&self, rows: &[Row<'_>]) -> Result<()> {
        for answer in self.span.borrow_mut().step(rows) {
            black_box(answer?);
        }
        Ok(())
    }
}
