//! What this server will hold: blocks, dtype, prefix, sizes. Pure.

use std::ops::Range;

use block_model::{CpuOptions, KvDType, ModelConfig, Quant, SpanDType};
use block_program::{Exit, Failure, amounts::bytes};
use block_protocol::{Compression, DType};

use crate::cli::Blocks;
use crate::config::Config;

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
    /// Memory of the weights as held, estimated from the configuration.
    pub(crate) weight_bytes: u64,
    /// Memory of the KV cache when it is full.
    pub(crate) cache_bytes: u64,
}

impl Plan {
    /// Resolves what the operator left open.
    ///
    /// # Errors
    /// Blocks outside the model, no default prefix, or a compression that the dtype rules out (exit 2).
    pub(crate) fn new(config: &Config, model: &ModelConfig) -> Result<Self, Failure> {
        let blocks = resolve_blocks(&config.model.blocks, model.num_blocks)?;
        let (prefix, prefix_is_derived) = match &config.dht_prefix {
            Some(prefix) => (prefix.clone(), false),
            None => (config.model.model_name().dht_prefix(model.family)?, true),
        };
        let is_grouped = model.kv_heads < model.heads;
        let either = |given: Option<u64>, grouped: u64, plain: u64| {
            let tokens = given.unwrap_or(if is_grouped { grouped } else { plain });
            usize::try_from(tokens).unwrap_or(usize::MAX)
        };
        let attn_cache_tokens = either(
            config.limits.attn_cache_tokens,
            GROUPED_CACHE_TOKENS,
            PLAIN_CACHE_TOKENS,
        );
        let dtype = config
            .model
            .dtype
            .unwrap_or_else(|| automatic_dtype(model.dtype));
        check_compression(config.compression, dtype)?;
        let kv_dtype = config
            .model
            .kv_dtype
            .unwrap_or_else(|| KvDType::of_span(dtype));
        let quant = config.model.quant;
        let memory = CpuOptions {
            quant,
            kv_dtype: Some(kv_dtype),
            ..CpuOptions::new(dtype)
        }
        .memory(model);
        let count = blocks.len() as u64;
        let cache_tokens = attn_cache_tokens as u64;
        // The cache is given out in whole pages.
        let cache_tokens = cache_tokens
            .div_ceil(memory.kv_page_tokens as u64)
            .saturating_mul(memory.kv_page_tokens as u64);
        Ok(Self {
            num_blocks: model.num_blocks,
            dtype,
            quant,
            kv_dtype,
            threads: config.threads.unwrap_or_else(num_cpus::get_physical),
            prefix,
            prefix_is_derived,
            attn_cache_tokens,
            inference_max_length: either(
                config.limits.inference_max_length,
                GROUPED_LENGTH,
                PLAIN_LENGTH,
            ),
            max_batch_tokens: either(config.limits.max_batch_size, GROUPED_LENGTH, PLAIN_LENGTH),
            weight_bytes: memory.block_bytes.saturating_mul(count),
            cache_bytes: (memory.kv_bytes_per_token as u64)
                .saturating_mul(cache_tokens)
                .saturating_mul(count),
            blocks,
        })
    }

    /// How the engine is to hold the blocks. Its own budget is the admission's, so it is never met.
    pub(crate) fn engine(&self) -> CpuOptions {
        CpuOptions {
            quant: self.quant,
            kv_dtype: Some(self.kv_dtype),
            threads: Some(self.threads),
            kv_budget_bytes: self.cache_bytes,
            ..CpuOptions::new(self.dtype)
        }
    }

    /// The type of the hidden states in answers: the residual stream's own.
    pub(crate) const fn schema_dtype(&self) -> DType {
        wire_dtype(self.dtype)
    }

    /// Refuses a plan that the machine's memory cannot hold; `available` in bytes.
    ///
    /// # Errors
    /// Exit 69, with the number of blocks and the cache that would fit.
    pub(crate) fn check_memory(&self, available: u64) -> Result<(), Failure> {
        let needed = self.weight_bytes.saturating_add(self.cache_bytes);
        if needed <= available {
            return Ok(());
        }
        let count = self.blocks.len() as u64;
        let fitting_blocks = available / (needed / count).max(1);
        let cache_per_token = (self.cache_bytes / self.attn_cache_tokens.max(1) as u64).max(1);
        let fitting_tokens = available.saturating_sub(self.weight_bytes) / cache_per_token;
        let mut levers = Vec::new();
        if fitting_blocks > 0 {
            let end = self.blocks.start as u64 + fitting_blocks;
            levers.push(format!("--blocks {}:{end}", self.blocks.start));
        }
        if fitting_tokens > 0 {
            levers.push(format!("--attn-cache-tokens {fitting_tokens}"));
        }
        if levers.is_empty() {
            levers.push("a machine with more memory, as one block does not fit".to_owned());
        }
        Err(Failure::new(
            Exit::Unavailable,
            format!(
                "blocks {}:{} do not fit in memory",
                self.blocks.start, self.blocks.end
            ),
        )
        .cause(format!(
            "weights need {}, the KV cache {}; {} are available",
            bytes(self.weight_bytes),
            bytes(self.cache_bytes),
            bytes(available)
        ))
        .hint(levers.join(", or ")))
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
