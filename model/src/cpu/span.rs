//! The span contract on processors.

use std::ops::Range;

use super::batch::Sequence;
use super::block::{Machine, Workspace};
use super::cache::{Cache, Caches};
use super::kv_pool::{KvPool, KvPoolError};
use super::rotary::RotaryTable;
use super::weights::BlockWeights;
use crate::checks::{
    CacheLimits, check_blocks, check_hidden_states, check_prompts, check_row, check_some_batch,
};
use crate::config::Activation;
use crate::contract::{
    BlockSpan, CacheHandle, ForwardRow, Prompts, Row, SpanDescription, SpanError,
};
use crate::kernels::level::Level;
use crate::kernels::pool::Pool;
use crate::kernels::sinks::round_to;

/// A span computed by kernels of its own; see [`CpuSpan::load`].
///
/// A token's output is the same to the last bit however its prompt was cut into steps, whoever shares its calls,
/// however the blocks are cut into spans, and on any number of threads.
#[derive(Debug)]
pub struct CpuSpan {
    description: SpanDescription,
    machine: Machine,
    weights: Vec<BlockWeights>,
    kv_pool: KvPool,
    /// Pages of passes that keep nothing, apart from the sessions' budget.
    pass_pool: KvPool,
    caches: Caches,
    work: Workspace,
}

/// What a loaded span consists of.
pub(super) struct Parts {
    pub(super) description: SpanDescription,
    pub(super) level: Level,
    pub(super) pool: Pool,
    pub(super) weights: Vec<BlockWeights>,
    pub(super) heads: usize,
    pub(super) norm_eps: f32,
    pub(super) activation: Activation,
    /// Whether MLP and attention work on the same stream.
    pub(super) is_parallel: bool,
    pub(super) rotary: Vec<RotaryTable>,
    pub(super) kv_pool: KvPool,
}

impl CpuSpan {
    pub(super) fn new(parts: Parts) -> Self {
        let description = parts.description;
        let machine = Machine {
            level: parts.level,
            hidden: description.hidden,
            heads: parts.heads,
            kv_heads: description.kv_heads,
            head_dim: description.head_dim,
            norm_eps: parts.norm_eps,
            residual: description.dtype,
            activation: parts.activation,
            is_parallel: parts.is_parallel,
            rotary: parts.rotary,
            pool: parts.pool,
        };
        Self {
            pass_pool: KvPool::new(*parts.kv_pool.layout(), usize::MAX),
            kv_pool: parts.kv_pool,
            weights: parts.weights,
            caches: Caches::default(),
            work: Workspace::new(machine.level, machine.pool.threads()),
            machine,
            description,
        }
    }

    /// Threads that compute.
    pub fn threads(&self) -> usize {
        self.machine.pool.threads()
    }

    /// Memory of all sessions' pages in use, bytes.
    pub fn kv_bytes_in_use(&self) -> u64 {
        self.kv_pool.used_bytes() as u64
    }

    /// Checks a row and makes its cache ready to take its tokens.
    fn prepare(&mut self, row: &Row<'_>) -> Result<usize, SpanError> {
        let slot = self.caches.slot(row.cache).ok_or(SpanError::UnknownCache)?;
        let cache = self.caches.get_mut(slot);
        check_row(
            row,
            &cache.limits,
            |blocks| cache.cached(blocks),
            self.description.hidden,
        )?;
        cache.truncate(&row.blocks, row.position);
        if let Some(indices) = row.reorder {
            cache.reorder(&row.blocks, indices);
        }
        cache
            .reserve(&row.blocks, row.hidden_states.shape[1])
            .map_err(no_pages)?;
        Ok(slot)
    }

    /// Runs the sequences, whose caches are ready and all different.
    ///
    /// - `prompts(row)`: the deep prompts of the call's row, if any
    fn run<'a>(&mut self, prompts: impl Fn(usize) -> Option<Prompts<'a>>) {
        let Some(blocks) = union(&self.work.sequences) else {
            return;
        };
        let ends = self.work.sequences.iter();
        let end = ends.map(|sequence| sequence.position + sequence.tokens);
        let end = end.max().unwrap_or(0);
        for table in &mut self.machine.rotary {
            table.prepare(end);
        }
        let hidden = self.description.hidden;
        self.work.active.clear();
        for block in blocks {
            if !self.work.active.select(&self.work.sequences, block) {
                continue;
            }
            for number in &self.work.active.sequences {
                let sequence = &self.work.sequences[*number];
                if let Some(prompts) = prompts(sequence.row) {
                    let stream = &mut self.work.stream;
                    add_prompt(sequence, &prompts, block, stream, hidden);
                    let start = sequence.first_row * hidden;
                    let end = start + prompts.shape[2] * hidden;
                    round_to(
                        self.machine.level,
                        self.description.dtype,
                        &mut stream[start..end],
                    );
                }
            }
            let weights = &self.weights[block - self.description.blocks.start];
            self.machine
                .run(block, weights, &mut self.caches, &mut self.work);
        }
    }

    /// Prepares those pending rows whose caches occur for the first time among them.
    fn gather(&mut self, rows: &[Row<'_>], outputs: &mut [Result<Vec<f32>, SpanError>]) {
        self.work.stream.clear();
        self.work.sequences.clear();
        self.work.running.clear();
        for (number, row) in rows.iter().enumerate() {
            let mut running = self.work.running.iter();
            let is_taken = running.any(|(other, _)| rows[*other].cache == row.cache);
            if !self.work.pending[number] || is_taken {
                continue;
            }
            self.work.pending[number] = false;
            match self.prepare(row) {
                Err(error) => outputs[number] = Err(error),
                Ok(slot) => {
                    let first_row = self.work.stream.len() / self.description.hidden;
                    let first = Sequence {
                        row: number,
                        slot,
                        batch_row: 0,
                        blocks: row.blocks.clone(),
                        position: row.position,
                        first_row,
                        tokens: row.hidden_states.shape[1],
                    };
                    push_batch(&mut self.work.sequences, &first, row.hidden_states.shape[0]);
                    self.enter(row.hidden_states.values);
                    self.work.running.push((number, first_row));
                }
            }
        }
    }

    /// Puts hidden states at the end of the residual stream, as what a boundary between two blocks can hold.
    fn enter(&mut self, values: &[f32]) {
        let start = self.work.stream.len();
        self.work.stream.extend_from_slice(values);
        round_to(
            self.machine.level,
            self.description.dtype,
            &mut self.work.stream[start..],
        );
    }
}

impl BlockSpan for CpuSpan {
    fn description(&self) -> &SpanDescription {
        &self.description
    }

    fn open_cache(
        &mut self,
        blocks: Range<usize>,
        batch: usize,
        max_length: usize,
    ) -> Result<CacheHandle, SpanError> {
        check_blocks(&blocks, &self.description.blocks)?;
        check_some_batch(batch)?;
        let limits = CacheLimits {
            blocks,
            batch,
            max_length,
        };
        check_table_room(&limits)?;
        Ok(self.caches.open(Cache::new(&self.kv_pool, limits)))
    }

    fn close_cache(&mut self, cache: CacheHandle) {
        self.caches.close(cache);
    }

    fn step(&mut self, rows: &[Row<'_>]) -> Vec<Result<Vec<f32>, SpanError>> {
        let mut outputs: Vec<_> = rows.iter().map(|_| Ok(Vec::new())).collect();
        self.step_into(rows, &mut outputs);
        outputs
    }

    fn step_into(&mut self, rows: &[Row<'_>], outputs: &mut [Result<Vec<f32>, SpanError>]) {
        self.work.pending.clear();
        self.work.pending.resize(rows.len(), true);
        // One after the other if a cache occurs twice: the second row continues the first.
        while self.work.pending.contains(&true) {
            self.gather(rows, outputs);
            self.run(|row| rows[row].prompts);
            for (number, first_row) in &self.work.running {
                let start = first_row * self.description.hidden;
                let len = rows[*number].hidden_states.values.len();
                if let Ok(output) = &mut outputs[*number] {
                    output.extend_from_slice(&self.work.stream[start..start + len]);
                }
            }
        }
    }

    fn forward(&mut self, row: &ForwardRow<'_>) -> Result<Vec<f32>, SpanError> {
        check_blocks(&row.blocks, &self.description.blocks)?;
        check_hidden_states(&row.hidden_states, self.description.hidden)?;
        if let Some(prompts) = &row.prompts {
            check_prompts(prompts, &row.blocks, row.hidden_states.shape)?;
        }
        let [batch, seq, _] = row.hidden_states.shape;
        let limits = CacheLimits {
            blocks: row.blocks.clone(),
            batch,
            max_length: seq,
        };
        check_table_room(&limits)?;
        let mut cache = Cache::for_one_pass(&self.pass_pool, limits);
        cache.reserve(&row.blocks, seq).map_err(no_pages)?;
        let slot = self.caches.put(cache);
        let first = Sequence {
            row: 0,
            slot,
            batch_row: 0,
            blocks: row.blocks.clone(),
            position: 0,
            first_row: 0,
            tokens: seq,
        };
        self.work.sequences.clear();
        push_batch(&mut self.work.sequences, &first, batch);
        self.work.stream.clear();
        self.enter(row.hidden_states.values);
        self.run(|_| row.prompts);
        self.caches.take(slot);
        Ok(self.work.stream.clone())
    }
}

/// The blocks that any of the sequences passes through.
fn union(sequences: &[Sequence]) -> Option<Range<usize>> {
    let start = sequences
        .iter()
        .map(|sequence| sequence.blocks.start)
        .min()?;
    let end = sequences.iter().map(|sequence| sequence.blocks.end).max()?;
    Some(start..end)
}

/// Adds a sequence for each batch row, if there are tokens; `first` is that of the first one.
fn push_batch(sequences: &mut Vec<Sequence>, first: &Sequence, batch: usize) {
    if first.tokens == 0 {
        return;
    }
    sequences.extend((0..batch).map(|batch_row| Sequence {
        batch_row,
        first_row: first.first_row + batch_row * first.tokens,
        ..first.clone()
    }));
}

/// Adds a block's prompt to the first tokens of a sequence.
fn add_prompt(
    sequence: &Sequence,
    prompts: &Prompts<'_>,
    block: usize,
    stream: &mut [f32],
    hidden: usize,
) {
    let [_, batch, prefix, _] = prompts.shape;
    let row = sequence.batch_row.min(batch - 1);
    let from = ((block - sequence.blocks.start) * batch + row) * prefix * hidden;
    let start = sequence.first_row * hidden;
    let stream = &mut stream[start..start + prefix * hidden];
    let prompt = &prompts.values[from..from + prefix * hidden];
    stream
        .iter_mut()
        .zip(prompt)
        .for_each(|(value, prompt)| *value += prompt);
}

/// Refuses a cache whose tables alone would not fit into memory.
fn check_table_room(limits: &CacheLimits) -> Result<(), SpanError> {
    let tables = limits.blocks.len().checked_mul(limits.batch);
    let entries = tables.and_then(|tables| tables.checked_mul(limits.max_length));
    let bytes = entries.and_then(|entries| entries.checked_mul(size_of::<usize>()));
    match bytes {
        Some(bytes) if Vec::<u8>::new().try_reserve_exact(bytes).is_ok() => Ok(()),
        _ => Err(SpanError::OutOfMemory {
            bytes: bytes.map_or(u64::MAX, |bytes| bytes as u64),
        }),
    }
}

fn no_pages(error: KvPoolError) -> SpanError {
    match error {
        KvPoolError::Full { needed, free, .. } => SpanError::NoPages { needed, free },
        KvPoolError::OutOfMemory(_) => SpanError::OutOfMemory { bytes: 0 },
    }
}
