//! One forward on its way through the compute thread, slice by slice.
//!
//! Between two blocks the residual stream is what crosses a span boundary, losslessly, so cutting a forward between
//! blocks (and between the sequences of a batch) does not change its result. It keeps a long forward from stalling the
//! steps of sessions.

use std::ops::Range;
use std::time::{Duration, Instant};

use block_model::{ForwardRow, HiddenStates, Prompts};

use super::step_job::OwnedPrompts;
use super::{Computed, Reply};
use crate::activations::Memory;
use crate::metrics::{self, Phase};
use crate::request_error::RequestError;

/// Tokens x blocks in one slice (one sequence and one block at least): on a CPU a slice of a 7B model then takes a
/// second or less.
const SLICE_TOKEN_BLOCKS: usize = 512;

/// One forward, checked: shapes fit each other and the span.
#[derive(Debug)]
pub struct ForwardInput {
    /// Blocks to run, absolute, not empty.
    pub blocks: Range<usize>,
    /// Input, `[batch, seq, hidden]`, rounded to the span's dtype, not empty.
    pub hidden_states: Vec<f32>,
    /// `[batch, seq, hidden]`.
    pub shape: [usize; 3],
    /// Deep prompts, if any.
    pub prompts: Option<OwnedPrompts>,
    /// What is counted for them and the output.
    pub memory: Memory,
}

/// A forward in line or in a turn. Its hidden states are replaced slice by slice.
#[derive(Debug)]
pub(super) struct ForwardJob {
    input: ForwardInput,
    next_block: usize,
    next_row: usize,
    in_line_since: Instant,
    queue: Duration,
    compute: Duration,
    reply: Reply<Computed>,
}

impl ForwardJob {
    pub(super) fn new(input: ForwardInput, reply: Reply<Computed>) -> Self {
        Self {
            next_block: input.blocks.start,
            next_row: 0,
            input,
            in_line_since: Instant::now(),
            queue: Duration::ZERO,
            compute: Duration::ZERO,
            reply,
        }
    }

    /// Whether somebody still waits for the answer.
    pub(super) fn is_wanted(&self) -> bool {
        !self.reply.is_closed()
    }

    /// Which blocks and which sequences come next: many blocks of the whole batch, or one block of a part of it.
    fn next(&self) -> (Range<usize>, Range<usize>) {
        let [batch, seq, _] = self.input.shape;
        let start = self.next_block;
        if batch * seq <= SLICE_TOKEN_BLOCKS {
            let blocks = (SLICE_TOKEN_BLOCKS / (batch * seq).max(1)).max(1);
            (start..self.input.blocks.end.min(start + blocks), 0..batch)
        } else {
            let rows = (SLICE_TOKEN_BLOCKS / seq.max(1)).max(1);
            let end = batch.min(self.next_row + rows);
            (start..start + 1, self.next_row..end)
        }
    }

    /// The next slice.
    pub(super) fn slice(&self) -> Slice<'_> {
        let (blocks, rows) = self.next();
        Slice {
            job: self,
            blocks,
            rows,
        }
    }

    /// Takes the output of the slice that [`Self::slice`] gave.
    ///
    /// # Errors
    /// `Internal` if the span answered with another number of values than asked for.
    pub(super) fn absorb(
        &mut self,
        values: &[f32],
        started: Instant,
        took: Duration,
    ) -> Result<(), RequestError> {
        let (blocks, rows) = self.next();
        let [batch, seq, hidden] = self.input.shape;
        self.queue += started.saturating_duration_since(self.in_line_since);
        self.compute += took;
        self.in_line_since = started + took;
        if values.len() != rows.len() * seq * hidden {
            return Err(RequestError::Internal(format!(
                "the span answered {} values for {} x {seq} x {hidden}",
                values.len(),
                rows.len()
            )));
        }
        metrics::record_batch(Phase::Forward, rows.len() * seq);
        let start = rows.start * seq * hidden;
        self.input.hidden_states[start..start + values.len()].copy_from_slice(values);
        self.next_row = rows.end;
        if self.next_row == batch {
            self.next_row = 0;
            self.next_block = blocks.end;
        }
        Ok(())
    }

    /// Whether all blocks have run on all sequences.
    pub(super) fn is_done(&self) -> bool {
        self.next_block >= self.input.blocks.end
    }

    /// Answers with the hidden states after the last block.
    pub(super) fn finish(self) {
        let computed = Computed {
            values: self.input.hidden_states,
            queue: self.queue,
            compute: self.compute,
            ran_here: false,
        };
        self.reply.send(Ok(computed)).ok();
    }

    /// Answers with an error.
    pub(super) fn fail(self, error: RequestError) {
        self.reply.send(Err(error)).ok();
    }
}

/// What a job lends to one call of the span.
#[derive(Debug)]
pub(super) struct Slice<'a> {
    job: &'a ForwardJob,
    blocks: Range<usize>,
    rows: Range<usize>,
}

impl Slice<'_> {
    /// The slice as the span contract has it.
    pub(super) fn row(&self) -> ForwardRow<'_> {
        let ForwardInput {
            hidden_states,
            shape: [batch, seq, hidden],
            prompts,
            blocks,
            memory: _,
        } = &self.job.input;
        let width = seq * hidden;
        let prompts = prompts.as_ref().map(|prompts| {
            let [_, prompt_rows, prefix, prompt_width] = prompts.shape;
            // One row is shared by the whole batch; otherwise the slice takes its own. With several blocks the slice
            // always spans the whole batch, so the values are contiguous either way.
            let rows = if prompt_rows == *batch && *batch > 1 {
                self.rows.clone()
            } else {
                0..prompt_rows
            };
            let row = |block: usize, row: usize| {
                ((block - blocks.start) * prompt_rows + row) * prefix * prompt_width
            };
            let start = row(self.blocks.start, rows.start);
            let end = row(self.blocks.end - 1, rows.end);
            Prompts {
                values: &prompts.values[start..end],
                shape: [self.blocks.len(), rows.len(), prefix, prompt_width],
            }
        });
        ForwardRow {
            blocks: self.blocks.clone(),
            hidden_states: HiddenStates {
                values: &hidden_states[self.rows.start * width..self.rows.end * width],
                shape: [self.rows.len(), *seq, *hidden],
            },
            prompts,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::sync::oneshot;

    use super::*;

    proptest! {
        /// Every block sees every sequence once, in order, each with its own prompts.
        #[test]
        fn slices_cover_all_blocks_and_sequences(
            blocks in 1usize..6, batch in 1usize..5, seq in 1usize..600, shared: bool
        ) {
            let rows = if shared { 1 } else { batch };
            let input = ForwardInput {
                blocks: 3..3 + blocks,
                hidden_states: vec![0.0; batch * seq],
                shape: [batch, seq, 1],
                prompts: Some(OwnedPrompts {
                    values: (0..blocks * rows).map(|value| value as f32).collect(),
                    shape: [blocks, rows, 1, 1],
                }),
                memory: Memory::default(),
            };
            let mut job = ForwardJob::new(input, oneshot::channel().0);
            let mut turns = 0;
            while !job.is_done() {
                let slice = job.slice();
                let row = slice.row();
                let [count, length, _] = row.hidden_states.shape;
                let prompts = row.prompts.unwrap();
                prop_assert_eq!(prompts.shape[0], row.blocks.len());
                prop_assert_eq!(prompts.values.len(), row.blocks.len() * prompts.shape[1]);
                prop_assert!(count * length * row.blocks.len() <= SLICE_TOKEN_BLOCKS || count * row.blocks.len() == 1);
                // Blocks count how often they run; the first prompt of a slice tells which it is.
                let sequence = if shared { 0 } else { slice.rows.start };
                let expected = (row.blocks.start - 3) * rows + sequence;
                prop_assert_eq!(prompts.values[0], expected as f32);
                let values: Vec<f32> =
                    row.hidden_states.values.iter().map(|value| value + row.blocks.len() as f32).collect();
                job.absorb(&values, Instant::now(), Duration::ZERO).unwrap();
                turns += 1;
                prop_assert!(turns <= blocks * batch);
            }
            prop_assert!(job.input.hidden_states.iter().all(|value| *value == blocks as f32));
        }
    }
}
