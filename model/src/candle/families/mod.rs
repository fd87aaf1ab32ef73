//! The families: which tensors of a checkpoint make up a block.

mod llama;

use crate::config::{Family, ModelConfig};
use crate::error::LoadError;

use super::block::Block;
use super::weights::WeightReader;

/// Names of all tensors of one block.
pub(super) fn tensor_names(config: &ModelConfig, block: usize) -> Vec<String> {
    match config.family {
        Family::Llama => llama::tensor_names(config, block),
    }
}

/// Reads one block.
///
/// # Errors
/// Those of [`WeightReader::tensor`].
pub(super) fn load_block(
    config: &ModelConfig,
    block: usize,
    reader: &WeightReader<'_>,
) -> Result<Block, LoadError> {
    match config.family {
        Family::Llama => llama::load_block(config, block, reader),
    }
}
