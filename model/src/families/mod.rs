//! The families: which tensors of a checkpoint make up a block.

pub(crate) mod llama;

use crate::config::{Family, ModelConfig};

/// Names of all tensors of one block; the first is a weight.
pub(crate) fn tensor_names(config: &ModelConfig, block: usize) -> Vec<String> {
    match config.family {
        Family::Llama => llama::tensor_names(config, block),
    }
}
