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
use crate::contract::{
    BlockSpan, CacheHandle, ForwardRow, HiddenStates, Prompts, Row, SpanDescription, SpanError,
};
use crate::kernels::attention::AttentionShape;
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
    pub(super) attention: AttentionShape,
    pub(super) rotary: RotaryTable,
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
            attention: parts.attention,
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

    /// Runs rows whose caches are ready and all different.
    fn run(&mut self, sequences: &[Sequence<'_>]) {
        let Some(blocks) = union(sequences) else {
            return;
        };
        let end = sequences
            .iter()
            .map(|sequence| sequence.position + sequence.tokens)
            .max();
        self.machine.rotary.prepare(end.unwrap_or(0));
        let hidden = self.description.hidden;
        self.work.active.clear();
        for block in blocks {
            if !self.work.active.select(sequences, block) {
                continue;
            }
            for number in &self.work.active.sequences {
                add_prompt(
                    &sequences[*number],
                    block,
                    &mut self.work.stream,
                    hidden,
                    self.description.dtype,
                );
            }
            let weights = &self.weights[block - self.description.blocks.start];
            self.machine
                .run(block, weights, sequences, &mut self.caches, &mut self.work);
        }
    }

    /// Puts hidden states at the end of the residual stream, as what a boundary between two blocks can hold.
    fn enter(&mut self, values: &[f32]) {
        let start = self.work.stream.len();
        self.work.stream.extend_from_slice(values);
        round_to(self.description.dtype, &mut self.work.stream[start..]);
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
        let mut outputs: Vec<Option<Result<Vec<f32>, SpanError>>> =
            rows.iter().map(|_| None).collect();
        // One after the other if a cache occurs twice: the second row continues the first.
        while outputs.iter().any(Option::is_none) {
            let mut sequences = Vec::new();
            let mut chosen = Vec::new();
            self.work.stream.clear();
            for (number, row) in rows.iter().enumerate() {
                let is_new = chosen
                    .iter()
                    .all(|(other, _): &(usize, usize)| rows[*other].cache != row.cache);
                if outputs[number].is_some() || !is_new {
                    continue;
                }
                match self.prepare(row) {
                    Err(error) => outputs[number] = Some(Err(error)),
                    Ok(slot) => {
                        let first_row = self.work.stream.len() / self.description.hidden;
                        push_sequences(&mut sequences, row, slot, first_row);
                        self.enter(row.hidden_states.values);
                        chosen.push((number, first_row));
                    }
                }
            }
            self.run(&sequences);
            for (number, first_row) in chosen {
                let start = first_row * self.description.hidden;
                let len = rows[number].hidden_states.values.len();
                outputs[number] = Some(Ok(self.work.stream[start..start + len].to_vec()));
            }
        }
        outputs.into_iter().flatten().collect()
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
        let mut sequences = Vec::new();
        push_batch(
            &mut sequences,
            (slot, 0, 0),
            &row.blocks,
            &row.hidden_states,
            row.prompts,
        );
        self.work.stream.clear();
        self.enter(row.hidden_states.values);
        self.run(&sequences);
        self.caches.take(slot);
        Ok(self.work.stream.clone())
    }
}

/// The blocks that any of the sequences passes through.
fn union(sequences: &[Sequence<'_>]) -> Option<Range<usize>> {
    let start = sequences
        .iter()
        .map(|sequence| sequence.blocks.start)
        .min()?;
    let end = sequences.iter().map(|sequence| sequence.blocks.end).max()?;
    Some(start..end)
}

fn push_sequences<'a>(
    sequences: &mut Vec<Sequence<'a>>,
    row: &Row<'a>,
    slot: usize,
    first_row: usize,
) {
    push_batch(
        sequences,
        (slot, row.position, first_row),
        &row.blocks,
        &row.hidden_states,
        row.prompts,
    );
}

/// Adds a sequence for each batch row that has tokens.
fn push_batch<'a>(
    sequences: &mut Vec<Sequence<'a>>,
    (slot, position, first_row): (usize, usize, usize),
    blocks: &Range<usize>,
    hidden_states: &HiddenStates<'_>,
    prompts: Option<Prompts<'a>>,
) {
    let [batch, tokens, _] = hidden_states.shape;
    if tokens == 0 {
        return;
    }
    sequences.extend((0..batch).map(|batch_row| Sequence {
        slot,
        batch_row,
        blocks: blocks.clone(),
        position,
        first_row: first_row + batch_row * tokens,
        tokens,
        prompts: prompts.filter(|prompts| !prompts.values.is_empty()),
    }));
}

/// Adds a block's prompt to the first tokens of a sequence.
fn add_prompt(
    sequence: &Sequence<'_>,
    block: usize,
    stream: &mut [f32],
    hidden: usize,
    dtype: crate::dtype::SpanDType,
) {
    let Some(prompts) = &sequence.prompts else {
        return;
    };
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
    round_to(dtype, stream);
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
