//! Loading: from a model's files to packed weights, tensor by tensor, straight from the mapped file.

use std::ops::Range;

use tracing::debug;

use super::kv_pool::KvPool;
use super::options::CpuOptions;
use super::packing::{Joined, ROUTER_FORMAT, holds};
use super::rotary::RotaryTable;
use super::span::{CpuSpan, Parts};
use super::weights::{AttentionWeights, BlockWeights, GatedWeights, MlpWeights, Norm, Projection};
use crate::checks::check_blocks_of_model;
use crate::config::{ModelConfig, Positions, Wiring};
use crate::contract::SpanDescription;
use crate::dtype::SpanDType;
use crate::error::LoadError;
use crate::families::{self, GatedLayout, MlpBody, NormKind, NormLayout};
use crate::kernels::attention::{AttentionShape, PAGE_TOKENS, PageLayout};
use crate::kernels::format::{Format, PANEL};
use crate::kernels::level::Level;
use crate::kernels::packed::Packed;
use crate::kernels::pool::Pool;
use crate::source::{Checkpoint, ModelSource};

impl CpuSpan {
    /// Loads the blocks `blocks` of a model, fetching only the files that hold them.
    ///
    /// Memory peaks at the span as held plus one tensor of the checkpoint, which is mapped while it is packed.
    ///
    /// # Errors
    /// Any [`LoadError`]; [`LoadError::BlocksOutsideModel`] also for an empty range.
    pub fn load(
        source: &ModelSource,
        blocks: Range<usize>,
        options: &CpuOptions,
    ) -> Result<Self, LoadError> {
        let config = source.config();
        check_blocks_of_model(&blocks, config)?;
        let level = options.level()?;
        let names: Vec<String> = blocks
            .clone()
            .flat_map(|block| families::block(config, block).tensor_names())
            .collect();
        let checkpoint = Checkpoint::open(source, &names)?;
        let pool = Pool::new(options.threads()).map_err(LoadError::place)?;
        let first = families::block(config, blocks.start);
        let checkpoint_dtype = checkpoint.dtype(&first.attention.query.weight())?;
        let loader = Loader {
            config,
            checkpoint: &checkpoint,
            level,
            pool: &pool,
            options,
            page_layout: options.page_layout(config),
        };
        let format = loader.format(&Joined::qkv(&first.attention))?;
        let mut loaded = Vec::with_capacity(blocks.len());
        for block in blocks.clone() {
            loaded.push(loader.block(block)?);
            debug!(block, "block loaded");
        }
        let layout = loader.page_layout;
        let description = SpanDescription {
            hidden: config.hidden,
            kv_heads: config.kv_heads,
            head_dim: config.head_dim,
            dtype: options.dtype,
            checkpoint_dtype,
            compute_dtype: compute_dtype(format),
            quant: options.quant,
            kernels: Some(level),
            device: "cpu".to_owned(),
            weight_bytes: loaded.iter().map(BlockWeights::bytes).sum(),
            kv_bytes_per_token_per_block: layout.bytes_per_token(),
            kv_page_tokens: PAGE_TOKENS,
            blocks: blocks.clone(),
        };
        let budget = usize::try_from(options.kv_budget_bytes).unwrap_or(usize::MAX);
        Ok(Self::new(Parts {
            description,
            level,
            pool,
            weights: loaded,
            heads: config.heads,
            norm_eps: config.norm_eps as f32,
            activation: config.activation,
            is_parallel: config.wiring != Wiring::Sequential,
            rotary: rotary_tables(config),
            kv_pool: KvPool::new(layout, budget),
        }))
    }
}

/// The float type in which products are made, or that quantized weights stand for.
fn compute_dtype(format: Format) -> SpanDType {
    match format {
        Format::F32 | Format::Int8 | Format::Int4 | Format::Int4Min | Format::Int6 => {
            SpanDType::F32
        }
        Format::F16 => SpanDType::F16,
        Format::Bf16 | Format::Bf16Exact | Format::Nf4 => SpanDType::BF16,
    }
}

struct Loader<'a> {
    config: &'a ModelConfig,
    checkpoint: &'a Checkpoint,
    level: Level,
    pool: &'a Pool,
    options: &'a CpuOptions,
    page_layout: PageLayout,
}

impl Loader<'_> {
    fn block(&self, number: usize) -> Result<BlockWeights, LoadError> {
        let layout = families::block(self.config, number);
        let attention = &layout.attention;
        let optional =
            |norm: &Option<NormLayout>| norm.as_ref().map(|norm| self.norm(norm)).transpose();
        let head_norms = match &attention.head_norms {
            Some([queries, keys]) => Some([self.norm(queries)?, self.norm(keys)?]),
            None => None,
        };
        Ok(BlockWeights {
            attention: AttentionWeights {
                norm: self.norm(&attention.norm)?,
                qkv: self.projection(&Joined::qkv(attention), None)?,
                head_norms,
                output: self.projection(&Joined::one(&attention.output), None)?,
                post_norm: optional(&attention.post_norm)?,
                shape: self.attention_shape(number),
                rotary: self.rotary(number),
            },
            mlp_norm: optional(&layout.mlp.norm)?,
            mlp: self.mlp(&layout.mlp.body)?,
            mlp_post_norm: optional(&layout.mlp.post_norm)?,
        })
    }

    fn attention_shape(&self, number: usize) -> AttentionShape {
        let config = self.config;
        AttentionShape {
            heads: config.heads,
            layout: self.page_layout,
            scale: config.attention_scale as f32,
            window: config.windows[number],
            soft_cap: config.attention_soft_cap.map(|cap| cap as f32),
            alibi: match &config.positions {
                Positions::Rotary { .. } => None,
                Positions::Alibi { slopes } => {
                    Some(slopes.iter().map(|slope| *slope as f32).collect())
                }
            },
        }
    }

    /// The number of the block's table among [`rotary_tables`].
    fn rotary(&self, number: usize) -> Option<usize> {
        match &self.config.positions {
            Positions::Rotary { sliding, .. } => {
                let has_its_own = sliding.is_some() && self.config.windows[number].is_some();
                Some(usize::from(has_its_own))
            }
            Positions::Alibi { .. } => None,
        }
    }

    fn mlp(&self, body: &MlpBody) -> Result<MlpWeights, LoadError> {
        Ok(match body {
            MlpBody::Plain { up, down } => MlpWeights::Plain {
                up: self.projection(&Joined::one(up), None)?,
                down: self.projection(&Joined::one(down), None)?,
            },
            MlpBody::Gated(gated) => MlpWeights::Gated(self.gated(gated)?),
            MlpBody::Mixture { router, experts } => {
                let mixture = self.config.mixture.as_ref();
                let mixture = mixture.expect("invariant: blocks with experts have a mixture");
                MlpWeights::Mixture {
                    router: self.projection(&Joined::one(router), Some(ROUTER_FORMAT))?,
                    experts: experts
                        .iter()
                        .map(|gated| self.gated(gated))
                        .collect::<Result<_, _>>()?,
                    chosen: mixture.chosen,
                    is_renormalized: mixture.is_renormalized,
                }
            }
        })
    }

    fn gated(&self, gated: &GatedLayout) -> Result<GatedWeights, LoadError> {
        Ok(GatedWeights {
            gate_up: self.projection(&Joined::gate_up(gated), None)?,
            down: self.projection(&Joined::one(&gated.down), None)?,
        })
    }

    /// The format of a projection, by how its parts are stored.
    fn format(&self, joined: &Joined<'_>) -> Result<Format, LoadError> {
        let mut stored = Vec::with_capacity(joined.parts.len());
        for (part, _) in &joined.parts {
            let shape = [part.tensor_rows, joined.inputs];
            stored.push(self.checkpoint.stored(&part.weight(), shape)?);
        }
        Ok(self.options.joined_format(stored))
    }

    /// - `format`: `None` for the one that suits it
    fn projection(
        &self,
        joined: &Joined<'_>,
        format: Option<Format>,
    ) -> Result<Projection, LoadError> {
        let format = format.map_or_else(|| self.format(joined), Ok)?;
        let (outputs, inputs) = (joined.outputs, joined.inputs);
        let mut weights = Packed::zeros(format, outputs, inputs).map_err(LoadError::place)?;
        let mut bias = Vec::new();
        for (part, place) in &joined.parts {
            let shape = [part.tensor_rows, inputs];
            let rows = self.checkpoint.rows(&part.weight(), shape)?;
            let (level, pool, outputs) = (self.level, self.pool, part.outputs);
            if rows.format().is_some_and(|stored| holds(format, stored)) {
                weights.fill_quantized(level, pool, *place, outputs, &|row, quantized| {
                    rows.read_quantized(part.tensor_row(row), quantized);
                });
            } else {
                weights.fill(level, pool, *place, outputs, &|row, values| {
                    rows.read(part.tensor_row(row), values);
                });
            }
            if let Some(name) = part.bias() {
                let values = self.checkpoint.read(&name, &[part.tensor_rows])?;
                bias.resize(weights.panels() * PANEL, 0.0);
                for row in 0..part.outputs {
                    bias[place.output(row)] = values[part.tensor_row(row)];
                }
            }
        }
        Ok(Projection { weights, bias })
    }

    fn norm(&self, layout: &NormLayout) -> Result<Norm, LoadError> {
        load_norm(self.checkpoint, layout)
    }
}

/// Reads a norm's vectors.
///
/// # Errors
/// As [`Checkpoint::read`].
pub(crate) fn load_norm(checkpoint: &Checkpoint, layout: &NormLayout) -> Result<Norm, LoadError> {
    let mut weight = checkpoint.read(&layout.weight(), &[layout.width])?;
    Ok(match layout.kind {
        NormKind::Rms => Norm::Rms { weight },
        NormKind::RmsPlusOne => {
            weight.iter_mut().for_each(|weight| *weight += 1.0);
            Norm::Rms { weight }
        }
        NormKind::Layer => Norm::Layer {
            weight,
            bias: checkpoint.read(&format!("{}.bias", layout.name), &[layout.width])?,
        },
    })
}

/// One for blocks that see everything, and if those with a window have another base, one for them.
fn rotary_tables(config: &ModelConfig) -> Vec<RotaryTable> {
    match &config.positions {
        Positions::Rotary {
            dims,
            full,
            sliding,
        } => [Some(full), sliding.as_ref()]
            .into_iter()
            .flatten()
            .map(|rope| RotaryTable::new(rope.clone(), *dims, config.head_dim))
            .collect(),
        Positions::Alibi { .. } => Vec::new(),
    }
}
