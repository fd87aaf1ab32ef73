//! The one OS thread that owns the model.
//!
//! - Owner: [`Compute`]; everybody else has a [`ComputeHandle`]. It ends when the owner stops or drops it.
//! - Inboxes, in order of service: caches to close (bounded by the caches that are open), caches to open (one per
//!   session), then the [`Scheduler`]'s lines with their caps. Closing through the same thread means that no memory is
//!   freed while a step uses it.
//! - Owned buffers go in and come out; nothing of the model leaves this thread.
//! - A job whose caller has gone is skipped. A panic in the span is caught and answered to the callers of that call;
//!   after a few in a row the server reports not ready.

mod compute_loop;
mod forward_job;
mod step_job;

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use block_model::{BlockSpan, CacheHandle, SpanDescription};
use block_network::PeerId;
use tokio::sync::oneshot;
use tracing::error;

pub use forward_job::ForwardInput;
pub use step_job::{OwnedPrompts, StepInput};

use crate::cache_budget::Reservation;
use crate::lease::Lease;
use crate::metrics::{self, Pool};
use crate::request_error::RequestError;
use crate::scheduler::{LineCaps, MAX_TURN_ROWS, Picked, Scheduler, Turn};
use compute_loop::ComputeLoop;
use forward_job::ForwardJob;
use step_job::StepJob;

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
    closing: Vec<(CacheHandle, Option<Reservation>)>,
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
    /// Close the caches that were put into the buffer.
    Close,
    Open(OpenJob),
    Turn(Turn<PeerId, ForwardJob>),
}

/// What the inbox hands over with a [`Work`]; empty before and used again.
#[derive(Debug)]
struct Handed {
    closing: Vec<(CacheHandle, Option<Reservation>)>,
    picked: Vec<Picked<PeerId, StepJob>>,
}

impl Handed {
    fn new() -> Self {
        Self {
            closing: Vec::new(),
            picked: Vec::with_capacity(MAX_TURN_ROWS),
        }
    }
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
        let compute_loop = ComputeLoop::new(span, handle.clone());
        let thread = std::thread::Builder::new()
            .name("compute".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || compute_loop.run())?;
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
                limit: Some(limit),
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
                limit: Some(limit),
            })
        })?;
        answer.await.unwrap_or(Err(RequestError::Draining))
    }

    /// Closes a cache after the call that may be using it and before any other, and only then gives its bytes back, if
    /// they are still its own. Never blocks; closing twice is harmless.
    pub(crate) fn close(&self, handle: CacheHandle, reservation: Option<Reservation>) {
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
    fn next_work(&self, handed: &mut Handed) -> Option<Work> {
        let mut state = self.lock();
        loop {
            if state.stopped {
                return None;
            }
            if !state.closing.is_empty() {
                handed.closing.append(&mut state.closing);
                return Some(Work::Close);
            }
            if let Some(open) = state.opening.pop_front() {
                return Some(Work::Open(open));
            }
            let turn = state.scheduler.next_turn(
                &mut handed.picked,
                StepJob::is_wanted,
                ForwardJob::is_wanted,
            );
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
        let caps = (state.scheduler.step_caps(), state.scheduler.forward_caps());
        let in_line = std::mem::replace(&mut state.scheduler, Scheduler::new(caps.0, caps.1));
        drop(state);
        // Their reservations take the budget's lock when dropped; ours is free by now.
        drop((closing, opening, in_line));
        self.wake.notify_one();
    }
}

fn record_depth(state: &State) {
    metrics::record_queue_depth(Pool::Inference, state.scheduler.steps_waiting());
    metrics::record_queue_depth(Pool::Forward, state.scheduler.forwards_waiting());
}

#[cfg(test)]
mod tests;
