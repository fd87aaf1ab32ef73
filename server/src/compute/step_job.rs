//! One step of one session on its way through the compute loop, chunk by chunk.

use std::borrow::Cow;
use std::ops::Range;
use std::time::{Duration, Instant};

use block_model::{CacheHandle, HiddenStates, Prompts, Row};

use super::{Computed, Reply};
use crate::activations::Memory;
use crate::metrics::{self, Phase};
use crate::request_error::RequestError;
use crate::scheduler::Picked;

/// Deep prompts with their buffer.
#[derive(Debug, Clone, PartialEq)]
pub struct OwnedPrompts {
    /// Values, row-major.
    pub values: Vec<f32>,
    /// `[blocks, batch or 1, prefix, hidden]`; `prefix` is at most the step's `seq`.
    pub shape: [usize; 4],
}

/// One step, checked: shapes fit each other, the session and the span.
#[derive(Debug)]
pub struct StepInput {
    /// Blocks to run, absolute.
    pub blocks: Range<usize>,
    /// Tokens in the cache when the step starts.
    pub position: usize,
    /// Input, `[batch, seq, hidden]`, rounded to the span's dtype.
    pub hidden_states: Vec<f32>,
    /// `[batch, seq, hidden]`.
    pub shape: [usize; 3],
    /// Deep prompts, if any.
    pub prompts: Option<OwnedPrompts>,
    /// For each batch row, which row's cache it continues.
    pub reorder: Option<Vec<usize>>,
    /// What is counted for input and output.
    pub memory: Memory,
}

/// A step in line or in a turn.
#[derive(Debug)]
pub(super) struct StepJob {
    cache: CacheHandle,
    input: StepInput,
    /// As much of `[batch, seq, hidden]` as is done; the memory is taken by the caller's task, not in a turn.
    output: Vec<f32>,
    /// Output of one chunk of several sequences, before it goes to its places.
    chunk_output: Vec<f32>,
    /// When it was put in line, or back in line.
    in_line_since: Instant,
    queue: Duration,
    compute: Duration,
    reply: Reply<Computed>,
}

impl StepJob {
    pub(super) fn new(cache: CacheHandle, input: StepInput, reply: Reply<Computed>) -> Self {
        Self {
            cache,
            output: Vec::with_capacity(input.hidden_states.len()),
            chunk_output: Vec::new(),
            input,
            in_line_since: Instant::now(),
            queue: Duration::ZERO,
            compute: Duration::ZERO,
            reply,
        }
    }

    /// The cache that it continues.
    pub(super) fn cache(&self) -> CacheHandle {
        self.cache
    }

    /// Whether somebody still waits for the answer.
    pub(super) fn is_wanted(&self) -> bool {
        !self.reply.is_closed()
    }

    /// The part of the step that covers `chunk` of its new tokens.
    pub(super) fn part(&self, chunk: Range<usize>) -> Part<'_> {
        let [batch, seq, hidden] = self.input.shape;
        let values = cut(
            &self.input.hidden_states,
            [batch, seq, hidden],
            chunk.clone(),
        );
        let prompts = self.input.prompts.as_ref().and_then(|prompts| {
            let [blocks, rows, prefix, width] = prompts.shape;
            let kept = chunk.start.min(prefix)..chunk.end.min(prefix);
            let values = cut(
                &prompts.values,
                [blocks * rows, prefix, width],
                kept.clone(),
            );
            (!kept.is_empty()).then_some((values, [blocks, rows, kept.len(), width]))
        });
        Part {
            job: self,
            position: self.input.position + chunk.start,
            values,
            shape: [batch, chunk.len(), hidden],
            prompts,
            // The cache is permuted once, before the step's first token.
            reorder: self.input.reorder.as_deref().filter(|_| chunk.start == 0),
        }
    }

    /// Whether the output of `chunk` follows at once on that of the tokens before it.
    fn is_contiguous(&self, chunk: &Range<usize>) -> bool {
        let [batch, seq, _] = self.input.shape;
        batch == 1 || chunk.len() == seq
    }

    /// Where the span is to append the output of `chunk`; given back by [`Self::absorb`].
    pub(super) fn take_output(&mut self, chunk: &Range<usize>) -> Vec<f32> {
        if self.is_contiguous(chunk) {
            return std::mem::take(&mut self.output);
        }
        self.chunk_output.clear();
        std::mem::take(&mut self.chunk_output)
    }

    /// Takes what [`Self::take_output`] gave, with the output of `chunk` appended.
    ///
    /// # Errors
    /// `Internal` if the span answered with another number of values than asked for.
    pub(super) fn absorb(
        &mut self,
        chunk: Range<usize>,
        values: Vec<f32>,
        started: Instant,
        took: Duration,
    ) -> Result<(), RequestError> {
        let [batch, seq, hidden] = self.input.shape;
        self.queue += started.saturating_duration_since(self.in_line_since);
        self.compute += took;
        self.in_line_since = started + took;
        let is_contiguous = self.is_contiguous(&chunk);
        let before = if is_contiguous { chunk.start } else { 0 };
        if values.len() != batch * (before + chunk.len()) * hidden {
            return Err(RequestError::Internal(format!(
                "the span answered {} values for {batch} x {} x {hidden}",
                values.len(),
                before + chunk.len()
            )));
        }
        if is_contiguous {
            self.output = values;
            return Ok(());
        }
        self.output.resize(batch * seq * hidden, 0.0);
        let width = chunk.len() * hidden;
        for (row, part) in values.chunks_exact(width.max(1)).enumerate() {
            let start = (row * seq + chunk.start) * hidden;
            self.output[start..start + width].copy_from_slice(part);
        }
        self.chunk_output = values;
        Ok(())
    }

    /// Answers with what has been absorbed.
    pub(super) fn finish(self) {
        let computed = Computed {
            values: self.output,
            queue: self.queue,
            compute: self.compute,
            ran_here: false,
        };
        // A caller that has gone needs no answer.
        self.reply.send(Ok(computed)).ok();
    }

    /// Answers with an error.
    pub(super) fn fail(self, error: RequestError) {
        self.reply.send(Err(error)).ok();
    }
}

/// What a job lends to one call of the span.
#[derive(Debug)]
pub(super) struct Part<'a> {
    job: &'a StepJob,
    position: usize,
    values: Cow<'a, [f32]>,
    shape: [usize; 3],
    prompts: Option<(Cow<'a, [f32]>, [usize; 4])>,
    reorder: Option<&'a [usize]>,
}

impl Part<'_> {
    /// The part as the span contract has it.
    pub(super) fn row(&self) -> Row<'_> {
        Row {
            cache: self.job.cache,
            blocks: self.job.input.blocks.clone(),
            position: self.position,
            hidden_states: HiddenStates {
                values: &self.values,
                shape: self.shape,
            },
            prompts: self.prompts.as_ref().map(|(values, shape)| Prompts {
                values,
                shape: *shape,
            }),
            reorder: self.reorder,
        }
    }
}

/// `values` `[rows, length, width]`, cut to `range` of the middle axis; copied only where it must be.
fn cut(values: &[f32], [rows, length, width]: [usize; 3], range: Range<usize>) -> Cow<'_, [f32]> {
    if range.len() == length {
        return Cow::Borrowed(values);
    }
    if rows == 1 {
        return Cow::Borrowed(&values[range.start * width..range.end * width]);
    }
    let mut part = Vec::with_capacity(rows * range.len() * width);
    for row in 0..rows {
        let start = (row * length + range.start) * width;
        part.extend_from_slice(&values[start..start + range.len() * width]);
    }
    Cow::Owned(part)
}

/// Counts the tokens of a turn by phase: a step with more than one new token is prefill.
pub(super) fn record_batch<P>(picked: &[Picked<P, StepJob>]) {
    let (mut prefill, mut decode) = (0, 0);
    for row in picked {
        let tokens = row.prompt.batch * row.chunk.len();
        if row.prompt.seq > 1 {
            prefill += tokens;
        } else {
            decode += tokens;
        }
    }
    for (phase, tokens) in [(Phase::Prefill, prefill), (Phase::Decode, decode)] {
        if tokens > 0 {
            metrics::record_batch(phase, tokens);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    fn job(shape: [usize; 3], prompts: Option<OwnedPrompts>) -> StepJob {
        let count: usize = shape.iter().product();
        let input = StepInput {
            blocks: 0..1,
            position: 5,
            hidden_states: (0..count).map(|value| value as f32).collect(),
            shape,
            prompts,
            reorder: Some(vec![1, 0]),
            memory: Memory::default(),
        };
        StepJob::new(CacheHandle::new(1), input, oneshot::channel().0)
    }

    #[test]
    fn chunks_of_a_batch_come_back_in_place() {
        let mut job = job([2, 5, 3], None);
        for chunk in [0..2, 2..4, 4..5] {
            let part = job.part(chunk.clone());
            let row = part.row();
            assert_eq!(row.position, 5 + chunk.start);
            assert_eq!(row.hidden_states.shape, [2, chunk.len(), 3]);
            assert_eq!(row.reorder.is_some(), chunk.start == 0);
            let input = row.hidden_states.values.to_vec();
            run(&mut job, chunk, &input).unwrap();
        }
        assert_eq!(job.output, job.input.hidden_states);
    }

    #[test]
    fn chunks_of_one_sequence_are_appended_to_one_buffer() {
        let mut job = job([1, 5, 3], None);
        let memory = job.output.as_ptr();
        for chunk in [0..2, 2..4, 4..5] {
            let input = job.part(chunk.clone()).row().hidden_states.values.to_vec();
            run(&mut job, chunk, &input).unwrap();
        }
        assert_eq!(job.output, job.input.hidden_states);
        assert_eq!(job.output.as_ptr(), memory);
    }

    /// Gives `output` as the span would.
    fn run(job: &mut StepJob, chunk: Range<usize>, output: &[f32]) -> Result<(), RequestError> {
        let mut values = job.take_output(&chunk);
        values.extend_from_slice(output);
        job.absorb(chunk, values, Instant::now(), Duration::ZERO)
    }

    #[test]
    fn prompts_are_cut_with_the_step() {
        let prompts = OwnedPrompts {
            values: (0..2 * 3 * 2).map(|value| value as f32).collect(),
            shape: [2, 1, 3, 2],
        };
        let job = job([2, 5, 2], Some(prompts));
        let first = job.part(0..2);
        let cut = first.row().prompts.unwrap();
        assert_eq!(cut.shape, [2, 1, 2, 2]);
        assert_eq!(cut.values, [0.0, 1.0, 2.0, 3.0, 6.0, 7.0, 8.0, 9.0]);
        let second = job.part(2..4);
        let cut = second.row().prompts.unwrap();
        assert_eq!(cut.shape, [2, 1, 1, 2]);
        assert_eq!(cut.values, [4.0, 5.0, 10.0, 11.0]);
        assert!(job.part(4..5).row().prompts.is_none());
    }

    #[test]
    fn an_answer_of_another_size_is_our_error() {
        let mut job = job([2, 5, 3], None);
        let absorbed = run(&mut job, 0..2, &[0.0; 7]);
        assert!(matches!(absorbed, Err(RequestError::Internal(_))));
    }
}
