//! A server's compute thread and the sessions that use it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use block_model::BlockSpan;
use block_network::PeerId;
use block_server::activations::Memory;
use block_server::cache_budget::{CacheBudget, CacheRoom, Share};
use block_server::compute::{Compute, ComputeHandle, StepInput};
use block_server::lease::Lease;
use block_server::scheduler::LineCaps;
use tokio::runtime::{Builder, Runtime};

use crate::models;
use crate::spread::percentile;
use crate::timed_span::{CountingSpan, Counts};

/// Tokens in the cache of every session before it works.
const CONTEXT: usize = 128;

/// Steps after which a session goes back to its context, so that no round has a longer text than another.
const ROOM: usize = 64;

/// The prompt that arrives.
const PROMPT: usize = 2000;

/// Jobs in the server's line: one for each session, with room.
const LINE: LineCaps = LineCaps {
    jobs: 128,
    jobs_per_peer: 128,
};

pub(super) struct Crew {
    runtime: Runtime,
    compute: Compute,
    counts: Arc<Counts>,
    sessions: Vec<Arc<Session>>,
    reader: Arc<Session>,
}

/// One session, as its server's handler has it; each belongs to a peer of its own.
struct Session {
    compute: ComputeHandle,
    lease: Lease,
    peer: PeerId,
}

/// What a crowd has done.
#[derive(Debug)]
pub(super) struct Work {
    /// Seconds of every step.
    steps: Vec<f64>,
    /// From the first step's begin to the last one's end.
    took: Duration,
    /// Rows in one call of the span, on average.
    pub(super) rows_per_call: f64,
}

impl Work {
    pub(super) fn tokens_per_second(&self) -> f64 {
        self.steps.len() as f64 / self.took.as_secs_f64()
    }

    /// Seconds of a step that 95 of 100 do not pass.
    pub(super) fn p95(&self) -> f64 {
        percentile(&mut self.steps.clone(), 0.95)
    }
}

impl Crew {
    /// Opens and fills `sessions` sessions, and one for prompts.
    pub(super) fn start(span: Box<dyn BlockSpan>, sessions: usize) -> Result<Self> {
        let counts = Arc::new(Counts::default());
        let description = span.description().clone();
        let counting = CountingSpan {
            span,
            counts: Arc::clone(&counts),
        };
        let compute = Compute::start(Box::new(counting), LINE, LINE)?;
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let rows = description.blocks.len() as u64;
        let budget = CacheBudget::new(&CacheRoom {
            // Each session's length may end within a page.
            tokens_per_block: (sessions * (CONTEXT + ROOM + description.kv_page_tokens)
                + PROMPT
                + description.kv_page_tokens) as u64,
            blocks: rows,
            page_tokens: description.kv_page_tokens as u64,
            bytes_per_token: description.kv_bytes_per_token_per_block as u64,
            device: description.device.clone(),
            max_waiting: sessions,
        });
        let handle = compute.handle();
        let open = async |max_length: usize| -> Result<Arc<Session>> {
            let reserved = budget
                .reserve(
                    Share {
                        rows,
                        max_length: max_length as u64,
                        first_length: None,
                    },
                    Duration::ZERO,
                )
                .await?;
            let lease = handle
                .open(description.blocks.clone(), 1, max_length, reserved)
                .await?;
            Ok(Arc::new(Session {
                compute: handle.clone(),
                lease,
                peer: PeerId::random(),
            }))
        };
        let (sessions, reader) = runtime.block_on(async {
            let mut opened = Vec::with_capacity(sessions);
            for _ in 0..sessions {
                let session = open(CONTEXT + ROOM).await?;
                session.step(0, CONTEXT).await?;
                opened.push(session);
            }
            anyhow::Ok((opened, open(PROMPT).await?))
        })?;
        Ok(Self {
            runtime,
            compute,
            counts,
            sessions,
            reader,
        })
    }

    /// Lets the first `sessions` sessions run `steps` steps each.
    pub(super) fn work(&self, sessions: usize, steps: usize) -> Result<Work> {
        self.runtime
            .block_on(self.run(sessions, Until::Steps(steps)))
    }

    /// Seconds do not matter here: the caller takes them.
    pub(super) fn prompt_alone(&self) -> Result<()> {
        self.runtime.block_on(self.reader.step(0, PROMPT))
    }

    /// Lets the first `sessions` sessions run for as long as a prompt takes that arrives after them; gives its seconds,
    /// too.
    pub(super) fn work_beside_prompt(&self, sessions: usize) -> Result<(Work, f64)> {
        let is_over = Arc::new(AtomicBool::new(false));
        let prompt = async {
            let started = Instant::now();
            let outcome = self.reader.step(0, PROMPT).await;
            is_over.store(true, Ordering::Relaxed);
            outcome.map(|()| started.elapsed().as_secs_f64())
        };
        let work = self.run(sessions, Until::Over(Arc::clone(&is_over)));
        let (work, seconds) = self.runtime.block_on(async { tokio::join!(work, prompt) });
        Ok((work?, seconds?))
    }

    async fn run(&self, sessions: usize, until: Until) -> Result<Work> {
        let before = self.counts.now();
        let started = Instant::now();
        let tasks: Vec<_> = self
            .sessions
            .iter()
            .take(sessions)
            .map(|session| tokio::spawn(Arc::clone(session).work(until.clone())))
            .collect();
        let mut steps = Vec::new();
        for task in tasks {
            steps.extend(task.await??);
        }
        Ok(Work {
            steps,
            took: started.elapsed(),
            rows_per_call: self.counts.now().rows_per_call(before),
        })
    }

    /// Ends the thread.
    pub(super) fn end(self) {
        drop((self.sessions, self.reader));
        self.compute.stop();
    }
}

/// How long a session works.
#[derive(Clone, Debug)]
enum Until {
    Steps(usize),
    Over(Arc<AtomicBool>),
}

impl Until {
    fn is_reached(&self, steps: usize) -> bool {
        match self {
            Self::Steps(most) => steps >= *most,
            Self::Over(is_over) => is_over.load(Ordering::Relaxed),
        }
    }
}

impl Session {
    /// Seconds of each step.
    async fn work(self: Arc<Self>, until: Until) -> Result<Vec<f64>> {
        let mut steps = Vec::new();
        while !until.is_reached(steps.len()) {
            let started = Instant::now();
            self.step(CONTEXT + steps.len() % ROOM, 1).await?;
            steps.push(started.elapsed().as_secs_f64());
        }
        Ok(steps)
    }

    async fn step(&self, position: usize, tokens: usize) -> Result<()> {
        let description = self.compute.description();
        let input = StepInput {
            blocks: description.blocks.clone(),
            position,
            hidden_states: models::hidden_states_bf16(tokens, description.hidden),
            shape: [1, tokens, description.hidden],
            prompts: None,
            reorder: None,
            memory: Memory::default(),
        };
        std::hint::black_box(self.compute.step(&self.lease, self.peer, input).await?);
        Ok(())
    }
}
