//! What `block-server plan` prints.

use std::fmt::Write as _;

use block_program::amounts::bytes;
use block_program::{Exit, Failure};
use serde::Serialize;

/// The answer of `block-server plan --json`. Sizes are bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct PlanReport {
    /// Model as given on the command line.
    pub(crate) model: String,
    /// Commit of the hub's repository; `None` for files of this machine.
    pub(crate) commit: Option<String>,
    /// `model_type` of the family.
    pub(crate) family: String,
    /// Key prefix in the DHT.
    pub(crate) dht_prefix: String,
    /// Blocks of the whole model.
    pub(crate) num_blocks: usize,
    /// Width of the hidden states.
    pub(crate) hidden: usize,
    /// Type of the hidden states between blocks.
    pub(crate) dtype: String,
    /// Format of the weights; `none` is the checkpoint's own.
    pub(crate) quant: String,
    /// Format of keys and values.
    pub(crate) kv_dtype: String,
    /// Blocks that would be served.
    pub(crate) blocks: usize,
    /// Which they are, as `--blocks` takes it: the end is not included.
    pub(crate) range: String,
    /// Why these.
    pub(crate) reason: String,
    /// Weights of one of them, as held in memory; where they differ, on average.
    pub(crate) bytes_per_block: u64,
    /// Keys and values of 1,024 tokens of one sequence in all served blocks.
    pub(crate) bytes_per_1k_tokens: u64,
    /// Tensors of the served blocks that are still to be fetched.
    pub(crate) download_bytes: u64,
    /// Weights of all served blocks.
    pub(crate) weight_bytes: u64,
    /// KV cache when it is full.
    pub(crate) cache_bytes: u64,
    /// Tokens of the KV cache, for each block.
    pub(crate) attn_cache_tokens: usize,
    /// What is kept free for steps.
    pub(crate) reserve_bytes: u64,
    /// Weights, full cache and reserve.
    pub(crate) memory_bytes: u64,
    /// What may be taken: available, or `--memory-limit`; `None` where the system does not say.
    pub(crate) memory_available_bytes: Option<u64>,
}

impl PlanReport {
    /// One line of JSON.
    ///
    /// # Errors
    /// It cannot be written (exit 70).
    pub(crate) fn json(&self) -> Result<String, Failure> {
        serde_json::to_string(self).map_err(|error| {
            Failure::new(Exit::Software, "the plan cannot be written").caused_by(&error)
        })
    }

    /// Aligned lines for a person.
    pub(crate) fn table(&self) -> String {
        let commit = self.commit.as_ref();
        let commit = commit.map_or_else(String::new, |commit| format!(" @ {commit}"));
        let available = self
            .memory_available_bytes
            .map_or_else(|| "unknown".to_owned(), bytes);
        let download = match self.download_bytes {
            0 => "nothing".to_owned(),
            count => bytes(count),
        };
        let rows = [
            ("model", format!("{}{commit}", self.model)),
            (
                "shape",
                format!(
                    "{}, {} blocks of width {}",
                    self.family, self.num_blocks, self.hidden
                ),
            ),
            ("swarm", self.dht_prefix.clone()),
            (
                "formats",
                format!(
                    "hidden states {}, quantization {}, KV cache {}",
                    self.dtype, self.quant, self.kv_dtype
                ),
            ),
            (
                "blocks",
                format!("{} ({}): {}", self.range, self.blocks, self.reason),
            ),
            (
                "weights",
                format!(
                    "{} ({} a block)",
                    bytes(self.weight_bytes),
                    bytes(self.bytes_per_block)
                ),
            ),
            (
                "KV cache",
                format!(
                    "{} for {} tokens ({} for 1,024)",
                    bytes(self.cache_bytes),
                    self.attn_cache_tokens,
                    bytes(self.bytes_per_1k_tokens)
                ),
            ),
            (
                "memory",
                format!(
                    "{} with {} for steps, of {available}",
                    bytes(self.memory_bytes),
                    bytes(self.reserve_bytes)
                ),
            ),
            ("download", download),
        ];
        rows.iter().fold(String::new(), |mut text, (name, value)| {
            if !text.is_empty() {
                text.push('\n');
            }
            // Writing to a string cannot fail.
            let _ = write!(text, "{name:<9} {value}");
            text
        })
    }
}
