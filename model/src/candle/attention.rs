//! Grouped-query attention with rotary positions.

use candle_core::{D, Result, Tensor};
use candle_nn::ops::softmax;

use super::kv_cache::BlockCache;
use super::linear::Linear;
use super::mask::future_keys;
use super::rope::Rotation;
use super::weights::accumulator;

/// Causal self-attention of one block.
#[derive(Clone, Debug)]
pub(crate) struct Attention {
    pub(crate) query: Linear,  // hidden to heads * head_dim
    pub(crate) key: Linear,    // hidden to kv_heads * head_dim
    pub(crate) value: Linear,  // hidden to kv_heads * head_dim
    pub(crate) output: Linear, // heads * head_dim to hidden
    pub(crate) heads: usize,
    pub(crate) kv_heads: usize,
    pub(crate) head_dim: usize,
    /// Bound of one tensor of scores: longer prompts are attended in chunks of queries.
    pub(crate) max_score_bytes: usize,
}

/// Default of [`Attention::max_score_bytes`]: small beside the weights of one large block, and
/// enough for 128 queries on 4096 keys with 32 heads. A few such tensors live at once.
pub(crate) const MAX_SCORE_BYTES: usize = 64 * 1024 * 1024;

impl Attention {
    /// Attends from each token to itself and all before it.
    ///
    /// - `hidden_states`, result: `[batch, seq, hidden]`
    /// - `cache`: `past` tokens on entry, `past + seq` on return; without one `past` is zero
    pub(crate) fn forward(
        &self,
        hidden_states: &Tensor,
        rotation: &Rotation,
        cache: Option<&mut BlockCache>,
    ) -> Result<Tensor> {
        let (batch, seq, _) = hidden_states.dims3()?;
        let query = self.split(&self.query.forward(hidden_states)?, self.heads)?;
        let key = self.split(&self.key.forward(hidden_states)?, self.kv_heads)?;
        let value = self.split(&self.value.forward(hidden_states)?, self.kv_heads)?;

        let query = (rotation.apply(&query)? * (self.head_dim as f64).powf(-0.5))?;
        let key = rotation.apply(&key)?.transpose(1, 2)?; // [batch, kv_heads, seq, head_dim]
        let value = value.transpose(1, 2)?; // [batch, kv_heads, seq, head_dim]
        let (key, value) = match cache {
            Some(cache) => cache.append(&key, &value)?,
            None => (key.contiguous()?, value.contiguous()?),
        }; // [batch, kv_heads, total, head_dim]

        // Query heads that share a key head become rows of one product, so keys are not repeated.
        let group = self.heads / self.kv_heads;
        let query = query
            .reshape((batch, seq, self.kv_heads, group, self.head_dim))?
            .permute((0, 2, 3, 1, 4))?; // [batch, kv_heads, group, seq, head_dim]

        let past = key.dim(2)? - seq;
        let chunk = self.queries_at_once(batch, past + seq);
        let mut attended = Vec::with_capacity(seq.div_ceil(chunk));
        for start in (0..seq).step_by(chunk) {
            let queries = chunk.min(seq - start);
            let total = past + start + queries;
            attended.push(self.attend(
                &query.narrow(3, start, queries)?,
                &key.narrow(2, 0, total)?,
                &value.narrow(2, 0, total)?,
            )?);
        }
        let attended = Tensor::cat(&attended, 1)?; // [batch, seq, heads * head_dim]
        self.output.forward(&attended)
    }

    /// Attends from the last tokens of `total`.
    ///
    /// - `query`: `[batch, kv_heads, group, queries, head_dim]`
    /// - `key`, `value`: `[batch, kv_heads, total, head_dim]`
    /// - returns `[batch, queries, heads * head_dim]`
    fn attend(&self, query: &Tensor, key: &Tensor, value: &Tensor) -> Result<Tensor> {
        let (batch, kv_heads, group, queries, head_dim) = query.dims5()?;
        let total = key.dim(2)?;
        let rows = (batch, kv_heads, group * queries, head_dim);
        let scores = query.reshape(rows)?.matmul(&key.t()?)?; // [batch, kv_heads, group * queries, total]
        let dtype = scores.dtype();
        let scores = scores.to_dtype(accumulator(dtype))?;
        let scores = match future_keys(queries, total, scores.device())? {
            Some(future) => {
                let shape = (batch, kv_heads, group, queries, total);
                let never = Tensor::new(f32::NEG_INFINITY, scores.device())?
                    .to_dtype(scores.dtype())?
                    .broadcast_as(shape)?;
                // Chosen, not added: a score that is not finite stays away from other tokens.
                let masked = future
                    .broadcast_as(shape)?
                    .where_cond(&never, &scores.reshape(shape)?)?;
                masked.reshape((batch, kv_heads, group * queries, total))?
            }
            None => scores,
        };
        let weights = softmax(&scores, D::Minus1)?.to_dtype(dtype)?;
        weights
            .matmul(value)? // [batch, kv_heads, group * queries, head_dim]
            .reshape((batch, kv_heads, group, queries, head_dim))?
            .permute((0, 3, 1, 2, 4))? // [batch, queries, kv_heads, group, head_dim]
            .reshape((batch, queries, self.heads * head_dim))
    }

    /// - `projected`: `[batch, seq, heads * head_dim]`; returns `[batch, seq, heads, head_dim]`
    fn split(&self, projected: &Tensor, heads: usize) -> Result<Tensor> {
        let (batch, seq, _) = projected.dims3()?;
        projected.reshape((batch, seq, heads, self.head_dim))
    }

    /// Queries whose scores on `total` keys stay within the bound; at least one.
    fn queries_at_once(&self, batch: usize, total: usize) -> usize {
        let query_bytes = batch * self.heads * total * size_of::<f32>();
        self.max_score_bytes
            .checked_div(query_bytes)
            .unwrap_or(1)
            .max(1)
    }
}
