//! Root-mean-square norm.

use candle_core::{D, Result, Tensor};

use super::weights::accumulator;

/// `hidden_states / rms(hidden_states) * weight` over the last dimension.
#[derive(Clone, Debug)]
pub(crate) struct RmsNorm {
    weight: Tensor, // [hidden]
    eps: f64,
}

impl RmsNorm {
    pub(crate) fn new(weight: Tensor, eps: f64) -> Self {
        Self { weight, eps }
    }

    /// - `hidden_states`, result: `[.., hidden]`
    pub(crate) fn forward(&self, hidden_states: &Tensor) -> Result<Tensor> {
        let dtype = hidden_states.dtype();
        let wide = hidden_states.to_dtype(accumulator(dtype))?;
        let mean_square = wide.sqr()?.mean_keepdim(D::Minus1)?; // [.., 1]
        let root = (mean_square + self.eps)?.sqrt()?;
        wide.broadcast_div(&root)?
            .to_dtype(dtype)?
            .broadcast_mul(&self.weight)
    }
}
