//! Consecutive blocks and the residual stream between them.

use std::ops::Range;

use candle_core::{DType, Device, Result, Tensor};

use super::block::Block;
use super::kv_cache::BlockCache;
use super::rope::RopeTable;
use crate::contract::{HiddenStates, Prompts};

/// The blocks of a span with what they share.
#[derive(Debug)]
pub(super) struct BlockStack {
    /// The number in the model of `blocks[0]`.
    pub(super) first: usize,
    pub(super) blocks: Vec<Block>,
    pub(super) rope: RopeTable,
    /// Type of the residual stream between blocks.
    pub(super) residual_dtype: DType,
    /// Type of the arithmetic.
    pub(super) compute_dtype: DType,
    pub(super) device: Device,
}

impl BlockStack {
    /// Runs `hidden_states` through `blocks`, numbered as in the model and inside the stack.
    ///
    /// - `hidden_states`: `[batch, seq, hidden]`, the tokens from `position` on
    /// - `caches`: one for each of `blocks`, holding `position` tokens; without, `position` is 0
    /// - returns `[batch, seq, hidden]`
    pub(super) fn run(
        &mut self,
        blocks: &Range<usize>,
        hidden_states: &HiddenStates<'_>,
        prompts: Option<&Prompts<'_>>,
        position: usize,
        caches: Option<&mut [BlockCache]>,
    ) -> Result<Vec<f32>> {
        let [_, seq, _] = hidden_states.shape;
        if seq == 0 {
            return Ok(Vec::new());
        }
        let rotation = self.rope.rotation(position, seq)?;
        let prompts = prompts.filter(|prompts| !prompts.values.is_empty());
        let prompts = prompts
            .map(|prompts| self.enter(prompts.values, &prompts.shape))
            .transpose()?;
        let mut caches = caches.map(|caches| caches.iter_mut());
        let mut stream = self.enter(hidden_states.values, &hidden_states.shape)?;
        for number in blocks.clone() {
            if let Some(prompts) = &prompts {
                let prompt = prompts.get(number - blocks.start)?;
                stream = self.round(&add_prompt(&stream, &prompt)?)?;
            }
            let cache = caches.as_mut().and_then(Iterator::next);
            let block = &self.blocks[number - self.first];
            stream = self.round(&block.forward(&stream, &rotation, cache)?)?;
        }
        stream.to_dtype(DType::F32)?.flatten_all()?.to_vec1()
    }

    /// Values from outside, made exactly what a boundary between two blocks can hold.
    fn enter(&self, values: &[f32], shape: &[usize]) -> Result<Tensor> {
        self.round(&Tensor::from_slice(values, shape, &self.device)?)
    }

    /// Rounds the residual stream to its type, so that it is the same whether or not a span
    /// ends here.
    fn round(&self, stream: &Tensor) -> Result<Tensor> {
        stream
            .to_dtype(self.residual_dtype)?
            .to_dtype(self.compute_dtype)
    }
}

/// Adds a prompt to the first tokens.
///
/// - `stream`, result: `[batch, seq, hidden]`
/// - `prompt`: `[batch or 1, prefix, hidden]` with `prefix <= seq`
fn add_prompt(stream: &Tensor, prompt: &Tensor) -> Result<Tensor> {
    let (prefix, seq) = (prompt.dim(1)?, stream.dim(1)?);
    let changed = stream.narrow(1, 0, prefix)?.broadcast_add(prompt)?;
    if prefix == seq {
        return Ok(changed);
    }
    Tensor::cat(&[changed, stream.narrow(1, prefix, seq - prefix)?], 1)
}
