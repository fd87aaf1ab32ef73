//! Spans that say how long they computed, and how much at once.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use block_model::{
    BlockSpan, CacheHandle, ForwardRow, Quant, Row, SpanDType, SpanDescription, SpanError,
};

/// Nanoseconds of the last step.
#[derive(Clone, Debug, Default)]
pub(crate) struct LastStep(Arc<AtomicU64>);

impl LastStep {
    pub(crate) fn seconds(&self) -> f64 {
        self.0.load(Ordering::Relaxed) as f64 / 1e9
    }
}

/// A span that notes the time of every step.
#[derive(Debug)]
pub(crate) struct TimedSpan<S> {
    pub(crate) span: S,
    pub(crate) last: LastStep,
}

impl<S: BlockSpan> BlockSpan for TimedSpan<S> {
    fn description(&self) -> &SpanDescription {
        self.span.description()
    }

    fn open_cache(
        &mut self,
        blocks: Range<usize>,
        batch: usize,
        max_length: usize,
    ) -> Result<CacheHandle, SpanError> {
        self.span.open_cache(blocks, batch, max_length)
    }

    fn close_cache(&mut self, cache: CacheHandle) {
        self.span.close_cache(cache);
    }

    fn step(&mut self, rows: &[Row<'_>]) -> Vec<Result<Vec<f32>, SpanError>> {
        let started = Instant::now();
        let answers = self.span.step(rows);
        let nanos = u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.last.0.store(nanos, Ordering::Relaxed);
        answers
    }

    fn step_into(&mut self, rows: &[Row<'_>], outputs: &mut [Result<Vec<f32>, SpanError>]) {
        let started = Instant::now();
        self.span.step_into(rows, outputs);
        let nanos = u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.last.0.store(nanos, Ordering::Relaxed);
    }

    fn forward(&mut self, row: &ForwardRow<'_>) -> Result<Vec<f32>, SpanError> {
        self.span.forward(row)
    }
}

/// Calls of a span, and rows with one new token in them.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    calls: AtomicU64,
    rows: AtomicU64,
}

/// [`Counts`] at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counted {
    calls: u64,
    rows: u64,
}

impl Counts {
    pub(crate) fn now(&self) -> Counted {
        Counted {
            calls: self.calls.load(Ordering::Relaxed),
            rows: self.rows.load(Ordering::Relaxed),
        }
    }
}

impl Counted {
    /// Rows with one new token in a call, on average since `before`.
    pub(crate) fn rows_per_call(self, before: Self) -> f64 {
        (self.rows - before.rows) as f64 / (self.calls - before.calls).max(1) as f64
    }
}

/// A span that counts the decode steps that it is given, and the calls in which they come.
pub(crate) struct CountingSpan {
    pub(crate) span: Box<dyn BlockSpan>,
    pub(crate) counts: Arc<Counts>,
}

impl CountingSpan {
    /// Counts a call, if a single token is in it.
    fn count(&self, rows: &[Row<'_>]) {
        let single = rows
            .iter()
            .filter(|row| row.hidden_states.shape[1] == 1)
            .count();
        if single > 0 {
            self.counts.calls.fetch_add(1, Ordering::Relaxed);
            self.counts.rows.fetch_add(single as u64, Ordering::Relaxed);
        }
    }
}

impl BlockSpan for CountingSpan {
    fn description(&self) -> &SpanDescription {
        self.span.description()
    }

    fn open_cache(
        &mut self,
        blocks: Range<usize>,
        batch: usize,
        max_length: usize,
    ) -> Result<CacheHandle, SpanError> {
        self.span.open_cache(blocks, batch, max_length)
    }

    fn close_cache(&mut self, cache: CacheHandle) {
        self.span.close_cache(cache);
    }

    fn step(&mut self, rows: &[Row<'_>]) -> Vec<Result<Vec<f32>, SpanError>> {
        self.count(rows);
        self.span.step(rows)
    }

    fn step_into(&mut self, rows: &[Row<'_>], outputs: &mut [Result<Vec<f32>, SpanError>]) {
        self.count(rows);
        self.span.step_into(rows, outputs);
    }

    fn forward(&mut self, row: &ForwardRow<'_>) -> Result<Vec<f32>, SpanError> {
        self.span.forward(row)
    }
}

/// One block of any width that returns what it is given.
#[derive(Debug)]
pub(crate) struct CopyingSpan {
    description: SpanDescription,
    caches: u64,
}

impl CopyingSpan {
    pub(crate) fn new(hidden: usize) -> Self {
        Self {
            description: SpanDescription {
                blocks: 0..1,
                hidden,
                kv_heads: 1,
                head_dim: 1,
                dtype: SpanDType::F32,
                checkpoint_dtype: SpanDType::F32,
                compute_dtype: SpanDType::F32,
                quant: Quant::None,
                kernels: None,
                device: "cpu".to_owned(),
                weight_bytes: 0,
                kv_bytes_per_token_per_block: 8,
                kv_page_tokens: 1,
            },
            caches: 0,
        }
    }
}

impl BlockSpan for CopyingSpan {
    fn description(&self) -> &SpanDescription {
        &self.description
    }

    fn open_cache(
        &mut self,
        _: Range<usize>,
        _: usize,
        _: usize,
    ) -> Result<CacheHandle, SpanError> {
        self.caches += 1;
        Ok(CacheHandle::new(self.caches))
    }

    fn close_cache(&mut self, _: CacheHandle) {}

    fn step(&mut self, rows: &[Row<'_>]) -> Vec<Result<Vec<f32>, SpanError>> {
        let copies = rows.iter().map(|row| Ok(row.hidden_states.values.to_vec()));
        copies.collect()
    }

    fn forward(&mut self, row: &ForwardRow<'_>) -> Result<Vec<f32>, SpanError> {
        Ok(row.hidden_states.values.to_vec())
    }
}
