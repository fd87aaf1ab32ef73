//! What this server will hold: blocks, dtype, prefix, sizes. Pure.
//!
//! ```text
//! memory = blocks × (weights of a block + KV cache of a block) + reserve
//! blocks = (memory − reserve) / (weights + KV cache of the largest block), at most all     for --blocks auto
//! ```
//!
//! A [`Draft`] knows how many blocks; where they begin may follow from the swarm, and then it is a [`Plan`].
//!
//! Source of the count: Petals main, `server/server.py`, which reserves the same for its backward pass.

pub(crate) mod command;
mod fit;
mod report;

use std::ops::Range;

use block_model::{CpuOptions, KvDType, ModelConfig, Quant, SpanDType, StoredWeights};
use block_program::Failure;
use block_protocol::{Compression, DType};

use crate::block_choice::{Holding, block_throughputs, weakest_start};
use crate::cli::Blocks;
use crate::config::Config;
pub(crate) use fit::Memory;

/// Everything that follows from the configuration and the model's own description.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Plan {
    /// Served blocks, half open.
    pub(crate) blocks: Range<usize>,
    /// Blocks of the whole model.
    pub(crate) num_blocks: usize,
    /// Type of the hidden states between blocks.
    pub(crate) dtype: SpanDType,
    /// Format of the weights.
    pub(crate) quant: Quant,
    /// Format of keys and values.
    pub(crate) kv_dtype: KvDType,
    /// Threads that compute.
    pub(crate) threads: usize,
    /// Key prefix in the DHT.
    pub(crate) prefix: String,
    /// Whether the prefix was derived from the model's name.
    pub(crate) prefix_is_derived: bool,
    /// KV cache, tokens for each block.
    pub(crate) attn_cache_tokens: usize,
    /// Longest session, tokens.
    pub(crate) inference_max_length: usize,
    /// Most tokens of one request.
    pub(crate) max_batch_tokens: usize,
    /// Memory of each of the model's blocks as held, estimated from the configuration.
    pub(crate) block_bytes: Vec<u64>,
    /// That of the largest.
    pub(crate) largest_block_bytes: u64,
    /// Memory of one block's KV cache when it is full.
    pub(crate) block_cache_bytes: u64,
    /// Memory of one token's keys and values in one block, pages rounded up.
    pub(crate) kv_token_bytes: u64,
    /// Memory that steps take besides.
    pub(crate) reserve_bytes: u64,
}

/// A plan whose place in the model may still be open.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Draft {
    /// At the beginning of the model if its place is open.
    plan: Plan,
    is_open: bool,
}

impl Draft {
    /// Resolves what the operator left open, as far as it can be known without the swarm.
    ///
    /// `stored` is how the weights are stored by their own files, which beats what the configuration says.
    ///
    /// # Errors
    /// Blocks outside the model, no default prefix, or a compression that the dtype rules out (exit 2); blocks that
    /// do not fit in `memory`, or none of them (69).
    pub(crate) fn new(
        config: &Config,
        model: &ModelConfig,
        stored: &StoredWeights,
        memory: Memory,
    ) -> Result<Self, Failure> {
        let asked = &config.model.blocks;
        let (prefix, prefix_is_derived) = match &config.dht_prefix {
            Some(prefix) => (prefix.clone(), false),
            None => (config.model.model_name().dht_prefix(model.family)?, true),
        };
        let is_grouped = model.kv_heads < model.heads;
        let either = |given: Option<u64>, grouped: u64, plain: u64| {
            let tokens = given.unwrap_or(if is_grouped { grouped } else { plain });
            usize::try_from(tokens).unwrap_or(usize::MAX)
        };
        let limits = &config.limits;
        let dtype = config
            .model
            .dtype
            .unwrap_or_else(|| automatic_dtype(model.dtype));
        check_compression(config.compression, dtype)?;
        let mut plan = Plan {
            blocks: resolve_blocks(asked, model.num_blocks)?,
            num_blocks: model.num_blocks,
            dtype,
            quant: config.model.quant,
            kv_dtype: config
                .model
                .kv_dtype
                .unwrap_or_else(|| KvDType::of_span(dtype)),
            threads: config.threads.unwrap_or_else(num_cpus::get_physical),
            prefix,
            prefix_is_derived,
            attn_cache_tokens: either(
                limits.attn_cache_tokens,
                GROUPED_CACHE_TOKENS,
                PLAIN_CACHE_TOKENS,
            ),
            inference_max_length: either(limits.inference_max_length, GROUPED_LENGTH, PLAIN_LENGTH),
            max_batch_tokens: either(limits.max_batch_size, GROUPED_LENGTH, PLAIN_LENGTH),
            block_bytes: Vec::new(),
            largest_block_bytes: 0,
            block_cache_bytes: 0,
            kv_token_bytes: 0,
            reserve_bytes: 0,
        };
        plan.measure(model, stored);
        if *asked == Blocks::Auto {
            plan.blocks = 0..plan.fitting_blocks(memory)?;
        } else {
            plan.check_memory(memory)?;
        }
        let is_open =
            matches!(asked, Blocks::Auto | Blocks::Count(_)) && plan.blocks.len() < plan.num_blocks;
        Ok(Self { plan, is_open })
    }

    /// The plan, unless its place is open.
    pub(crate) fn fixed(&self) -> Option<&Plan> {
        (!self.is_open).then_some(&self.plan)
    }

    /// Whether the swarm decides where the blocks begin.
    pub(crate) const fn is_open(&self) -> bool {
        self.is_open
    }

    /// Key prefix in the DHT and blocks of the whole model: where the other servers are found.
    pub(crate) fn keys(&self) -> (&str, usize) {
        (&self.plan.prefix, self.plan.num_blocks)
    }

    /// The plan beside `others`: where they are weakest, if its place is open.
    pub(crate) fn placed(&self, others: &[Holding]) -> Plan {
        if !self.is_open {
            return self.plan.clone();
        }
        let throughputs = block_throughputs(others, self.plan.num_blocks);
        self.begun_at(weakest_start(&throughputs, self.plan.blocks.len()))
    }

    /// The plan from block `start` on; its blocks must lie in the model.
    pub(crate) fn begun_at(&self, start: usize) -> Plan {
        Plan {
            blocks: start..start + self.plan.blocks.len(),
            ..self.plan.clone()
        }
    }
}

impl Plan {
    /// Memory of the weights as held.
    pub(crate) fn weight_bytes(&self) -> u64 {
        let blocks = self.block_bytes.get(self.blocks.clone());
        let blocks = blocks.unwrap_or_default().iter();
        blocks.fold(0, |sum, bytes| sum.saturating_add(*bytes))
    }

    /// Memory of the KV cache when it is full.
    pub(crate) fn cache_bytes(&self) -> u64 {
        self.block_cache_bytes
            .saturating_mul(self.blocks.len() as u64)
    }

    /// How the engine is to hold the blocks. Its own budget is the admission's, so it is never met.
    pub(crate) fn engine(&self) -> CpuOptions {
        CpuOptions {
            kv_budget_bytes: self.cache_bytes(),
            ..self.formats()
        }
    }

    fn formats(&self) -> CpuOptions {
        CpuOptions {
            quant: self.quant,
            kv_dtype: Some(self.kv_dtype),
            threads: Some(self.threads),
            ..CpuOptions::new(self.dtype)
        }
    }

    /// The type of the hidden states in answers: the residual stream's own.
    pub(crate) const fn schema_dtype(&self) -> DType {
        wire_dtype(self.dtype)
    }
}

const fn wire_dtype(dtype: SpanDType) -> DType {
    match dtype {
        SpanDType::F32 => DType::F32,
        SpanDType::BF16 => DType::BF16,
        SpanDType::F16 => DType::F16,
    }
}

fn check_compression(compression: Compression, dtype: SpanDType) -> Result<(), Failure> {
    if compression.packs(wire_dtype(dtype)) {
        return Ok(());
    }
    // The schema is read by clients of the reference, too.
    let fits = |codec: &Compression| codec.in_reference() && codec.packs(wire_dtype(dtype));
    let fitting: Vec<_> = Compression::ALL.into_iter().filter(fits).collect();
    let fitting: Vec<_> = fitting.into_iter().map(Compression::name).collect();
    let fitting = fitting.join(", ");
    let (compression, dtype) = (compression.name(), dtype.name());
    Err(
        Failure::usage(format!("--compression {compression} does not pack {dtype}"))
            .hint(format!("{fitting}; or --dtype f32")),
    )
}

fn resolve_blocks(asked: &Blocks, num_blocks: usize) -> Result<Range<usize>, Failure> {
    let range = match asked {
        Blocks::All => 0..num_blocks,
        // Petals caps a count at the model's depth, but a range is meant literally.
        Blocks::Count(count) => 0..(*count).min(num_blocks),
        // One block at least; how many more is a question of memory.
        Blocks::Auto => 0..1,
        Blocks::Range(range) => range.clone(),
    };
    if range.end <= num_blocks {
        return Ok(range);
    }
    Err(
        Failure::usage(format!("--blocks {asked} does not fit the model"))
            .cause(format!(
                "the model has {num_blocks} blocks, 0:{num_blocks} is all of them"
            ))
            .hint("--blocks all"),
    )
}

/// Petals' rule: the checkpoint's own, but float32 or nothing means bfloat16.
fn automatic_dtype(checkpoint: Option<SpanDType>) -> SpanDType {
    match checkpoint {
        Some(dtype @ (SpanDType::BF16 | SpanDType::F16)) => dtype,
        Some(SpanDType::F32) | None => SpanDType::BF16,
    }
}

/// Petals' defaults for models with grouped keys and values, tokens.
const GROUPED_CACHE_TOKENS: u64 = 16384;
const GROUPED_LENGTH: u64 = 8192;
/// Petals' defaults for other models, tokens.
const PLAIN_CACHE_TOKENS: u64 = 4096;
const PLAIN_LENGTH: u64 = 2048;

#[cfg(test)]
mod tests;
