//! Loading a span: from a model's files to blocks on a device.

use std::ops::Range;

use tracing::debug;

use super::families;
use super::kv_cache::KvShape;
use super::rope::RopeTable;
use super::span::CandleSpan;
use super::stack::BlockStack;
use super::weights::WeightReader;
use crate::checks::check_blocks_of_model;
use crate::contract::SpanDescription;
use crate::device::{ComputeDevice, tensor_dtype};
use crate::dtype::SpanDType;
use crate::error::LoadError;
use crate::families::tensor_names;
use crate::quant::Quant;
use crate::source::{Checkpoint, ModelSource};

impl CandleSpan {
    /// Loads the blocks `blocks` of a model, fetching only the files that hold them.
    ///
    /// `dtype` is the type of the residual stream between blocks; the weights are held in what the
    /// device multiplies. Memory peaks at the span as held plus two tensors.
    ///
    /// # Errors
    /// Any [`LoadError`]; [`LoadError::BlocksOutsideModel`] also for an empty range.
    pub fn load(
        source: &ModelSource,
        blocks: Range<usize>,
        dtype: SpanDType,
        device: ComputeDevice,
    ) -> Result<Self, LoadError> {
        let config = source.config();
        check_blocks_of_model(&blocks, config)?;
        let opened = device.open()?;
        let names = |block| tensor_names(config, block);
        let names: Vec<String> = blocks.clone().flat_map(names).collect();
        let checkpoint = Checkpoint::open(source, &names)?;
        let held = device.compute_dtype(dtype);
        let reader = WeightReader {
            checkpoint: &checkpoint,
            dtype: tensor_dtype(held),
            device: &opened,
        };
        let mut loaded = Vec::with_capacity(blocks.len());
        for block in blocks.clone() {
            loaded.push(families::load_block(config, block, &reader)?);
            debug!(block, "block loaded");
        }
        let kv_shape = KvShape {
            kv_heads: config.kv_heads,
            head_dim: config.head_dim,
            dtype: reader.dtype,
            device: opened.clone(),
        };
        let held_bytes = config.values_per_block() * held.size_bytes() as u64;
        let description = SpanDescription {
            hidden: config.hidden,
            kv_heads: config.kv_heads,
            head_dim: config.head_dim,
            dtype,
            checkpoint_dtype: checkpoint.dtype(names.first().map_or("", String::as_str))?,
            compute_dtype: held,
            device: device.to_string(),
            quant: Quant::None,
            kernels: None,
            weight_bytes: held_bytes * blocks.len() as u64,
            kv_bytes_per_token_per_block: kv_shape.bytes_per_token(),
            kv_page_tokens: 1,
            blocks: blocks.clone(),
        };
        let rope = RopeTable::new(config.rope.clone(), config.head_dim, reader.dtype, &opened)
            .map_err(LoadError::place)?;
        let stack = BlockStack {
            first: blocks.start,
            blocks: loaded,
            rope,
            residual_dtype: tensor_dtype(dtype),
            compute_dtype: reader.dtype,
            device: opened.clone(),
        };
        Ok(Self::new(description, stack, kv_shape))
    }
}
