//! Loading: from a model's files to packed weights, tensor by tensor, straight from the mapped file.

use std::ops::Range;

use tracing::debug;

use super::kv_pool::KvPool;
use super::options::CpuOptions;
use super::rotary::RotaryTable;
use super::span::{CpuSpan, Parts};
use super::weights::{BlockWeights, Projection};
use crate::checks::check_blocks_of_model;
use crate::config::ModelConfig;
use crate::contract::SpanDescription;
use crate::dtype::SpanDType;
use crate::error::LoadError;
use crate::families::{llama, tensor_names};
use crate::kernels::attention::{AttentionShape, PAGE_TOKENS};
use crate::kernels::format::{Format, PANEL};
use crate::kernels::level::Level;
use crate::kernels::packed::{Packed, Place};
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
            .flat_map(|block| tensor_names(config, block))
            .collect();
        let checkpoint = Checkpoint::open(source, &names)?;
        let pool = Pool::new(options.threads()).map_err(LoadError::place)?;
        let checkpoint_dtype =
            checkpoint.dtype(&llama::weight(blocks.start, llama::ATTENTION[0]))?;
        let format = options.format(checkpoint_dtype);
        let loader = Loader {
            config,
            checkpoint: &checkpoint,
            level,
            pool: &pool,
            format,
        };
        let mut loaded = Vec::with_capacity(blocks.len());
        for block in blocks.clone() {
            loaded.push(loader.block(block)?);
            debug!(block, "block loaded");
        }
        let layout = options.page_layout(config);
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
            attention: AttentionShape {
                heads: config.heads,
                layout,
                scale: (config.head_dim as f32).powf(-0.5),
                window: None,
                soft_cap: None,
                alibi: None,
            },
            rotary: RotaryTable::new(config.rope.clone(), config.head_dim),
            kv_pool: KvPool::new(layout, budget),
        }))
    }
}

/// The float type in which products are made, or that quantized weights stand for.
fn compute_dtype(format: Format) -> SpanDType {
    match format {
        Format::F32 | Format::Int8 | Format::Int4 => SpanDType::F32,
        Format::F16 => SpanDType::F16,
        Format::Bf16 | Format::Bf16Exact | Format::Nf4 => SpanDType::BF16,
    }
}

struct Loader<'a> {
    config: &'a ModelConfig,
    checkpoint: &'a Checkpoint,
    level: Level,
    pool: &'a Pool,
    format: Format,
}

/// A tensor of a projection and where its rows go.
struct Part {
    name: String,
    rows: usize,
    place: Place,
}

impl Loader<'_> {
    fn block(&self, block: usize) -> Result<BlockWeights, LoadError> {
        let config = self.config;
        let (hidden, ffn) = (config.hidden, config.ffn);
        let query_width = config.heads * config.head_dim;
        let key_width = config.kv_heads * config.head_dim;
        let [attention_norm, mlp_norm] = llama::NORMS;
        let [query, key, value, output] = llama::ATTENTION;
        let [gate, up, down] = llama::MLP;
        let part = |name: &str, rows, place| Part {
            name: llama::prefixed(block, name),
            rows,
            place,
        };
        let qkv = [
            part(query, query_width, Place::From(0)),
            part(key, key_width, Place::From(query_width)),
            part(value, key_width, Place::From(query_width + key_width)),
        ];
        let gate_up = [
            part(gate, ffn, Place::EvenPanels),
            part(up, ffn, Place::OddPanels),
        ];
        let output = [part(output, hidden, Place::From(0))];
        let down = [part(down, hidden, Place::From(0))];
        let padded_ffn = ffn.next_multiple_of(PANEL);
        Ok(BlockWeights {
            attention_norm: self.vector(&llama::weight(block, attention_norm), hidden)?,
            qkv: self.projection(
                &qkv,
                [query_width + 2 * key_width, hidden],
                config.attention_bias,
            )?,
            output: self.projection(&output, [hidden, query_width], config.attention_bias)?,
            mlp_norm: self.vector(&llama::weight(block, mlp_norm), hidden)?,
            gate_up: self.projection(&gate_up, [2 * padded_ffn, hidden], config.mlp_bias)?,
            down: self.projection(&down, [hidden, ffn], config.mlp_bias)?,
        })
    }

    fn projection(
        &self,
        parts: &[Part],
        [outputs, inputs]: [usize; 2],
        has_bias: bool,
    ) -> Result<Projection, LoadError> {
        let mut weights = Packed::zeros(self.format, outputs, inputs).map_err(LoadError::place)?;
        let mut bias = Vec::new();
        for part in parts {
            let rows = self
                .checkpoint
                .rows(&format!("{}.weight", part.name), [part.rows, inputs])?;
            weights.fill(
                self.level,
                self.pool,
                part.place,
                part.rows,
                &|row, values| rows.read(row, values),
            );
            if has_bias {
                bias.resize(weights.panels() * PANEL, 0.0);
                for (row, value) in self
                    .vector(&format!("{}.bias", part.name), part.rows)?
                    .into_iter()
                    .enumerate()
                {
                    bias[part.place.output(row)] = value;
                }
            }
        }
        Ok(Projection { weights, bias })
    }

    fn vector(&self, name: &str, len: usize) -> Result<Vec<f32>, LoadError> {
        self.checkpoint.read(name, &[len])
    }
}
