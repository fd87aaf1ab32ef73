//! The gated MLP of Llama-like blocks.

use candle_core::{Result, Tensor};

use super::linear::Linear;

/// SwiGLU: `down(silu(gate(hidden_states)) * up(hidden_states))`.
#[derive(Clone, Debug)]
pub(crate) struct GatedMlp {
    pub(crate) gate: Linear, // hidden to ffn
    pub(crate) up: Linear,   // hidden to ffn
    pub(crate) down: Linear, // ffn to hidden
}

impl GatedMlp {
    /// - `hidden_states`, result: `[batch, seq, hidden]`
    pub(crate) fn forward(&self, hidden_states: &Tensor) -> Result<Tensor> {
        let gate = self.gate.forward(hidden_states)?.silu()?; // [batch, seq, ffn]
        let up = self.up.forward(hidden_states)?;
        self.down.forward(&(gate * up)?)
    }
}
