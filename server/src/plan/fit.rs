//! How much memory a plan takes, and what fits.

use block_model::{ModelConfig, StoredWeights};
use block_program::{Exit, Failure, amounts::bytes};

use super::Plan;
use crate::config::Config;
use crate::memory;

/// Memory that a server may take, bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Memory {
    /// What the system can give; `None` where it does not say.
    pub(crate) available: Option<u64>,
    /// What the operator allows.
    pub(crate) limit: Option<u64>,
}

impl Memory {
    /// What the system says and the operator allows.
    pub(crate) fn of(config: &Config) -> Self {
        Self {
            available: memory::available_bytes(),
            limit: config.limits.memory_bytes,
        }
    }

    /// The most that blocks of the operator's choice may take.
    pub(crate) fn most(self) -> Option<u64> {
        let bounds = [self.available, self.limit];
        bounds.into_iter().flatten().min()
    }

    /// The most that blocks of our choice may take: some of what is free now is left to others.
    fn with_margin(self) -> Option<u64> {
        let share = |bytes: u64| bytes / 10 * AVAILABLE_TENTHS;
        let bounds = [self.available.map(share), self.limit];
        bounds.into_iter().flatten().min()
    }
}

impl Plan {
    /// Fills in the sizes, which follow from the formats.
    pub(super) fn measure(&mut self, model: &ModelConfig, stored: &StoredWeights) {
        let memory = self.formats().memory(model, stored);
        let page_tokens = memory.kv_page_tokens as u64;
        // The cache is given out in whole pages.
        let cache_tokens = (self.attn_cache_tokens as u64)
            .div_ceil(page_tokens)
            .saturating_mul(page_tokens);
        self.block_bytes = (0..model.num_blocks)
            .map(|number| self.formats().block_bytes(model, number, stored))
            .collect();
        self.largest_block_bytes = memory.block_bytes;
        self.kv_token_bytes = memory.kv_bytes_per_token as u64;
        self.block_cache_bytes = self.kv_token_bytes.saturating_mul(cache_tokens);
        self.reserve_bytes = reserve_bytes(model.hidden);
    }

    /// Refuses a plan that the machine's memory cannot hold.
    ///
    /// # Errors
    /// Exit 69, with the number of blocks and the cache that would fit.
    pub(super) fn check_memory(&self, memory: Memory) -> Result<(), Failure> {
        let Some(most) = memory.most() else {
            return Ok(());
        };
        let needed = self.weight_bytes().saturating_add(self.cache_bytes());
        if needed.saturating_add(self.reserve_bytes) <= most {
            return Ok(());
        }
        let fitting_blocks = self.blocks_in(most);
        let mut levers = Vec::new();
        if fitting_blocks > 0 {
            let end = self.blocks.start as u64 + fitting_blocks;
            levers.push(format!("--blocks {}:{end}", self.blocks.start));
        }
        levers.extend(self.smaller_cache(most));
        Err(Failure::new(
            Exit::Unavailable,
            format!(
                "blocks {}:{} do not fit in memory",
                self.blocks.start, self.blocks.end
            ),
        )
        .cause(format!(
            "weights need {}, the KV cache {}, steps {}; {} are available",
            bytes(self.weight_bytes()),
            bytes(self.cache_bytes()),
            bytes(self.reserve_bytes),
            bytes(most)
        ))
        .hint(any_of(levers)))
    }

    /// How many blocks fit, at most all of the model.
    ///
    /// # Errors
    /// Exit 69 if none does, or if nobody knows how much memory there is.
    pub(super) fn fitting_blocks(&self, memory: Memory) -> Result<usize, Failure> {
        let Some(most) = memory.with_margin() else {
            return Err(Failure::new(
                Exit::Unavailable,
                "the system does not say how much memory is available",
            )
            .hint("--memory-limit 8GiB, or --blocks 12 for a count"));
        };
        let count = usize::try_from(self.blocks_in(most)).unwrap_or(usize::MAX);
        if count > 0 {
            return Ok(count.min(self.num_blocks));
        }
        let levers = self.smaller_cache(most).into_iter().collect();
        Err(
            Failure::new(Exit::Unavailable, "not even one block fits in memory")
                .cause(format!(
                    "the weights of a block need {}, its KV cache {}, steps {}; {} may be used",
                    bytes(self.largest_block_bytes),
                    bytes(self.block_cache_bytes),
                    bytes(self.reserve_bytes),
                    bytes(most)
                ))
                .hint(any_of(levers)),
        )
    }

    fn blocks_in(&self, most: u64) -> u64 {
        let each = self
            .largest_block_bytes
            .saturating_add(self.block_cache_bytes);
        most.saturating_sub(self.reserve_bytes) / each.max(1)
    }

    /// The flag for a cache that leaves room for the weights, if any does.
    fn smaller_cache(&self, most: u64) -> Option<String> {
        let taken = self.weight_bytes().saturating_add(self.reserve_bytes);
        let tokens = most.saturating_sub(taken)
            / self
                .kv_token_bytes
                .saturating_mul(self.blocks.len() as u64)
                .max(1);
        (tokens > 0).then(|| format!("--attn-cache-tokens {tokens}"))
    }
}

fn any_of(mut levers: Vec<String>) -> String {
    if levers.is_empty() {
        levers.push("a machine with more memory, or --quant int4".to_owned());
    }
    levers.join(", or ")
}

/// Memory of what is neither weights nor KV cache: hidden states of a large request, in and out and between the parts
/// of a block, and buffers of connections. It grows with the width, as Petals' reserve for its backward pass does, whose
/// figure this is: 2 GiB at the width of BLOOM-176B.
fn reserve_bytes(hidden: usize) -> u64 {
    (hidden as u64).saturating_mul(RESERVE_BYTES) / RESERVE_HIDDEN
}

const RESERVE_BYTES: u64 = 2 << 30;
const RESERVE_HIDDEN: u64 = 14336;
/// Tenths of the available memory that are taken unasked: what other programs need may grow.
const AVAILABLE_TENTHS: u64 = 9;
