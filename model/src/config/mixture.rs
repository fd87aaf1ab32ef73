//! Several MLPs in a block, of which each token uses some.

use super::ConfigError;

/// A mixture of experts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MixtureConfig {
    /// MLPs of a block.
    pub experts: usize,
    /// MLPs that a token uses.
    pub chosen: usize,
    /// Whether the weights of the chosen ones are scaled to a sum of 1.
    pub is_renormalized: bool,
    /// Every so many blocks is one with experts.
    pub every: usize,
    /// Blocks that have one MLP all the same.
    pub dense_blocks: Vec<usize>,
    /// Inner width of such a block's MLP.
    pub dense_ffn: usize,
}

impl MixtureConfig {
    /// Whether a block has experts.
    pub fn is_sparse(&self, block: usize) -> bool {
        (block + 1).is_multiple_of(self.every) && !self.dense_blocks.contains(&block)
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        if self.experts == 0 || self.experts > MAX_EXPERTS {
            return Err(ConfigError::invalid(
                "num_experts",
                format!("{} is not in 1..={MAX_EXPERTS}", self.experts),
            ));
        }
        if self.chosen == 0 || self.chosen > self.experts {
            return Err(ConfigError::invalid(
                "num_experts_per_tok",
                format!("{} is not in 1..={}", self.chosen, self.experts),
            ));
        }
        if self.every == 0 || self.dense_ffn == 0 || self.dense_ffn > super::MAX_SIZE {
            return Err(ConfigError::invalid(
                "decoder_sparse_step",
                "leaves no block",
            ));
        }
        Ok(())
    }
}

/// Most MLPs of a block: four times what the widest known model has.
const MAX_EXPERTS: usize = 2048;
