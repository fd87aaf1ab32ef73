use std::collections::HashSet;
use std::sync::{Mutex, mpsc};
use std::thread::{self, ThreadId};
use std::time::Instant;

use block_model::{ForwardRow, Quant, Row, SpanDType, SpanError};
use futures::FutureExt;

use super::compute_loop::MAX_PANICS_IN_A_ROW;
use super::*;
use crate::activations::Memory;
use crate::cache_budget::{CacheBudget, CacheRoom, Share};

mod groups;
mod lone_session;

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
    /// Who ran each call of `step`.
    threads: Vec<ThreadId>,
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
        let here = thread::current().id();
        self.seen.lock().unwrap().threads.push(here);
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

    /// Whether the last step ran on this thread.
    fn runs_here(&self) -> bool {
        self.seen.lock().unwrap().threads.last() == Some(&thread::current().id())
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
        memory: Memory::default(),
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
        memory: Memory::default(),
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
    // A caller that has gone leaves its place.
    drop(waiting.pop());
    let mut next = Box::pin(bench.handle.step(&lease, peer, input(0.0, 1)));
    assert!(next.as_mut().now_or_never().is_none());
    waiting.push(next);
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
