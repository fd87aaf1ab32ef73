//! The model's owner: one loop, which has an OS thread of its own.
//!
//! - Owner: [`Compute`]; everybody else has a [`ComputeHandle`]. It ends when the owner stops or drops it.
//! - While one session has the server to itself, its short steps run on the thread on which they arrive: waking another
//!   one and being woken by it takes longer than the rest of such a step's way. There is one call of the span at a time.
//! - Inboxes, in order of service: caches to close (bounded by the caches that are open), caches to open (one per
//!   session), then the scheduler's lines with their caps. Closing through the same loop means that no memory is
//!   freed while a step uses it.
//! - Owned buffers go in and come out; nothing of the model is seen by callers.
//! - A job whose caller has gone is skipped. A panic in the span is caught and answered to the callers of that call;
//!   after a few in a row the server reports not ready.

mod compute_loop;
mod forward_job;
mod gathering;
mod inbox;
mod lone_session;
mod step_job;

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use block_model::{BlockSpan, CacheHandle, SpanDescription};
use block_network::PeerId;
use block_program::network_threads::STACK_BYTES;
use tokio::sync::oneshot;
use tracing::error;

pub use forward_job::ForwardInput;
pub use step_job::{OwnedPrompts, StepInput};

use crate::cache_budget::Reservation;
use crate::lease::Lease;
use crate::request_error::RequestError;
use crate::scheduler::LineCaps;
use compute_loop::ComputeLoop;
use forward_job::ForwardJob;
use inbox::{Inbox, OpenJob, Reply};
use step_job::StepJob;

/// What a job gets back.
#[derive(Debug)]
pub struct Computed {
    /// The output, `[batch, seq, hidden]`.
    pub values: Vec<f32>,
    /// Time in line, all turns together.
    pub queue: Duration,
    /// Time of the calls it took part in.
    pub compute: Duration,
    /// Whether the caller's own thread computed it. The caller should let other tasks run before its next step: those that
    /// a peer sends ahead would else follow each other without a pause.
    pub ran_here: bool,
}

impl Computed {
    /// The result of a request without tokens.
    #[must_use]
    pub fn nothing() -> Self {
        Self {
            values: Vec::new(),
            queue: Duration::ZERO,
            compute: Duration::ZERO,
            ran_here: false,
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
        let inbox = Arc::new(Inbox::new(span.as_ref(), steps, forwards));
        let handle = ComputeHandle { inbox };
        let compute_loop = Box::new(ComputeLoop::new(span, handle.clone()));
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

    /// Runs one step on the lease's cache: on the compute thread, or, if the session has the server to itself and its turns
    /// are quick, here, on the first poll, with the stack that the caller's thread has. If the future is dropped the step
    /// may or may not run.
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
        let ran_here = self.inbox.submit_step(peer, [batch, seq], job)?;
        let computed = answer.await.unwrap_or(Err(RequestError::Draining))?;
        Ok(Computed {
            ran_here,
            ..computed
        })
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
        let job = Box::new(ForwardJob::new(input, reply));
        self.inbox.submit(|state| {
            let limit = state.scheduler.forward_caps().jobs;
            let pushed = state.put_in_line(job, |jobs, job| jobs.push_forward(peer, job));
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
            self.inbox.wake();
        }
    }

    /// False once the span is taken to be broken, or the thread has ended.
    #[must_use]
    pub fn healthy(&self) -> bool {
        self.inbox.healthy()
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

#[cfg(test)]
mod tests;
