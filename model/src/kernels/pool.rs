//! Helper threads for one owner's jobs: fork, join, and nothing between jobs.
//!
//! - Owner: whoever holds the [`Pool`]; dropping it ends the helpers.
//! - A job is `tasks` calls of one closure. The caller works, too; everyone takes the next task until none is left, so
//!   a helper that the system has put aside delays nobody.
//! - Between jobs helpers spin for [`SPIN`] and then park: a step forks several times within microseconds, and an idle
//!   server must not use the processor.
//!
//! How a helper knows that a job is still there: `ticket` holds the job's number in its upper half and the next task in
//! its lower half. A task is taken by compare-and-swap, which only succeeds while its job is the present one, and a job
//! does not end before all taken tasks are done. So whoever has taken a task may look at the job.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{JoinHandle, Thread};
use std::time::{Duration, Instant};

/// How long a thread waits actively: about what it costs to wake a parked one, so at most twice the best.
const SPIN: Duration = Duration::from_micros(50);

/// Looks at the clock only so often while it spins; one look takes some 20 ns.
const SPINS_PER_LOOK: u32 = 32;

/// A task number above every job's tasks: no task can be taken.
const CLOSED: u64 = u32::MAX as u64;

type Work<'a> = &'a (dyn Fn(usize, usize) + Sync);

/// What a job's closure left behind when it panicked.
type Panic = Box<dyn Any + Send>;

/// A fixed number of threads, one of them the caller's.
#[derive(Debug)]
pub(crate) struct Pool {
    shared: Arc<Shared>,
    helpers: Vec<JoinHandle<()>>,
    /// Held during a job: there is one at a time.
    exclusive: Mutex<()>,
    /// For each thread, the next item of its stream; see [`Pool::run_streams`].
    streams: Vec<Padded>,
}

/// A counter in a cache line of its own (of two, as processors fetch them in pairs).
#[derive(Debug, Default)]
#[repr(align(128))]
struct Padded(AtomicUsize);

#[derive(Debug)]
struct Shared {
    /// Number of the job (upper 32 bits) and of its next task (lower 32 bits).
    ticket: AtomicU64,
    /// Tasks of the present job; changed only while `ticket` is closed.
    tasks: AtomicUsize,
    /// The present job; changed only while `ticket` is closed.
    job: AtomicPtr<Job<'static>>,
    /// Tasks that are done.
    done: AtomicUsize,
    /// Whether the caller sleeps until the last task is done.
    caller_parked: AtomicBool,
    caller: Mutex<Option<Thread>>,
    parked: Vec<AtomicBool>,
    stopped: AtomicBool,
}

struct Job<'a> {
    work: Work<'a>,
    panic: Mutex<Option<Panic>>,
}

impl Pool {
    /// Starts `threads - 1` helpers; at least one thread, the caller's, there always is.
    ///
    /// # Errors
    /// The operating system's, if it gives no thread.
    pub(crate) fn new(threads: usize) -> std::io::Result<Self> {
        let helpers = threads.saturating_sub(1);
        let shared = Arc::new(Shared {
            ticket: AtomicU64::new(CLOSED),
            tasks: AtomicUsize::new(0),
            job: AtomicPtr::new(std::ptr::null_mut()),
            done: AtomicUsize::new(0),
            caller_parked: AtomicBool::new(false),
            caller: Mutex::new(None),
            parked: (0..helpers).map(|_| AtomicBool::new(false)).collect(),
            stopped: AtomicBool::new(false),
        });
        let mut pool = Self {
            shared,
            helpers: Vec::with_capacity(helpers),
            exclusive: Mutex::new(()),
            streams: (0..=helpers).map(|_| Padded::default()).collect(),
        };
        for number in 0..helpers {
            let shared = Arc::clone(&pool.shared);
            let builder = std::thread::Builder::new().name(format!("compute-{}", number + 1));
            pool.helpers
                .push(builder.spawn(move || shared.work(number))?);
        }
        Ok(pool)
    }

    /// Threads that take part, with the caller's.
    pub(crate) fn threads(&self) -> usize {
        self.helpers.len() + 1
    }

    /// Calls `work(task, thread)` once for each task in `0..tasks`, with `thread` below [`Pool::threads`], no two
    /// calls of one thread at a time. Returns when all are done. May not be called from within `work`.
    ///
    /// # Panics
    /// With the panic of a task, after all others have ended.
    pub(crate) fn run(&self, tasks: usize, work: Work<'_>) {
        if tasks <= 1 || self.helpers.is_empty() {
            (0..tasks).for_each(|task| work(task, 0));
            return;
        }
        let _one_at_a_time = lock(&self.exclusive);
        self.run_alone(tasks, work);
    }

    /// Calls `work(item)` once for each item in `0..items`. Each thread begins with a run of items of its own and goes
    /// through it in order, so that what lies side by side in memory is one sequential read; who is ready early helps
    /// the others.
    ///
    /// # Panics
    /// As [`Pool::run`].
    pub(crate) fn run_streams(&self, items: usize, work: &(dyn Fn(usize) + Sync)) {
        let streams = self.threads().min(items);
        if streams <= 1 {
            (0..items).for_each(work);
            return;
        }
        let _one_at_a_time = lock(&self.exclusive);
        let start = |stream: usize| items * stream / streams;
        for (stream, next) in self.streams.iter().enumerate().take(streams) {
            next.0.store(start(stream), Ordering::Relaxed);
        }
        self.run_alone(streams, &|task, _| {
            for stream in (task..streams).chain(0..task) {
                let end = start(stream + 1);
                loop {
                    let item = self.streams[stream].0.fetch_add(1, Ordering::Relaxed);
                    if item >= end {
                        break;
                    }
                    work(item);
                }
            }
        });
    }

    /// Runs a job while no other can.
    fn run_alone(&self, tasks: usize, work: Work<'_>) {
        assert!(
            tasks < CLOSED as usize,
            "invariant: a job has far fewer tasks than a ticket can count"
        );
        let job = Job {
            work,
            panic: Mutex::new(None),
        };
        let number = self.shared.publish(&job, tasks);
        for (parked, helper) in self.shared.parked.iter().zip(&self.helpers) {
            if parked.swap(false, Ordering::SeqCst) {
                helper.thread().unpark();
            }
        }
        self.shared.take_tasks(number, 0);
        self.shared.wait_for_end(tasks);
        self.shared.close();
        if let Some(panic) = job
            .panic
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
        {
            resume_unwind(panic);
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        for helper in self.helpers.drain(..) {
            helper.thread().unpark();
            // A helper catches its tasks' panics, so it ends well.
            drop(helper.join());
        }
    }
}

impl Shared {
    /// Makes `job` the present one and returns its number.
    fn publish(&self, job: &Job<'_>, tasks: usize) -> u64 {
        let number =
            (self.ticket.load(Ordering::Relaxed) >> 32).wrapping_add(1) & u64::from(u32::MAX);
        self.job.store(
            std::ptr::from_ref(job).cast::<Job<'static>>().cast_mut(),
            Ordering::Relaxed,
        );
        self.tasks.store(tasks, Ordering::Relaxed);
        self.done.store(0, Ordering::Relaxed);
        self.ticket.store(number << 32, Ordering::SeqCst);
        number
    }

    /// Lets no more tasks be taken; the job is over.
    fn close(&self) {
        let ticket = self.ticket.load(Ordering::Relaxed);
        self.ticket.store(ticket | CLOSED, Ordering::SeqCst);
    }

    /// Takes tasks of job `number` until none is left.
    fn take_tasks(&self, number: u64, thread: usize) {
        let mut ticket = self.ticket.load(Ordering::Acquire);
        loop {
            let tasks = self.tasks.load(Ordering::Relaxed) as u64;
            let task = ticket & u64::from(u32::MAX);
            if ticket >> 32 != number || task >= tasks {
                return;
            }
            let taken = self.ticket.compare_exchange_weak(
                ticket,
                ticket + 1,
                Ordering::AcqRel,
                Ordering::Acquire,
            );
            if let Err(changed) = taken {
                ticket = changed;
                continue;
            }
            self.do_task(task as usize, thread);
            ticket = self.ticket.load(Ordering::Acquire);
        }
    }

    /// Does a task that this thread has taken.
    #[allow(unsafe_code, reason = "helpers outlive the job that they work on")]
    fn do_task(&self, task: usize, thread: usize) {
        // SAFETY: the task was taken from the present job and is not counted as done yet, so `Pool::run` is still
        // waiting and the job on its stack is alive.
        let job = unsafe { &*self.job.load(Ordering::Relaxed) };
        let outcome = catch_unwind(AssertUnwindSafe(|| (job.work)(task, thread)));
        if let Err(panic) = outcome {
            *lock(&job.panic) = Some(panic);
        }
        // From here on the job may be gone.
        self.done.fetch_add(1, Ordering::SeqCst);
        if self.caller_parked.load(Ordering::SeqCst)
            && let Some(caller) = &*lock(&self.caller)
        {
            caller.unpark();
        }
    }

    /// The caller's wait for tasks that others have taken.
    fn wait_for_end(&self, tasks: usize) {
        let is_done = || self.done.load(Ordering::SeqCst) == tasks;
        if spin_until(is_done) {
            return;
        }
        *lock(&self.caller) = Some(std::thread::current());
        self.caller_parked.store(true, Ordering::SeqCst);
        while !is_done() {
            std::thread::park();
        }
        self.caller_parked.store(false, Ordering::SeqCst);
    }

    /// A helper's life.
    fn work(&self, number: usize) {
        let mut last = self.ticket.load(Ordering::Acquire) >> 32;
        // A job may have come before this thread did; only a closed ticket is surely an old one.
        if self.ticket.load(Ordering::Acquire) & CLOSED != CLOSED {
            last = last.wrapping_sub(1);
        }
        loop {
            let present = || self.ticket.load(Ordering::SeqCst) >> 32;
            let has_work = || present() != last || self.stopped.load(Ordering::SeqCst);
            if !spin_until(has_work) {
                self.parked[number].store(true, Ordering::SeqCst);
                while !has_work() {
                    std::thread::park();
                }
                self.parked[number].store(false, Ordering::SeqCst);
            }
            if self.stopped.load(Ordering::SeqCst) {
                return;
            }
            last = present();
            self.take_tasks(last, number + 1);
        }
    }
}

/// Waits actively, for [`SPIN`] at most; says whether the condition came true.
fn spin_until(condition: impl Fn() -> bool) -> bool {
    let mut started = None;
    loop {
        for _ in 0..SPINS_PER_LOOK {
            if condition() {
                return true;
            }
            std::hint::spin_loop();
        }
        if started.get_or_insert_with(Instant::now).elapsed() > SPIN {
            return false;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
