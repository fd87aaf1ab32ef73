//! One block's weights.

use crate::kernels::packed::Packed;

/// A projection with its bias, if it has one.
#[derive(Debug)]
pub(super) struct Projection {
    pub(super) weights: Packed,
    /// One for each output of all panels, or empty.
    pub(super) bias: Vec<f32>,
}

/// A pre-norm block with gated MLP.
#[derive(Debug)]
pub(super) struct BlockWeights {
    pub(super) attention_norm: Vec<f32>, // [hidden]
    /// Query, key and value heads one after the other: hidden to (heads + 2 * kv_heads) * head_dim.
    pub(super) qkv: Projection,
    pub(super) output: Projection, // heads * head_dim to hidden
    pub(super) mlp_norm: Vec<f32>, // [hidden]
    /// Gate and up, interleaved by panels.
    pub(super) gate_up: Projection,
    pub(super) down: Projection, // ffn to hidden
}

impl BlockWeights {
    /// Memory taken, bytes.
    pub(super) fn bytes(&self) -> u64 {
        let projections = [&self.qkv, &self.output, &self.gate_up, &self.down].into_iter();
        let packed: usize = projections
            .map(|each| each.weights.bytes() + size_of_val(&*each.bias))
            .sum();
        (packed + size_of_val(&*self.attention_norm) + size_of_val(&*self.mlp_norm)) as u64
    }
}
