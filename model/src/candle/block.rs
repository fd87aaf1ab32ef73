//! One block.

use candle_core::{Result, Tensor};

use super::attention::Attention;
use super::kv_cache::BlockCache;
use super::mlp::GatedMlp;
use super::norm::RmsNorm;
use super::rope::Rotation;

/// A pre-norm block: attention, then MLP, each added to the residual stream.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    pub(crate) attention_norm: RmsNorm,
    pub(crate) attention: Attention,
    pub(crate) mlp_norm: RmsNorm,
    pub(crate) mlp: GatedMlp,
}

impl Block {
    /// Runs `seq` tokens through the block and appends their keys and values to `cache`.
    ///
    /// Differentiable in `hidden_states` if there is no cache.
    ///
    /// - `hidden_states`, result: `[batch, seq, hidden]`
    /// - `cache`: `past` tokens on entry, `past + seq` on return
    pub(crate) fn forward(
        &self,
        hidden_states: &Tensor,
        rotation: &Rotation,
        cache: Option<&mut BlockCache>,
    ) -> Result<Tensor> {
        let normed = self.attention_norm.forward(hidden_states)?;
        let attended = self.attention.forward(&normed, rotation, cache)?;
        let hidden_states = (hidden_states + attended)?;
        let normed = self.mlp_norm.forward(&hidden_states)?;
        hidden_states + self.mlp.forward(&normed)?
    }
}
