//! The compute thread takes no memory in the steady state: turns, rows, parts and answers use what is there.
//!
//! Counted by an allocator of this binary, thread by thread. The span is a fake that takes none itself, so what is
//! counted between two of its calls is the server's: answering one turn, waiting, and preparing the next.

#![allow(clippy::unwrap_used, reason = "a test says what is wrong by failing")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::thread::{self, ThreadId};
use std::time::Duration;

use block_model::{
    BlockSpan, CacheHandle, ForwardRow, Quant, Row, SpanDType, SpanDescription, SpanError,
};
use block_network::PeerId;
use block_server::activations::Memory;
use block_server::cache_budget::{CacheBudget, CacheRoom, Share};
use block_server::compute::{Compute, StepInput};
use block_server::scheduler::LineCaps;
use futures::future::join_all;

/// The system's allocator, with a count of what each thread takes.
struct Counting;

thread_local! {
    static TAKEN: Cell<usize> = const { Cell::new(0) };
}

fn count() {
    // A thread that ends may take memory after its counter is gone; that is not counted.
    TAKEN.try_with(|taken| taken.set(taken.get() + 1)).ok();
}

#[allow(unsafe_code, reason = "an allocator cannot be written without")]
// SAFETY: every call goes on to the system's allocator with the arguments that came; counting takes no memory, as the
// counter is a plain cell without a destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract of `alloc_zeroed`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract of `realloc`, and the memory is the system's.
        unsafe { System.realloc(memory, layout, size) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`, and the memory is the system's.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const HIDDEN: usize = 64;

/// One call of the span, as it was seen on the thread that made it.
#[derive(Debug, Clone, Copy)]
struct Call {
    thread: ThreadId,
    rows: usize,
    /// Taken by that thread before the call, in all.
    taken: usize,
}

/// Adds one, without taking memory.
struct QuietSpan {
    description: SpanDescription,
    caches: u64,
    /// Has room for all calls of the test.
    calls: Arc<Mutex<Vec<Call>>>,
}

impl BlockSpan for QuietSpan {
    fn description(&self) -> &SpanDescription {
        &self.description
    }

    fn open_cache(
        &mut self,
        _: Range<usize>,
        _: usize,
        _: usize,
    ) -> Result<CacheHandle, SpanError> {
        self.caches += 1;
        Ok(CacheHandle::new(self.caches))
    }

    fn close_cache(&mut self, _: CacheHandle) {}

    fn step(&mut self, rows: &[Row<'_>]) -> Vec<Result<Vec<f32>, SpanError>> {
        let mut outputs: Vec<_> = rows.iter().map(|_| Ok(Vec::new())).collect();
        self.step_into(rows, &mut outputs);
        outputs
    }

    fn step_into(&mut self, rows: &[Row<'_>], outputs: &mut [Result<Vec<f32>, SpanError>]) {
        self.calls.lock().unwrap().push(Call {
            thread: thread::current().id(),
            rows: rows.len(),
            taken: TAKEN.get(),
        });
        for (row, output) in rows.iter().zip(outputs) {
            let values = row.hidden_states.values.iter().map(|value| value + 1.0);
            output.as_mut().unwrap().extend(values);
        }
    }

    fn forward(&mut self, row: &ForwardRow<'_>) -> Result<Vec<f32>, SpanError> {
        Ok(row.hidden_states.values.to_vec())
    }
}

fn description() -> SpanDescription {
    SpanDescription {
        blocks: 0..4,
        hidden: HIDDEN,
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
    }
}

const SESSIONS: usize = 8;
/// Turns after which nothing of the server's grows any more.
const WARM_UP: usize = 50;
const ROUNDS: usize = 400;

fn token(position: usize, seq: usize) -> StepInput {
    StepInput {
        blocks: 0..4,
        position,
        hidden_states: vec![1.0; seq * HIDDEN],
        shape: [1, seq, HIDDEN],
        prompts: None,
        reorder: None,
        memory: Memory::default(),
    }
}

/// Sessions that decode side by side, and one whose prompts pass in chunks beside them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn decode_turns_take_no_memory_on_the_compute_thread() {
    let calls = Arc::new(Mutex::new(Vec::with_capacity(100_000)));
    let span = QuietSpan {
        description: description(),
        caches: 0,
        calls: Arc::clone(&calls),
    };
    let caps = LineCaps {
        jobs: 64,
        jobs_per_peer: 8,
    };
    let compute = Compute::start(Box::new(span), caps, caps).unwrap();
    let handle = compute.handle();
    let budget = CacheBudget::new(&CacheRoom {
        tokens_per_block: 1 << 20,
        blocks: 4,
        page_tokens: 64,
        bytes_per_token: 8,
        device: "cpu".to_owned(),
        max_waiting: 8,
    });
    let sessions = (0..=SESSIONS).map(|number| {
        let (handle, budget) = (handle.clone(), budget.clone());
        tokio::spawn(async move {
            let share = Share {
                rows: 4,
                max_length: 1024,
                first_length: None,
            };
            let reservation = budget.reserve(share, Duration::ZERO).await.unwrap();
            let lease = handle.open(0..4, 1, 1024, reservation).await.unwrap();
            let peer = PeerId::random();
            let seq = if number == SESSIONS { 100 } else { 1 };
            for position in 0..ROUNDS {
                let done = handle.step(&lease, peer, token(position, seq)).await;
                assert_eq!(done.unwrap().values, vec![2.0; seq * HIDDEN]);
            }
            // Caches that close are no part of the steady state.
            lease
        })
    });
    let leases = join_all(sessions).await;
    // A session that is alone for a while runs on its own task's thread, which takes memory for its messages.
    let mut calls = calls.lock().unwrap().clone();
    let compute_thread = calls.iter().find(|call| call.rows > 1).unwrap().thread;
    calls.retain(|call| call.thread == compute_thread);
    assert!(calls.len() > ROUNDS, "{} calls", calls.len());
    let [first, last] = [calls[WARM_UP], calls[calls.len() - 1]];
    assert_eq!(
        last.taken - first.taken,
        0,
        "taken in {} turns",
        calls.len() - WARM_UP
    );
    drop(leases);
    compute.stop();
}
