//! The one OS thread that owns the model.
//!
//! - Owner: [`Compute`]; everybody else has a [`ComputeHandle`]. It ends when the owner stops or drops it.
//! - Inboxes, in order of service: caches to close (bounded by the caches that are open), caches to open (one per
//!   session), then the [`Scheduler`]'s lines with their caps. Closing through the same thread means that no memory is
//!   freed while a step uses it.
//! - Owned buffers go in and come out; nothing of the model leaves this thread.
//! - A job whose caller has gone is skipped. A panic in the span is caught and answered to the callers of that call;
//!   after [`MAX_PANICS_IN_A_ROW`] the server reports not ready.

mod forward_job;
mod step_job;

use std::collections::VecDeque;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use block_model::{BlockSpan, CacheHandle, SpanDescription, SpanError};
use block_network::PeerId;
use tokio::sync::oneshot;
use tracing::{error, warn};

pub use forward_job::ForwardInput;
pub use step_job::{OwnedPrompts, StepInput};

use crate::lease::{Lease, Reservation};
use crate::metrics::{self, Pool};
use crate::request_error::RequestError;
use crate::scheduler::{LineCaps, Picked, Scheduler, Turn};
use forward_job::ForwardJob;
use step_job::StepJob;

/// Panics without a success between them after which the span is taken to be broken for good.
const MAX_PANICS_IN_A_ROW: u32 = 3;

/// Stack of the compute thread: candle recurses little, but debug builds have large frames.
const STACK_BYTES: usize = 8 * 1024 * 1024;

/// What a job gets back.
#[derive(Debug)]
pub struct Computed {
    /// The output, `[batch, seq, hidden]`.
    pub values: Vec<f32>,
    /// Time in line, all turns together.
    pub queue: Duration,
    /// Time of the calls it took part in.
    pub compute: Duration,
}

impl Computed {
    /// The result of a request without tokens.
    #[must_use]
    pub fn nothing() -> Self {
        Self {
            values: Vec::new(),
            queue: Duration::ZERO,
            compute: Duration::ZERO,
        }
    }
}

type Reply<T> = oneshot::Sender<Result<T, RequestError>>;

#[derive(Debug)]
struct OpenJob {
    blocks: Range<usize>,
    batch: usize,
    max_length: usize,
    reservation: Reservation,
    reply: Reply<Lease>,
}

#[derive(Debug)]
struct State {
    closing: Vec<(CacheHandle, Reservation)>,
    opening: VecDeque<OpenJob>,
    scheduler: Scheduler<PeerId, StepJob, ForwardJob>,
    stopped: bool,
}

#[derive(Debug)]
struct Inbox {
    description: SpanDescription,
    state: Mutex<State>,
    wake: Condvar,
    healthy: AtomicBool,
}

enum Work {
    Close(Vec<(CacheHandle, Reservation)>),
    Open(OpenJob),
    Turn(Turn<PeerId, StepJob, ForwardJob>),
}

/// Owner of the compute thread.
#[derive(Debug)]
pub struct Compute {
    handle: ComputeHandle,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Compute {
    /// Starts the thread, which takes the span. `steps` and `forwards` cap the lines before it.
    ///
    /// # Errors
    /// The operating system's, if it gives no thread.
    pub fn start(
        span: Box<dyn BlockSpan>,
        steps: LineCaps,
        forwards: LineCaps,
    ) -> std::io::Result<Self> {
        let state = State {
            closing: Vec::new(),
            opening: VecDeque::new(),
            scheduler: Scheduler::new(steps, forwards),
            stopped: false,
        };
        let inbox = Arc::new(Inbox {
            description: span.description().clone(),
            state: Mutex::new(state),
            wake: Condvar::new(),
            healthy: AtomicBool::new(true),
        });
        let handle = ComputeHandle { inbox };
        let worker = Worker {
            span,
            handle: handle.clone(),
            panics_in_a_row: 0,
        };
        let thread = std::thread::Builder::new()
            .name("compute".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || worker.run())?;
        Ok(Self {
            handle,
            thread: Some(thread),
        })
    }

    /// A handle for those who have work.
    #[must_use]
    pub fn handle(&self) -> ComputeHandle {
        self.handle.clone()
    }

    /// Ends the thread after the call it is in. Blocks until then, so never on a network thread.
    pub fn stop(mut self) {
        self.handle.inbox.stop();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            error!("compute thread panicked outside a job");
        }
    }
}

impl Drop for Compute {
    fn drop(&mut self) {
        self.handle.inbox.stop();
    }
}

/// Sends work to the compute thread.
#[derive(Debug, Clone)]
pub struct ComputeHandle {
    inbox: Arc<Inbox>,
}

impl ComputeHandle {
    /// What the span is.
    #[must_use]
    pub fn description(&self) -> &SpanDescription {
        &self.inbox.description
    }

    /// Opens a cache on bytes that are reserved already. Dropping the future closes the cache again.
    ///
    /// # Errors
    /// `Internal` if the span refuses, `Draining` if the thread has stopped.
    pub async fn open(
        &self,
        blocks: Range<usize>,
        batch: usize,
        max_length: usize,
        reservation: Reservation,
    ) -> Result<Lease, RequestError> {
        let (reply, answer) = oneshot::channel();
        let job = OpenJob {
            blocks,
            batch,
            max_length,
            reservation,
            reply,
        };
        self.inbox.submit(|state| {
            state.opening.push_back(job);
            Ok(())
        })?;
        answer.await.unwrap_or(Err(RequestError::Draining))
    }

    /// Runs one step on the lease's cache. If the future is dropped the step may or may not run.
    ///
    /// # Errors
    /// `Overloaded` if the line is full, `Invalid` or `Internal` from the span, `Draining` if the thread has stopped.
    pub async fn step(
        &self,
        lease: &Lease,
        peer: PeerId,
        input: StepInput,
    ) -> Result<Computed, RequestError> {
        let (reply, answer) = oneshot::channel();
        let [batch, seq, _] = input.shape;
        let job = StepJob::new(lease.handle(), input, reply);
        self.inbox.submit(|state| {
            let limit = state.scheduler.step_caps().jobs;
            let pushed = state.scheduler.push_step(peer, batch, seq, job);
            pushed.map_err(|_| RequestError::Overloaded {
                what: "the line of inference steps is full",
                limit,
            })
        })?;
        answer.await.unwrap_or(Err(RequestError::Draining))
    }

    /// Runs whole sequences through the blocks. If the future is dropped the rest of the work is skipped.
    ///
    /// # Errors
    /// As [`ComputeHandle::step`].
    pub async fn forward(
        &self,
        peer: PeerId,
        input: ForwardInput,
    ) -> Result<Computed, RequestError> {
        let (reply, answer) = oneshot::channel();
        let job = ForwardJob::new(input, reply);
        self.inbox.submit(|state| {
            let limit = state.scheduler.forward_caps().jobs;
            let pushed = state.scheduler.push_forward(peer, job);
            pushed.map_err(|_| RequestError::Overloaded {
                what: "the line of forward requests is full",
                limit,
            })
        })?;
        answer.await.unwrap_or(Err(RequestError::Draining))
    }

    /// Closes a cache after the call that may be using it, and only then gives its bytes back. Never blocks.
    pub(crate) fn close(&self, handle: CacheHandle, reservation: Reservation) {
        let mut state = self.inbox.lock();
        if !state.stopped {
            state.closing.push((handle, reservation));
            drop(state);
            self.inbox.wake.notify_one();
        }
    }

    /// False once the span is taken to be broken, or the thread has ended.
    #[must_use]
    pub fn healthy(&self) -> bool {
        self.inbox.healthy.load(Ordering::Relaxed)
    }

    /// Steps and forwards in line.
    #[must_use]
    pub fn queued(&self) -> (usize, usize) {
        let state = self.inbox.lock();
        (
            state.scheduler.steps_waiting(),
            state.scheduler.forwards_waiting(),
        )
    }
}

impl Inbox {
    fn lock(&self) -> MutexGuard<'_, State> {
        // The span runs outside this lock, so nothing that panics can leave the lines half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn submit(
        &self,
        put: impl FnOnce(&mut State) -> Result<(), RequestError>,
    ) -> Result<(), RequestError> {
        let mut state = self.lock();
        if state.stopped {
            return Err(RequestError::Draining);
        }
        put(&mut state)?;
        record_depth(&state);
        drop(state);
        self.wake.notify_one();
        Ok(())
    }

    /// Waits for work; `None` means stop.
    fn next_work(&self) -> Option<Work> {
        let mut state = self.lock();
        loop {
            if state.stopped {
                return None;
            }
            if !state.closing.is_empty() {
                return Some(Work::Close(std::mem::take(&mut state.closing)));
            }
            if let Some(open) = state.opening.pop_front() {
                return Some(Work::Open(open));
            }
            let turn = state
                .scheduler
                .next_turn(StepJob::is_wanted, ForwardJob::is_wanted);
            record_depth(&state);
            if let Some(turn) = turn {
                return Some(Work::Turn(turn));
            }
            state = self
                .wake
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Refuses further work and wakes the thread. What is in line is dropped, which tells its callers.
    fn stop(&self) {
        let mut state = self.lock();
        state.stopped = true;
        self.healthy.store(false, Ordering::Relaxed);
        let closing = std::mem::take(&mut state.closing);
        let opening = std::mem::take(&mut state.opening);
        while state.scheduler.next_turn(|_| true, |_| true).is_some() {}
        drop(state);
        // Their reservations take the budget's lock when dropped; ours is free by now.
        drop((closing, opening));
        self.wake.notify_one();
    }
}

fn record_depth(state: &State) {
    metrics::record_queue_depth(Pool::Inference, state.scheduler.steps_waiting());
    metrics::record_queue_depth(Pool::Forward, state.scheduler.forwards_waiting());
}

/// The thread's own state.
struct Worker {
    span: Box<dyn BlockSpan>,
    handle: ComputeHandle,
    panics_in_a_row: u32,
}

impl Worker {
    fn run(mut self) {
        let inbox = Arc::clone(&self.handle.inbox);
        while let Some(work) = inbox.next_work() {
            match work {
                Work::Close(caches) => {
                    for (cache, reservation) in caches {
                        // A panic here leaves the memory to the span; the bytes return all the same.
                        self.guarded("close a cache", |span| span.close_cache(cache))
                            .ok();
                        drop(reservation);
                    }
                }
                Work::Open(job) => self.open(job),
                Work::Turn(Turn::Steps(picked)) => self.step(picked),
                Work::Turn(Turn::Forward(peer, job)) => self.forward(peer, job),
            }
        }
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

    fn step(&mut self, picked: Vec<Picked<PeerId, StepJob>>) {
        let started = Instant::now();
        step_job::record_batch(&picked);
        let outcome = {
            let parts: Vec<_> = picked
                .iter()
                .map(|row| row.prompt.job.part(row.chunk.clone()))
                .collect();
            let rows: Vec<_> = parts.iter().map(step_job::Part::row).collect();
            self.guarded("step", |span| span.step(&rows))
        };
        let took = started.elapsed();
        let mut results = match outcome {
            Ok(results) => results.into_iter(),
            Err(error) => {
                for row in picked {
                    row.prompt.job.fail(error.clone());
                }
                return;
            }
        };
        for Picked {
            peer,
            mut prompt,
            chunk,
        } in picked
        {
            let result = results
                .next()
                .unwrap_or_else(|| Err(SpanError::Compute("a row has no result".to_owned())));
            match result.map_err(|error| span_error("step", error)) {
                Err(error) => prompt.job.fail(error),
                Ok(values) => {
                    let absorbed = prompt.job.absorb(chunk.clone(), values, started, took);
                    prompt.done = chunk.end;
                    if let Err(error) = absorbed {
                        prompt.job.fail(error);
                    } else if prompt.done < prompt.seq {
                        self.handle.inbox.lock().scheduler.return_step(peer, prompt);
                    } else {
                        prompt.job.finish();
                    }
                }
            }
        }
    }

    fn forward(&mut self, peer: PeerId, mut job: ForwardJob) {
        let started = Instant::now();
        let outcome = {
            let slice = job.slice();
            self.guarded("forward", |span| span.forward(&slice.row()))
                .and_then(|result| result.map_err(|error| span_error("forward", error)))
        };
        let absorbed = outcome.and_then(|values| job.absorb(&values, started, started.elapsed()));
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
                    self.handle.inbox.healthy.store(false, Ordering::Relaxed);
                }
                Err(RequestError::Internal(format!("{what} panicked: {text}")))
            }
        }
    }
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
        SpanError::UnknownCache
        | SpanError::PositionAhead { .. }
        | SpanError::OutOfMemory { .. }
        | SpanError::Compute(_) => {
            warn!(what, %error, "the span failed");
            RequestError::Internal(error.to_string())
        }
    }
}

#[cfg(test)]
mod tests;
