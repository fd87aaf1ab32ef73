//! What this server will hold: blocks, dtype, prefix, sizes. Pure.

use std::ops::Range;

use block_model::{ModelConfig, SpanDType};
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
        let count = blocks.len() as u64;
        Ok(Self {
            num_blocks: model.num_blocks,
            dtype,
            prefix,
            prefix_is_derived,
            attn_cache_tokens,
            inference_max_length: either(
                config.limits.inference_max_length,
                GROUPED_LENGTH,
                PLAIN_LENGTH,
            ),
            max_batch_tokens: either(config.limits.max_batch_size, GROUPED_LENGTH, PLAIN_LENGTH),
            weight_bytes: block_parameters(model)
                .saturating_mul(COMPUTE_BYTES)
                .saturating_mul(count),
            cache_bytes: kv_bytes_per_token(model)
                .saturating_mul(attn_cache_tokens as u64)
                .saturating_mul(count),
            blocks,
        })
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

/// Parameters of one block: four attention matrices, three of the MLP, two norms.
fn block_parameters(model: &ModelConfig) -> u64 {
    let size = |count: usize| count as u64;
    let (hidden, ffn) = (size(model.hidden), size(model.ffn));
    let queries = size(model.heads).saturating_mul(size(model.head_dim));
    let keys = size(model.kv_heads).saturating_mul(size(model.head_dim));
    let columns = queries
        .saturating_add(keys)
        .saturating_mul(2)
        .saturating_add(ffn.saturating_mul(3))
        .saturating_add(2);
    hidden.saturating_mul(columns)
}

/// Keys and values of one token in one block, as held on a CPU.
fn kv_bytes_per_token(model: &ModelConfig) -> u64 {
    2 * COMPUTE_BYTES * model.kv_heads as u64 * model.head_dim as u64
}

/// Weights, keys and values are float32 on a CPU.
const COMPUTE_BYTES: u64 = 4;
/// Petals' defaults for models with grouped keys and values, tokens.
const GROUPED_CACHE_TOKENS: u64 = 16384;
const GROUPED_LENGTH: u64 = 8192;
/// Petals' defaults for other models, tokens.
const PLAIN_CACHE_TOKENS: u64 = 4096;
const PLAIN_LENGTH: u64 = 2048;

#[cfg(test)]
mod tests;
