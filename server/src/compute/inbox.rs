//! What waits for the compute loop, and the loop itself while nobody runs it.
//!
//! The loop runs on its own thread, except for the short steps of a session that has the server to itself: the thread on
//! which such a step arrives takes the loop out, runs the one turn and puts it back. Whoever has taken it out is the only
//! one who can run the span.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use block_model::{BlockSpan, CacheHandle, Level, SpanDescription};
use block_network::PeerId;
use tokio::sync::oneshot;
use tracing::error;

use super::compute_loop::ComputeLoop;
use super::forward_job::ForwardJob;
use super::gathering::Gathering;
use super::lone_session::LoneSession;
use super::step_job::StepJob;
use crate::cache_budget::Reservation;
use crate::lease::Lease;
use crate::metrics::{self, Pool};
use crate::request_error::RequestError;
use crate::scheduler::{
    CROWD_CHUNK_TOKENS, LineCaps, MATRIX_CROWD_CHUNK_TOKENS, MAX_SHORT_TOKENS, Scheduler, Turn,
};

pub(super) type Reply<T> = oneshot::Sender<Result<T, RequestError>>;

#[derive(Debug)]
pub(super) struct OpenJob {
    pub(super) blocks: Range<usize>,
    pub(super) batch: usize,
    pub(super) max_length: usize,
    pub(super) reservation: Reservation,
    pub(super) reply: Reply<Lease>,
}

/// A cache to close, with its bytes if they are still its own.
pub(super) type Closing = (CacheHandle, Option<Reservation>);

#[derive(Debug)]
pub(super) struct State {
    pub(super) closing: Vec<Closing>,
    pub(super) opening: VecDeque<OpenJob>,
    pub(super) scheduler: Jobs,
    gathering: Gathering,
    lone: LoneSession,
    /// The loop, while nobody runs it.
    resting: Option<Box<ComputeLoop>>,
    pub(super) stopped: bool,
    /// The thread has ended: the loop, which holds the inbox, must not lie in it any more.
    ended: bool,
}

#[derive(Debug)]
pub(super) struct Inbox {
    pub(super) description: SpanDescription,
    state: Mutex<State>,
    wake: Condvar,
    healthy: AtomicBool,
}

/// The lines of what waits for the thread.
pub(super) type Jobs = Scheduler<PeerId, StepJob, Box<ForwardJob>>;

/// What the loop is to do next; what it needs for that lies in its own buffers.
pub(super) enum Work {
    /// Close the caches that were put into the buffer.
    Close,
    Open(OpenJob),
    Turn(Turn<PeerId, Box<ForwardJob>>),
}

impl Inbox {
    pub(super) fn new(span: &dyn BlockSpan, steps: LineCaps, forwards: LineCaps) -> Self {
        let crowd_chunk = match span.description().kernels {
            Some(Level::Amx) => MATRIX_CROWD_CHUNK_TOKENS,
            Some(Level::Avx512 | Level::Avx2 | Level::Portable) | None => CROWD_CHUNK_TOKENS,
        };
        let state = State {
            closing: Vec::new(),
            opening: VecDeque::new(),
            scheduler: Scheduler::new(steps, forwards, crowd_chunk),
            gathering: Gathering::default(),
            lone: LoneSession::default(),
            resting: None,
            stopped: false,
            ended: false,
        };
        Self {
            description: span.description().clone(),
            state: Mutex::new(state),
            wake: Condvar::new(),
            healthy: AtomicBool::new(true),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // The span runs outside this lock, so nothing that panics can leave the lines half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn wake(&self) {
        self.wake.notify_one();
    }

    /// Puts work in line for the thread.
    pub(super) fn submit(
        &self,
        put: impl FnOnce(&mut State) -> Result<(), RequestError>,
    ) -> Result<(), RequestError> {
        let mut state = self.lock();
        if state.stopped {
            return Err(RequestError::Draining);
        }
        put(&mut state)?;
        state.record_depth();
        drop(state);
        self.wake();
        Ok(())
    }

    /// Puts a step of `batch x seq` tokens in line; if it is the short step of a session that has the server to itself,
    /// runs it here and now. Says whether it did.
    pub(super) fn submit_step(
        &self,
        peer: PeerId,
        [batch, seq]: [usize; 2],
        job: StepJob,
    ) -> Result<bool, RequestError> {
        let mut state = self.lock();
        if state.stopped {
            return Err(RequestError::Draining);
        }
        let tokens = batch.saturating_mul(seq);
        let runs_here =
            tokens <= MAX_SHORT_TOKENS && state.lone.is(job.cache(), tokens) && state.is_idle();
        let limit = state.scheduler.step_caps().jobs;
        #[allow(clippy::result_large_err, reason = "a job without room is handed back")]
        let push = |jobs: &mut Jobs, job| jobs.push_step(peer, batch, seq, job);
        let pushed = state.put_in_line(job, push);
        pushed.map_err(|_| RequestError::Overloaded {
            what: "the line of inference steps is full",
            limit: Some(limit),
        })?;
        if runs_here && let Some((compute, work)) = state.take_out() {
            drop(state);
            OnLoan::new(self, compute).carry_out(work);
            return Ok(true);
        }
        state.record_depth();
        drop(state);
        self.wake();
        Ok(false)
    }

    /// For the thread: puts the loop back, if it had it, and waits for work. `None` means stop.
    pub(super) fn next_work(
        &self,
        own: Option<Box<ComputeLoop>>,
    ) -> Option<(Box<ComputeLoop>, Work)> {
        let mut state = self.lock();
        if let Some(compute) = own {
            state.put_back(compute);
        }
        loop {
            if let Some(left) = state.waits_for_more(Instant::now()) {
                let wait = self.wake.wait_timeout(state, left);
                state = wait.unwrap_or_else(PoisonError::into_inner).0;
                continue;
            }
            // Not before the loop is back: when the thread has ended no call runs, and the span is gone.
            if state.stopped
                && let Some(compute) = state.resting.take()
            {
                drop(state);
                drop(compute);
                return None;
            }
            if let Some(taken) = state.take_out() {
                return Some(taken);
            }
            state = self
                .wake
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Refuses further work and wakes the thread. What is in line is dropped, which tells its callers.
    pub(super) fn stop(&self) {
        let mut state = self.lock();
        state.stopped = true;
        self.give_up();
        let closing = std::mem::take(&mut state.closing);
        let opening = std::mem::take(&mut state.opening);
        let in_line = state.scheduler.take();
        drop(state);
        // Their reservations take the budget's lock when dropped; ours is free by now.
        drop((closing, opening, in_line));
        self.wake();
    }

    /// As [`Inbox::stop`], and lets go of the loop. For the thread's end, however it ends.
    pub(super) fn end(&self) {
        self.stop();
        let mut state = self.lock();
        state.ended = true;
        let left = state.resting.take();
        drop(state);
        drop(left);
    }

    /// The span is taken to be broken for good.
    pub(super) fn give_up(&self) {
        self.healthy.store(false, Ordering::Relaxed);
    }

    pub(super) fn healthy(&self) -> bool {
        self.healthy.load(Ordering::Relaxed)
    }
}

impl State {
    /// Pushes a job into its line; if that is full, again without the jobs whose caller is gone.
    ///
    /// # Errors
    /// The job, if there is still no room.
    pub(super) fn put_in_line<J>(
        &mut self,
        job: J,
        push: impl Fn(&mut Jobs, J) -> Result<(), J>,
    ) -> Result<(), J> {
        push(&mut self.scheduler, job).or_else(|job| {
            self.scheduler
                .drop_unwanted(StepJob::is_wanted, |forward| forward.is_wanted());
            push(&mut self.scheduler, job)
        })
    }

    /// The loop with its next work, if there is some and nobody else has the loop.
    fn take_out(&mut self) -> Option<(Box<ComputeLoop>, Work)> {
        let mut compute = self.resting.take()?;
        let work = self.next(&mut compute);
        match work {
            Some(work) => Some((compute, work)),
            None => {
                self.resting = Some(compute);
                None
            }
        }
    }

    /// The next work in the order of service, with what belongs to it in the loop's buffers.
    fn next(&mut self, compute: &mut ComputeLoop) -> Option<Work> {
        if !self.closing.is_empty() {
            compute.closing.append(&mut self.closing);
            return Some(Work::Close);
        }
        if let Some(open) = self.opening.pop_front() {
            return Some(Work::Open(open));
        }
        let turn = self
            .scheduler
            .next_turn(&mut compute.picked, StepJob::is_wanted, |forward| {
                forward.is_wanted()
            });
        self.record_depth();
        turn.map(Work::Turn)
    }

    /// How long the next turn should wait for more steps; nothing but short steps is to be done then.
    fn waits_for_more(&mut self, now: Instant) -> Option<Duration> {
        if self.stopped || !self.closing.is_empty() || !self.opening.is_empty() {
            return None;
        }
        let others = self.scheduler.prompts_waiting() + self.scheduler.forwards_waiting();
        let ready = self.scheduler.short_waiting();
        self.gathering.wait(ready, others > 0, now)
    }

    /// Whether the loop rests and nothing waits for it.
    fn is_idle(&self) -> bool {
        self.resting.is_some()
            && self.closing.is_empty()
            && self.opening.is_empty()
            && self.scheduler.steps_waiting() == 0
            && self.scheduler.forwards_waiting() == 0
    }

    fn put_back(&mut self, mut compute: Box<ComputeLoop>) {
        let turn = &mut compute.last_turn;
        if let Some(took) = turn.took.take() {
            self.lone.on_turn(turn.only_session(), turn.tokens, took);
            if !turn.sessions.is_empty() {
                let sessions = turn.sessions.iter().copied();
                self.gathering.on_turn(sessions, took, Instant::now());
            }
        }
        if !self.ended {
            self.resting = Some(compute);
        }
    }

    fn record_depth(&self) {
        metrics::record_queue_depth(Pool::Inference, self.scheduler.steps_waiting());
        metrics::record_queue_depth(Pool::Forward, self.scheduler.forwards_waiting());
    }
}

/// The loop in the hands of a thread that is not its own; goes back however that ends.
struct OnLoan<'a> {
    inbox: &'a Inbox,
    compute: Option<Box<ComputeLoop>>,
}

impl<'a> OnLoan<'a> {
    fn new(inbox: &'a Inbox, compute: Box<ComputeLoop>) -> Self {
        Self {
            inbox,
            compute: Some(compute),
        }
    }

    fn carry_out(mut self, work: Work) {
        if let Some(compute) = &mut self.compute {
            compute.carry_out(work);
        }
    }
}

impl Drop for OnLoan<'_> {
    fn drop(&mut self) {
        let Some(compute) = self.compute.take() else {
            return;
        };
        let mut state = self.inbox.lock();
        state.put_back(compute);
        // Work that came meanwhile woke a thread that could not take the loop.
        let waits = state.stopped || !state.is_idle();
        drop(state);
        if std::thread::panicking() {
            error!("a turn panicked outside a job");
            self.inbox.stop();
        } else if waits {
            self.inbox.wake();
        }
    }
}
