//! The compute loop: takes work from the inbox, calls the span, answers. Mostly on a thread of its own.
//!
//! The span is only called through [`ComputeLoop::guarded`]: a panic becomes an error for the callers of that call.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use block_model::{BlockSpan, CacheHandle, Row, SpanError};
use block_network::PeerId;
use tracing::{error, warn};

use super::ComputeHandle;
use super::forward_job::ForwardJob;
use super::inbox::{Closing, Inbox, OpenJob, Work};
use super::step_job::{self, Part, StepJob};
use crate::lease::Lease;
use crate::request_error::RequestError;
use crate::scheduler::{MAX_TURN_ROWS, Picked, Turn};

/// Panics without a success between them after which the span is taken to be broken for good.
pub(super) const MAX_PANICS_IN_A_ROW: u32 = 3;

/// Tells every caller when the thread ends, however it ends.
struct StopOnExit(Arc<Inbox>);

impl Drop for StopOnExit {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// The span and what its calls need. Whoever has it calls the span.
pub(super) struct ComputeLoop {
    span: Box<dyn BlockSpan>,
    handle: ComputeHandle,
    panics_in_a_row: u32,
    /// Caches to close: filled by the inbox, empty otherwise.
    pub(super) closing: Vec<Closing>,
    /// Steps of the turn to run: filled by the inbox, empty otherwise.
    pub(super) picked: Vec<Picked<PeerId, StepJob>>,
    pub(super) last_turn: LastTurn,
    buffers: TurnBuffers,
}

impl fmt::Debug for ComputeLoop {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the handle, whose inbox may hold this very value.
        formatter
            .debug_struct("ComputeLoop")
            .field("panics_in_a_row", &self.panics_in_a_row)
            .finish_non_exhaustive()
    }
}

/// The turn that was run last, for the inbox to count.
#[derive(Debug, Default)]
pub(super) struct LastTurn {
    /// Caches of its short steps.
    pub(super) sessions: Vec<CacheHandle>,
    /// Whether it had nothing but those.
    pub(super) is_short: bool,
    /// Their tokens.
    pub(super) tokens: usize,
    /// Its time; `None` when it has been counted.
    pub(super) took: Option<Duration>,
}

impl LastTurn {
    fn note(&mut self, picked: &[Picked<PeerId, StepJob>], took: Duration) {
        let short = picked.iter().filter(|row| row.prompt.is_short());
        self.sessions.clear();
        self.sessions
            .extend(short.map(|row| row.prompt.job.cache()));
        self.is_short = self.sessions.len() == picked.len();
        let tokens = picked.iter().map(|row| row.prompt.batch * row.chunk.len());
        self.tokens = tokens.sum();
        self.took = Some(took);
    }

    /// The session whose short step was all of the turn.
    pub(super) fn only_session(&self) -> Option<CacheHandle> {
        match self.sessions.as_slice() {
            [only] if self.is_short => Some(*only),
            _ => None,
        }
    }
}

/// Memory of one turn, used again by the next: a turn takes none of its own.
#[derive(Default)]
struct TurnBuffers {
    parts: Vec<Part<'static>>,
    rows: Vec<Row<'static>>,
    outputs: Vec<Result<Vec<f32>, SpanError>>,
}

impl ComputeLoop {
    pub(super) fn new(span: Box<dyn BlockSpan>, handle: ComputeHandle) -> Self {
        Self {
            span,
            handle,
            panics_in_a_row: 0,
            closing: Vec::new(),
            picked: Vec::with_capacity(MAX_TURN_ROWS),
            last_turn: LastTurn::default(),
            buffers: TurnBuffers {
                parts: Vec::with_capacity(MAX_TURN_ROWS),
                rows: Vec::with_capacity(MAX_TURN_ROWS),
                outputs: Vec::with_capacity(MAX_TURN_ROWS),
            },
        }
    }

    /// Works until it is told to stop; the thread's life.
    pub(super) fn run(self: Box<Self>) {
        let inbox = Arc::clone(&self.handle.inbox);
        let _guard = StopOnExit(Arc::clone(&inbox));
        let mut own = Some(self);
        while let Some((mut compute, work)) = inbox.next_work(own.take()) {
            compute.carry_out(work);
            own = Some(compute);
        }
    }

    /// Does one piece of work.
    pub(super) fn carry_out(&mut self, work: Work) {
        match work {
            Work::Close => self.close(),
            Work::Open(job) => self.open(job),
            Work::Turn(Turn::Steps) => self.step(),
            Work::Turn(Turn::Forward(peer, job)) => self.forward(peer, job),
        }
    }

    fn close(&mut self) {
        let mut closing = std::mem::take(&mut self.closing);
        for (cache, reservation) in closing.drain(..) {
            // A panic here leaves the memory to the span; the bytes return all the same.
            self.guarded("close a cache", |span| span.close_cache(cache))
                .ok();
            drop(reservation);
        }
        self.closing = closing;
    }

    fn open(&mut self, job: OpenJob) {
        if job.reply.is_closed() {
            return;
        }
        let opened = self
            .guarded("open a cache", |span| {
                span.open_cache(job.blocks, job.batch, job.max_length)
            })
            .and_then(|opened| opened.map_err(|error| span_error("open a cache", error)));
        let lease = opened.map(|cache| Lease::new(cache, job.reservation, self.handle.clone()));
        // If the caller has gone the lease comes back and its drop closes the cache.
        drop(job.reply.send(lease));
    }

    /// Runs the steps of `picked` and answers those that are done; leaves it empty.
    fn step(&mut self) {
        let started = Instant::now();
        let mut picked = std::mem::take(&mut self.picked);
        step_job::record_batch(&picked);
        let TurnBuffers {
            parts,
            rows,
            mut outputs,
        } = std::mem::take(&mut self.buffers);
        for row in picked.iter_mut() {
            outputs.push(Ok(row.prompt.job.take_output(&row.chunk)));
        }
        let (outcome, parts, rows) = {
            let mut parts: Vec<Part<'_>> = parts;
            let mut rows: Vec<Row<'_>> = emptied(rows);
            let chosen = picked.iter();
            parts.extend(chosen.map(|row| row.prompt.job.part(row.chunk.clone())));
            rows.extend(parts.iter().map(Part::row));
            let outcome = self.guarded("step", |span| span.step_into(&rows, &mut outputs));
            let rows = emptied(rows);
            (outcome, emptied(parts), rows)
        };
        let took = started.elapsed();
        self.last_turn.note(&picked, took);
        let mut results = outputs.drain(..);
        for row in picked.drain(..) {
            let result = match (&outcome, results.next()) {
                (Err(error), _) => Err(error.clone()),
                (Ok(()), Some(result)) => result.map_err(|error| span_error("step", error)),
                (Ok(()), None) => Err(RequestError::Internal("a row has no result".to_owned())),
            };
            self.take_result(row, result, started, took);
        }
        drop(results);
        self.picked = picked;
        self.buffers = TurnBuffers {
            parts,
            rows,
            outputs,
        };
    }

    /// Answers a step, or puts it back in line if it has tokens left.
    fn take_result(
        &self,
        row: Picked<PeerId, StepJob>,
        result: Result<Vec<f32>, RequestError>,
        started: Instant,
        took: Duration,
    ) {
        let Picked {
            peer,
            mut prompt,
            chunk,
        } = row;
        prompt.done = chunk.end;
        let absorbed = result.and_then(|values| prompt.job.absorb(chunk, values, started, took));
        match absorbed {
            Err(error) => prompt.job.fail(error),
            Ok(()) if prompt.done < prompt.seq => {
                self.handle.inbox.lock().scheduler.return_step(peer, prompt);
            }
            Ok(()) => prompt.job.finish(),
        }
    }

    fn forward(&mut self, peer: PeerId, mut job: Box<ForwardJob>) {
        let started = Instant::now();
        let outcome = {
            let slice = job.slice();
            self.guarded("forward", |span| span.forward(&slice.row()))
                .and_then(|result| result.map_err(|error| span_error("forward", error)))
        };
        let took = started.elapsed();
        self.last_turn.note(&[], took);
        let absorbed = outcome.and_then(|values| job.absorb(&values, started, took));
        match absorbed {
            Err(error) => job.fail(error),
            Ok(()) if job.is_done() => job.finish(),
            Ok(()) => self.handle.inbox.lock().scheduler.return_forward(peer, job),
        }
    }

    /// Calls the span; a panic becomes an error and is counted.
    fn guarded<T>(
        &mut self,
        what: &'static str,
        call: impl FnOnce(&mut dyn BlockSpan) -> T,
    ) -> Result<T, RequestError> {
        // A span that panicked is not trusted to be consistent: its sessions end, and repeated panics end readiness.
        let outcome = catch_unwind(AssertUnwindSafe(|| call(self.span.as_mut())));
        match outcome {
            Ok(value) => {
                self.panics_in_a_row = 0;
                Ok(value)
            }
            Err(panic) => {
                self.panics_in_a_row += 1;
                let text = panic_text(panic.as_ref());
                error!(
                    what,
                    panic = text,
                    in_a_row = self.panics_in_a_row,
                    "the span panicked"
                );
                if self.panics_in_a_row >= MAX_PANICS_IN_A_ROW {
                    self.handle.inbox.give_up();
                }
                Err(RequestError::Internal(format!("{what} panicked: {text}")))
            }
        }
    }
}

/// The same memory for values that live shorter or longer: an empty vector collected in place takes none.
fn emptied<A, B>(mut values: Vec<A>) -> Vec<B> {
    values.clear();
    values.into_iter().filter_map(|_| None).collect()
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no text")
}

/// A span's error as the caller's or as ours.
fn span_error(what: &'static str, error: SpanError) -> RequestError {
    match error {
        SpanError::Shape { .. } => RequestError::Invalid(error.to_string()),
        SpanError::CacheFull { .. } => RequestError::TooLong(error.to_string()),
        SpanError::OutsideSpan { .. } => RequestError::BadBlocks(error.to_string()),
        // Nobody but an older session closes a cache whose step is in line.
        SpanError::UnknownCache => RequestError::CacheTaken,
        SpanError::NoPages { .. } => {
            // Admission counts the same pages, so this is a fault of ours; the session is not the worse for it.
            warn!(what, %error, "the span has fewer pages than were granted");
            RequestError::CacheTaken
        }
        SpanError::PositionAhead { .. } | SpanError::OutOfMemory { .. } | SpanError::Compute(_) => {
            warn!(what, %error, "the span failed");
            RequestError::Internal(error.to_string())
        }
    }
}
