use std::collections::HashSet;
use std::sync::{Mutex, mpsc};
use std::thread::{self, ThreadId};
use std::time::Instant;

use block_model::{ForwardRow, Quant, Row, SpanDType, SpanError};
use futures::FutureExt;

use super::compute_loop::MAX_PANICS_IN_A_ROW;
use super::lone_session::MIN_TURNS;
use super::*;
use crate::cache_budget::{CacheBudget, CacheRoom, Share};

/// Patience of every wait for the compute thread.
const PATIENCE: Duration = Duration::from_secs(20);

/// Input value that makes the fake span panic.
const PANIC: f32 = -1.0;

/// Two sessions have room and a third one has not.
const SHARE: Share = Share {
    rows: 4,
    max_length: 10,
    first_length: None,
};

/// What the fake span has seen.
#[derive(Debug, Default)]
struct Seen {
    open: HashSet<u64>,
    rows_of_calls: Vec<usize>,
    forwards: usize,
    /// Who ran the last call of `step`.
    thread: Option<ThreadId>,
}

/// Adds one per block; each call waits for a pass if there is a gate.
struct FakeSpan {
    description: SpanDescription,
    seen: Arc<Mutex<Seen>>,
    next: u64,
    entered: mpsc::Sender<()>,
    gate: Option<mpsc::Receiver<()>>,
}

impl FakeSpan {
    fn pass_gate(&self) {
        self.entered.send(()).ok();
        if let Some(gate) = &self.gate {
            // An error means that the test has opened the gate for good.
            gate.recv().ok();
        }
    }
}

impl BlockSpan for FakeSpan {
    fn description(&self) -> &SpanDescription {
        &self.description
    }

    fn open_cache(
        &mut self,
        _: Range<usize>,
        _: usize,
        _: usize,
    ) -> Result<CacheHandle, SpanError> {
        self.next += 1;
        self.seen.lock().unwrap().open.insert(self.next);
        Ok(CacheHandle::new(self.next))
    }

    fn close_cache(&mut self, cache: CacheHandle) {
        self.seen.lock().unwrap().open.remove(&cache.number());
    }

    fn step(&mut self, rows: &[Row<'_>]) -> Vec<Result<Vec<f32>, SpanError>> {
        self.seen.lock().unwrap().thread = Some(thread::current().id());
        self.pass_gate();
        self.seen.lock().unwrap().rows_of_calls.push(rows.len());
        rows.iter()
            .map(|row| {
                assert!(self.seen.lock().unwrap().open.contains(&row.cache.number()));
                assert_ne!(
                    row.hidden_states.values.first(),
                    Some(&PANIC),
                    "as the test wants it"
                );
                Ok(row
                    .hidden_states
                    .values
                    .iter()
                    .map(|value| value + 1.0)
                    .collect())
            })
            .collect()
    }

    fn forward(&mut self, row: &ForwardRow<'_>) -> Result<Vec<f32>, SpanError> {
        self.pass_gate();
        self.seen.lock().unwrap().forwards += 1;
        let blocks = row.blocks.len() as f32;
        Ok(row
            .hidden_states
            .values
            .iter()
            .map(|value| value + blocks)
            .collect())
    }
}

struct Bench {
    compute: Compute,
    handle: ComputeHandle,
    budget: CacheBudget,
    seen: Arc<Mutex<Seen>>,
    entered: mpsc::Receiver<()>,
    passes: Option<mpsc::Sender<()>>,
}

fn bench(gated: bool) -> Bench {
    let (entered_sender, entered) = mpsc::channel();
    let (pass_sender, passes) = mpsc::channel();
    let seen = Arc::new(Mutex::new(Seen::default()));
    let span = FakeSpan {
        description: SpanDescription {
            blocks: 0..4,
            hidden: 1,
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
            kv_page_tokens: 64,
        },
        seen: Arc::clone(&seen),
        next: 0,
        entered: entered_sender,
        gate: gated.then_some(passes),
    };
    let caps = LineCaps {
        jobs: 8,
        jobs_per_peer: 4,
    };
    let compute = Compute::start(Box::new(span), caps, caps).unwrap();
    let handle = compute.handle();
    Bench {
        compute,
        handle,
        budget: CacheBudget::new(&CacheRoom {
            tokens_per_block: 100,
            blocks: 1,
            page_tokens: 1,
            bytes_per_token: 8,
            device: "cpu".to_owned(),
            max_waiting: 8,
        }),
        seen,
        entered,
        passes: Some(pass_sender),
    }
}

impl Bench {
    async fn lease(&self) -> Lease {
        let reservation = self.budget.reserve(SHARE, Duration::ZERO).await.unwrap();
        self.handle.open(0..4, 1, 10, reservation).await.unwrap()
    }

    /// Waits until the span is inside a call.
    fn wait_inside(&self) {
        self.entered.recv_timeout(PATIENCE).unwrap();
    }

    /// Steps of one session until the next of its steps runs where it arrives, each within the time for that.
    async fn become_alone(&self, lease: &Lease, peer: PeerId) {
        let started = Instant::now();
        while !self.runs_here() {
            assert!(started.elapsed() < PATIENCE, "no step ran here");
            self.handle.step(lease, peer, input(1.0, 1)).await.unwrap();
        }
    }

    /// Whether the last step ran on this thread.
    fn runs_here(&self) -> bool {
        self.seen.lock().unwrap().thread == Some(thread::current().id())
    }

    fn pass(&self) {
        self.passes.as_ref().unwrap().send(()).unwrap();
    }
}

fn input(value: f32, seq: usize) -> StepInput {
    StepInput {
        blocks: 0..4,
        position: 0,
        hidden_states: vec![value; seq],
        shape: [1, seq, 1],
        prompts: None,
        reorder: None,
    }
}

async fn eventually(condition: impl Fn() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(
            started.elapsed() < PATIENCE,
            "the condition never came true"
        );
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_long_step_comes_back_whole() {
    let bench = bench(false);
    let lease = bench.lease().await;
    let done = bench
        .handle
        .step(&lease, PeerId::random(), input(1.0, 1300))
        .await
        .unwrap();
    assert_eq!(done.values, vec![2.0; 1300]);
    assert_eq!(bench.seen.lock().unwrap().rows_of_calls, [1, 1, 1]);
}

#[tokio::test]
async fn steps_that_wait_share_one_call() {
    let bench = bench(true);
    let (first, second) = (bench.lease().await, bench.lease().await);
    let peer = PeerId::random();
    let mut blocker = Box::pin(bench.handle.step(&first, peer, input(0.0, 1)));
    assert!(blocker.as_mut().now_or_never().is_none());
    bench.wait_inside();
    let mut one = Box::pin(bench.handle.step(&first, peer, input(1.0, 1)));
    let mut two = Box::pin(bench.handle.step(&second, peer, input(2.0, 1)));
    assert!(one.as_mut().now_or_never().is_none());
    assert!(two.as_mut().now_or_never().is_none());
    assert_eq!(bench.handle.queued(), (2, 0));
    bench.pass();
    bench.pass();
    blocker.await.unwrap();
    assert_eq!(one.await.unwrap().values, [2.0]);
    assert_eq!(two.await.unwrap().values, [3.0]);
    assert_eq!(bench.seen.lock().unwrap().rows_of_calls, [1, 2]);
}

#[tokio::test]
async fn a_cache_in_use_is_closed_after_the_step_and_its_bytes_return_then() {
    let bench = bench(true);
    let lease = bench.lease().await;
    let mut step = Box::pin(bench.handle.step(&lease, PeerId::random(), input(0.0, 1)));
    assert!(step.as_mut().now_or_never().is_none());
    bench.wait_inside();
    drop(step);
    drop(lease);
    assert_eq!(bench.budget.free_tokens(), 60);
    assert_eq!(bench.seen.lock().unwrap().open.len(), 1);
    bench.pass();
    eventually(|| bench.budget.free_tokens() == 100).await;
    assert!(bench.seen.lock().unwrap().open.is_empty());
}

#[tokio::test]
async fn a_vanished_caller_is_skipped() {
    let mut bench = bench(true);
    let lease = bench.lease().await;
    let peer = PeerId::random();
    let mut blocker = Box::pin(bench.handle.step(&lease, peer, input(0.0, 1)));
    assert!(blocker.as_mut().now_or_never().is_none());
    bench.wait_inside();
    let mut gone = Box::pin(bench.handle.step(&lease, peer, input(1.0, 1)));
    assert!(gone.as_mut().now_or_never().is_none());
    drop(gone);
    bench.passes = None;
    blocker.await.unwrap();
    bench
        .handle
        .step(&lease, peer, input(2.0, 1))
        .await
        .unwrap();
    assert_eq!(bench.seen.lock().unwrap().rows_of_calls, [1, 1]);
}

#[tokio::test]
async fn an_opening_that_nobody_waits_for_leaks_nothing() {
    let bench = bench(true);
    let lease = bench.lease().await;
    let mut blocker = Box::pin(bench.handle.step(&lease, PeerId::random(), input(0.0, 1)));
    assert!(blocker.as_mut().now_or_never().is_none());
    bench.wait_inside();
    let reservation = bench.budget.reserve(SHARE, Duration::ZERO).await.unwrap();
    let mut opening = Box::pin(bench.handle.open(0..4, 1, 10, reservation));
    assert!(opening.as_mut().now_or_never().is_none());
    drop(opening);
    bench.pass();
    blocker.await.unwrap();
    eventually(|| bench.budget.free_tokens() == 60).await;
    assert_eq!(bench.seen.lock().unwrap().open.len(), 1);
}

#[tokio::test]
async fn a_panic_is_answered_and_the_thread_goes_on_until_it_repeats() {
    let bench = bench(false);
    let lease = bench.lease().await;
    let peer = PeerId::random();
    for number in 1..=MAX_PANICS_IN_A_ROW {
        let failed = bench.handle.step(&lease, peer, input(PANIC, 1)).await;
        assert!(matches!(failed, Err(RequestError::Internal(_))));
        assert_eq!(bench.handle.healthy(), number < MAX_PANICS_IN_A_ROW);
    }
    let works = bench
        .handle
        .step(&lease, peer, input(1.0, 1))
        .await
        .unwrap();
    assert_eq!(works.values, [2.0]);
}

#[tokio::test]
async fn forwards_run_slice_by_slice_between_steps() {
    let bench = bench(false);
    let forward = ForwardInput {
        blocks: 1..4,
        hidden_states: vec![1.0; 600],
        shape: [2, 300, 1],
        prompts: None,
    };
    let done = bench
        .handle
        .forward(PeerId::random(), forward)
        .await
        .unwrap();
    assert_eq!(done.values, vec![4.0; 600]);
    assert_eq!(bench.seen.lock().unwrap().forwards, 6);
}

#[tokio::test]
async fn a_full_line_and_a_stopped_thread_refuse() {
    let mut bench = bench(true);
    let lease = bench.lease().await;
    let peer = PeerId::random();
    let mut blocker = Box::pin(bench.handle.step(&lease, peer, input(0.0, 1)));
    assert!(blocker.as_mut().now_or_never().is_none());
    bench.wait_inside();
    let mut waiting: Vec<_> = (0..4)
        .map(|_| Box::pin(bench.handle.step(&lease, peer, input(0.0, 1))))
        .collect();
    for step in &mut waiting {
        assert!(step.as_mut().now_or_never().is_none());
    }
    let refused = bench.handle.step(&lease, peer, input(0.0, 1)).await;
    assert!(matches!(refused, Err(RequestError::Overloaded { .. })));
    bench.passes = None;
    let compute = bench.compute;
    tokio::task::spawn_blocking(move || compute.stop())
        .await
        .unwrap();
    for step in waiting {
        let ended = step.await;
        assert!(matches!(ended, Ok(_) | Err(RequestError::Draining)));
    }
    blocker.await.unwrap();
    let refused = bench.handle.step(&lease, peer, input(0.0, 1)).await;
    assert_eq!(refused.unwrap_err(), RequestError::Draining);
    drop(lease);
    assert_eq!(bench.budget.free_tokens(), 100);
}

#[tokio::test]
async fn the_steps_of_a_session_alone_run_where_they_arrive_until_another_comes() {
    let bench = bench(false);
    let (one, two) = (bench.lease().await, bench.lease().await);
    let peer = PeerId::random();
    bench.become_alone(&one, peer).await;
    assert!(bench.seen.lock().unwrap().rows_of_calls.len() > MIN_TURNS as usize);
    bench.handle.step(&two, peer, input(1.0, 1)).await.unwrap();
    assert!(!bench.runs_here());
    bench.handle.step(&one, peer, input(1.0, 1)).await.unwrap();
    assert!(!bench.runs_here());
    bench.become_alone(&one, peer).await;
    // A prompt may take long.
    bench.handle.step(&one, peer, input(1.0, 17)).await.unwrap();
    assert!(!bench.runs_here());
}

#[tokio::test]
async fn a_panic_where_a_step_arrived_is_answered_too() {
    let bench = bench(false);
    let lease = bench.lease().await;
    let peer = PeerId::random();
    bench.become_alone(&lease, peer).await;
    let failed = bench.handle.step(&lease, peer, input(PANIC, 1)).await;
    assert!(matches!(failed, Err(RequestError::Internal(_))));
    assert!(bench.runs_here());
    let works = bench.handle.step(&lease, peer, input(1.0, 1)).await;
    assert_eq!(works.unwrap().values, [2.0]);
}

/// A step that runs where it arrived, stuck in the span until the gate opens, beside the bench's own thread.
fn stuck_step(bench: &Bench, lease: Lease, peer: PeerId) -> thread::JoinHandle<Lease> {
    let handle = bench.handle.clone();
    let stuck = thread::spawn(move || {
        let done = handle.step(&lease, peer, input(1.0, 1)).now_or_never();
        // It is done at once: nobody else ran it.
        assert_eq!(done.unwrap().unwrap().values, [2.0]);
        lease
    });
    bench.wait_inside();
    stuck
}

/// A gated bench whose next short step of the lease runs where it arrives.
async fn bench_alone() -> (Bench, Lease, PeerId) {
    let bench = bench(true);
    let lease = bench.lease().await;
    let peer = PeerId::random();
    let started = Instant::now();
    while !bench.runs_here() {
        assert!(started.elapsed() < PATIENCE, "no step ran here");
        bench.pass();
        let step = bench.handle.step(&lease, peer, input(1.0, 1));
        step.await.unwrap();
        bench.wait_inside();
    }
    (bench, lease, peer)
}

#[tokio::test]
async fn work_that_comes_while_a_step_runs_where_it_arrived_follows_it() {
    let (bench, lease, peer) = bench_alone().await;
    let other = bench.lease().await;
    let started = Instant::now();
    // Opening a cache is work, too: the lone session shows itself again.
    while !bench.runs_here() {
        assert!(started.elapsed() < PATIENCE, "no step ran here");
        bench.pass();
        let step = bench.handle.step(&lease, peer, input(1.0, 1));
        step.await.unwrap();
        bench.wait_inside();
    }
    let stuck = stuck_step(&bench, lease, peer);
    let mut waiting = Box::pin(bench.handle.step(&other, peer, input(2.0, 1)));
    assert!(waiting.as_mut().now_or_never().is_none());
    assert_eq!(bench.handle.queued(), (1, 0));
    bench.pass();
    bench.pass();
    assert_eq!(waiting.await.unwrap().values, [3.0]);
    drop(stuck.join().unwrap());
    eventually(|| bench.budget.free_tokens() == 60).await;
}

#[tokio::test]
async fn the_thread_does_not_end_before_a_step_that_runs_where_it_arrived() {
    let (bench, lease, peer) = bench_alone().await;
    let stuck = stuck_step(&bench, lease, peer);
    let compute = bench.compute;
    let (said, stopped) = mpsc::channel();
    let stopping = thread::spawn(move || {
        compute.stop();
        said.send(()).unwrap();
    });
    eventually(|| !bench.handle.healthy()).await;
    assert!(stopped.try_recv().is_err());
    bench.passes.as_ref().unwrap().send(()).unwrap();
    stopped.recv_timeout(PATIENCE).unwrap();
    stopping.join().unwrap();
    drop(stuck.join().unwrap());
}
