//! Loading a span: from a model's files to blocks on a device.

use std::ops::Range;

use tracing::debug;

use super::attention::{Attention, MAX_SCORE_BYTES};
use super::block::Block;
use super::kv_cache::KvShape;
use super::mlp::GatedMlp;
use super::norm::RmsNorm;
use super::rope::RopeTable;
use super::span::CandleSpan;
use super::stack::BlockStack;
use super::weights::WeightReader;
use crate::checks::check_blocks_of_model;
use crate::config::{Activation, ModelConfig, Positions, RopeConfig, Wiring};
use crate::contract::SpanDescription;
use crate::device::{ComputeDevice, tensor_dtype};
use crate::dtype::SpanDType;
use crate::error::LoadError;
use crate::families::{self, BlockLayout, MlpBody, NormKind, NormLayout, Part};
use crate::quant::Quant;
use crate::source::{Checkpoint, ModelSource};

impl CandleSpan {
    /// Loads the blocks `blocks` of a model, fetching only the files that hold them.
    ///
    /// `dtype` is the type of the residual stream between blocks; the weights are held in what the
    /// device multiplies. Memory peaks at the span as held plus two tensors.
    ///
    /// Only blocks as Llama's are written here.
    ///
    /// # Errors
    /// Any [`LoadError`]; [`LoadError::BlocksOutsideModel`] also for an empty range, [`LoadError::FamilyOnDevice`] for
    /// another family.
    pub fn load(
        source: &ModelSource,
        blocks: Range<usize>,
        dtype: SpanDType,
        device: ComputeDevice,
    ) -> Result<Self, LoadError> {
        let config = source.config();
        check_blocks_of_model(&blocks, config)?;
        let unsupported = || LoadError::FamilyOnDevice {
            family: config.family,
            device: device.to_string(),
        };
        let (rope, head_dim) = plain_rope(config).ok_or_else(unsupported)?;
        let opened = device.open()?;
        let names = |block| families::block(config, block).tensor_names();
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
            let layout = families::block(config, block);
            loaded.push(load_block(config, &layout, &reader)?.ok_or_else(unsupported)?);
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
        let rope = RopeTable::new(rope.clone(), head_dim, reader.dtype, &opened)
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

/// The rotary embedding of a model whose attention is plain: everything is seen, whole heads turn, nothing is capped.
pub(super) fn plain_rope(config: &ModelConfig) -> Option<(&RopeConfig, usize)> {
    let is_plain = config.windows.iter().all(Option::is_none)
        && config.attention_soft_cap.is_none()
        && config.attention_scale == (config.head_dim as f64).powf(-0.5)
        && config.wiring == Wiring::Sequential
        && config.activation == Activation::Silu;
    match &config.positions {
        Positions::Rotary {
            dims,
            full,
            sliding: None,
        } if is_plain && *dims == config.head_dim => Some((full, *dims)),
        Positions::Rotary { .. } | Positions::Alibi { .. } => None,
    }
}

/// Reads one block; `None` if it is not as Llama's.
///
/// # Errors
/// Those of [`WeightReader::tensor`].
pub(super) fn load_block(
    config: &ModelConfig,
    layout: &BlockLayout,
    reader: &WeightReader<'_>,
) -> Result<Option<Block>, LoadError> {
    let (attention, mlp) = (&layout.attention, &layout.mlp);
    let (MlpBody::Gated(gated), Some(mlp_norm)) = (&mlp.body, &mlp.norm) else {
        return Ok(None);
    };
    let is_plain = attention.head_norms.is_none()
        && layout.norms().count() == 2
        && layout.norms().all(|norm| norm.kind == NormKind::Rms)
        && layout
            .parts()
            .iter()
            .all(|part| part.outputs == part.tensor_rows);
    if !is_plain {
        return Ok(None);
    }
    let norm = |norm: &NormLayout| {
        let tensor = reader.tensor(&norm.weight(), &[norm.width])?;
        Ok::<_, LoadError>(RmsNorm::new(tensor, config.norm_eps))
    };
    let linear =
        |part: &Part| reader.linear(&part.name, [part.outputs, part.inputs], part.has_bias);
    Ok(Some(Block {
        attention_norm: norm(&attention.norm)?,
        attention: Attention {
            query: linear(&attention.query)?,
            key: linear(&attention.key)?,
            value: linear(&attention.value)?,
            output: linear(&attention.output)?,
            heads: config.heads,
            kv_heads: config.kv_heads,
            head_dim: config.head_dim,
            max_score_bytes: MAX_SCORE_BYTES,
        },
        mlp_norm: norm(mlp_norm)?,
        mlp: GatedMlp {
            gate: linear(&gated.gate)?,
            up: linear(&gated.up)?,
            down: linear(&gated.down)?,
        },
    }))
}
