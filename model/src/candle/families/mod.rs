//! The families: how a block is put together.

mod llama;

use crate::config::{Family, ModelConfig};
use crate::error::LoadError;

use super::block::Block;
use super::weights::WeightReader;

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
