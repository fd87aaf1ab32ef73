//! The span contract: everything the server knows of a model's arithmetic.
//!
//! Hidden states cross it as plain slices with a shape. The carrier is always `f32`; every value
//! is representable in the span's own dtype ([`SpanDescription::dtype`]), so a span boundary
//! carries exactly what the residual stream holds between two blocks of one span.
//!
//! One compute thread owns the span; nothing here blocks on anything but arithmetic.

use std::ops::Range;

use thiserror::Error;

use crate::dtype::SpanDType;
use crate::kernels::level::Level;
use crate::quant::Quant;

/// Names the keys and values that one session has at one span.
///
/// Handed out by [`BlockSpan::open_cache`] and never used twice by the same span.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CacheHandle(u64);

impl CacheHandle {
    /// Makes a handle from its number; for implementations of [`BlockSpan`].
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number given to [`CacheHandle::new`].
    pub const fn number(self) -> u64 {
        self.0
    }
}

/// Activations between two blocks: `[batch, seq, hidden]` in row-major order.
#[derive(Clone, Copy, Debug)]
pub struct HiddenStates<'a> {
    /// `batch * seq * hidden` values.
    pub values: &'a [f32],
    /// `[batch, seq, hidden]`; `seq` may be zero.
    pub shape: [usize; 3],
}

/// Deep prompts: `[blocks, batch or 1, prefix, hidden]` in row-major order.
///
/// Prompt `i` is added to the first `prefix` tokens of the input of the call's block `i`. As in
/// Petals the tokens are those of this call, whatever its position, so `prefix` may not exceed
/// the call's `seq`; who cuts a step into chunks cuts its prompts too.
#[derive(Clone, Copy, Debug)]
pub struct Prompts<'a> {
    /// `blocks * (batch or 1) * prefix * hidden` values.
    pub values: &'a [f32],
    /// `[blocks, batch or 1, prefix, hidden]`; `blocks` is the length of the call's block range.
    pub shape: [usize; 4],
}

/// One session's part of a step.
#[derive(Clone, Debug)]
pub struct Row<'a> {
    /// The session's cache, from [`BlockSpan::open_cache`].
    pub cache: CacheHandle,
    /// Blocks to run, numbered as in the model; inside the range that the cache was opened for.
    pub blocks: Range<usize>,
    /// Tokens to keep in the cache before the step. Fewer than are cached is a rollback.
    pub position: usize,
    /// Input of the first block: `[batch, seq, hidden]` with the cache's `batch`.
    pub hidden_states: HiddenStates<'a>,
    /// Deep prompts, if any.
    pub prompts: Option<Prompts<'a>>,
    /// For each batch row, which row's cache it continues; applied before the step.
    pub reorder: Option<&'a [usize]>,
}

/// A pass over whole sequences without a cache.
#[derive(Clone, Debug)]
pub struct ForwardRow<'a> {
    /// Blocks to run, numbered as in the model; inside the span.
    pub blocks: Range<usize>,
    /// Input of the first block: `[batch, seq, hidden]`, positions `0..seq`.
    pub hidden_states: HiddenStates<'a>,
    /// Deep prompts, if any.
    pub prompts: Option<Prompts<'a>>,
}

/// A run of consecutive blocks that can be computed.
///
/// A failing call changes nothing, except that after [`SpanError::Compute`] the row's cache holds
/// no tokens in the row's blocks, and after [`SpanError::NoPages`] those before the step.
pub trait BlockSpan: Send {
    /// What this span is; constant for its life.
    fn description(&self) -> &SpanDescription;

    /// Reserves keys and values of `max_length` tokens for each of `blocks`.
    ///
    /// Admission is the server's: no budget is checked here.
    ///
    /// # Errors
    /// [`SpanError::OutsideSpan`], [`SpanError::Shape`] for a zero `batch`,
    /// [`SpanError::OutOfMemory`] if the reservation is impossible.
    fn open_cache(
        &mut self,
        blocks: Range<usize>,
        batch: usize,
        max_length: usize,
    ) -> Result<CacheHandle, SpanError>;

    /// Frees a cache; an unknown handle is ignored, so closing twice is harmless.
    fn close_cache(&mut self, cache: CacheHandle);

    /// Runs one step of each row and appends its keys and values to the row's cache.
    ///
    /// Answers in the order of `rows`, each the output `[batch, seq, hidden]` of the row's last
    /// block. A row that fails does not disturb the others.
    fn step(&mut self, rows: &[Row<'_>]) -> Vec<Result<Vec<f32>, SpanError>>;

    /// As [`BlockSpan::step`], with memory for the answers: each of `outputs`, one for each row, comes in as `Ok` and
    /// goes out as `Ok` with the row's output appended, or as the row's error.
    ///
    /// A span that keeps its own working memory writes it so that a step takes none; the default copies.
    fn step_into(&mut self, rows: &[Row<'_>], outputs: &mut [Result<Vec<f32>, SpanError>]) {
        for (output, answer) in outputs.iter_mut().zip(self.step(rows)) {
            match (output.as_mut(), answer) {
                // Nothing to append to: the answer itself will do.
                (Ok(values), Ok(answer)) if values.is_empty() => *values = answer,
                (Ok(values), Ok(answer)) => values.extend_from_slice(&answer),
                (_, answer) => *output = answer,
            }
        }
    }

    /// Runs whole sequences through the blocks; the answer is `[batch, seq, hidden]`.
    ///
    /// # Errors
    /// [`SpanError::OutsideSpan`], [`SpanError::Shape`], [`SpanError::Compute`].
    fn forward(&mut self, row: &ForwardRow<'_>) -> Result<Vec<f32>, SpanError>;
}

/// What a span is, for admission, announcements and the start lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpanDescription {
    /// Blocks held, numbered as in the model.
    pub blocks: Range<usize>,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Key and value heads per block.
    pub kv_heads: usize,
    /// Width of one head.
    pub head_dim: usize,
    /// Type of the residual stream between blocks, and so of every span boundary.
    pub dtype: SpanDType,
    /// Type of the first weight as the checkpoint stores it.
    pub checkpoint_dtype: SpanDType,
    /// Type in which weights are held and multiplied, or which quantized ones stand for.
    pub compute_dtype: SpanDType,
    /// Format of the weights.
    pub quant: Quant,
    /// Instructions of the kernels, where they are ours.
    pub kernels: Option<Level>,
    /// Where the arithmetic runs, for example `cpu`.
    pub device: String,
    /// Memory of the weights as held, bytes.
    pub weight_bytes: u64,
    /// Memory of one token's keys and values in one block as really stored, bytes per batch row.
    pub kv_bytes_per_token_per_block: usize,
    /// Keys and values are held in pages of so many tokens: a session of one token takes a whole one.
    pub kv_page_tokens: usize,
}

impl SpanDescription {
    /// Whether the weights take more memory than in the checkpoint, as the start line says.
    pub fn weights_are_widened(&self) -> bool {
        self.quant == Quant::None
            && self.compute_dtype.size_bytes() > self.checkpoint_dtype.size_bytes()
    }
}

/// Why a span could not serve a call.
///
/// All but `OutOfMemory`, `NoPages` and `Compute` are the caller's to correct.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SpanError {
    /// The step would pass the length agreed when the cache was opened.
    #[error("cache is full: {tokens} tokens at position {position} exceed max_length {max_length}")]
    CacheFull {
        /// Tokens kept before the step.
        position: usize,
        /// New tokens of the step.
        tokens: usize,
        /// Length agreed on opening, tokens.
        max_length: usize,
    },
    /// The handle was never opened here, or is closed.
    #[error("no such cache: it was closed or never opened")]
    UnknownCache,
    /// The step starts beyond what is cached.
    #[error("step starts at position {position}, but only {cached} tokens are cached")]
    PositionAhead {
        /// Position asked for.
        position: usize,
        /// Tokens cached in the block that holds fewest.
        cached: usize,
    },
    /// A slice, a shape or a list of indices does not fit the call.
    #[error("{what}: expected {expected}, got {got}")]
    Shape {
        /// Which argument.
        what: &'static str,
        /// What would have been right.
        expected: String,
        /// What was given.
        got: String,
    },
    /// Blocks that this span or this cache does not hold.
    #[error("blocks {}:{} are outside {}:{}", .requested.start, .requested.end, .held.start, .held.end)]
    OutsideSpan {
        /// Blocks asked for.
        requested: Range<usize>,
        /// Blocks held.
        held: Range<usize>,
    },
    /// The machine has no memory for this cache.
    #[error("no memory for a cache of {bytes} bytes")]
    OutOfMemory {
        /// Size of the reservation, bytes; `u64::MAX` if it does not fit the type.
        bytes: u64,
    },
    /// All pages for keys and values are in use: for a session that has not reserved its whole length, try again later
    /// or elsewhere. The row's cache holds its first `position` tokens then.
    #[error("no room in the KV cache: {needed} pages needed, {free} free")]
    NoPages {
        /// Pages that the step needs beyond what its session has, as far as it came.
        needed: usize,
        /// Pages that are free.
        free: usize,
    },
    /// The arithmetic failed; not the caller's doing.
    #[error("compute failed: {0}")]
    Compute(String),
}
