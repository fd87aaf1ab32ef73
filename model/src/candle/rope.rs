//! Rotary position embedding: each pair of head dimensions turns by an angle that grows with the
//! position.

use candle_core::{D, DType, Device, Result, Tensor};

use crate::config::RopeConfig;

/// Cosines and sines of all positions so far asked for.
#[derive(Debug)]
pub(crate) struct RopeTable {
    config: RopeConfig,
    half_dim: usize,
    cos: Tensor, // [positions, 1, half_dim]
    sin: Tensor, // [positions, 1, half_dim]
}

/// Cosines and sines of the tokens of one call, the same for all its blocks.
#[derive(Clone, Debug)]
pub(crate) struct Rotation {
    cos: Tensor, // [seq, 1, half_dim]
    sin: Tensor, // [seq, 1, half_dim]
}

impl RopeTable {
    /// An empty table.
    pub(crate) fn new(
        config: RopeConfig,
        head_dim: usize,
        dtype: DType,
        device: &Device,
    ) -> Result<Self> {
        let half_dim = head_dim / 2;
        let empty = Tensor::zeros((0, 1, half_dim), dtype, device)?;
        Ok(Self {
            config,
            half_dim,
            cos: empty.clone(),
            sin: empty,
        })
    }

    /// The rotation of `seq` tokens from `position` on.
    pub(crate) fn rotation(&mut self, position: usize, seq: usize) -> Result<Rotation> {
        let end = position + seq;
        let known = self.cos.dim(0)?;
        if end > known {
            self.grow(end.max(known * 2).max(FIRST_POSITIONS))?;
        }
        Ok(Rotation {
            cos: self.cos.narrow(0, position, seq)?,
            sin: self.sin.narrow(0, position, seq)?,
        })
    }

    fn grow(&mut self, positions: usize) -> Result<()> {
        let (cos, sin) = self.config.cos_and_sin(self.half_dim, 0..positions);
        let shape = (positions, 1, self.half_dim);
        let (dtype, device) = (self.cos.dtype(), self.cos.device().clone());
        self.cos = Tensor::from_vec(cos, shape, &device)?.to_dtype(dtype)?;
        self.sin = Tensor::from_vec(sin, shape, &device)?.to_dtype(dtype)?;
        Ok(())
    }
}

impl Rotation {
    /// Turns dimension `i` of each head with dimension `i + head_dim / 2`.
    ///
    /// - `heads`, result: `[batch, seq, heads, head_dim]`
    pub(crate) fn apply(&self, heads: &Tensor) -> Result<Tensor> {
        let half_dim = self.cos.dim(D::Minus1)?;
        let first = heads.narrow(D::Minus1, 0, half_dim)?;
        let second = heads.narrow(D::Minus1, half_dim, half_dim)?;
        let turned_first = (first.broadcast_mul(&self.cos)? - second.broadcast_mul(&self.sin)?)?;
        let turned_second = (second.broadcast_mul(&self.cos)? + first.broadcast_mul(&self.sin)?)?;
        Tensor::cat(&[turned_first, turned_second], D::Minus1)
    }
}

/// Positions of the first table: enough for a chat, small for any head.
const FIRST_POSITIONS: usize = 512;

#[cfg(test)]
mod tests;
