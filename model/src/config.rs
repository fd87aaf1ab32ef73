//! `config.json` of a checkpoint: which family a model is and how large its parts are.
//!
//! Read as transformers writes it, before version 5 (`rope_theta`, `rope_scaling`) and since
//! (`rope_parameters`).

mod attention;
mod error;
mod family;
mod mixture;
mod raw;
mod raw_rope;
mod rope;

pub use attention::{Activation, Positions, Wiring};
pub use error::ConfigError;
pub use family::Family;
pub use mixture::MixtureConfig;
pub(crate) use raw::RawConfig;
pub use rope::{RopeConfig, RopeScaling};

use crate::dtype::SpanDType;
use crate::families;
use raw::Named;

/// What `config.json` says, checked: no size is zero and heads divide as they must.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelConfig {
    /// Which implementation of a block the model needs.
    pub family: Family,
    /// Number of blocks of the whole model.
    pub num_blocks: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Query heads per block.
    pub heads: usize,
    /// Key and value heads per block; divides `heads`.
    pub kv_heads: usize,
    /// Width of one head; even, and not always `hidden / heads`.
    pub head_dim: usize,
    /// Inner width of the MLP; of an expert's, if blocks have several.
    pub ffn: usize,
    /// Number of token ids.
    pub vocab: usize,
    /// Added to the mean square, or the variance, in every norm.
    pub norm_eps: f64,
    /// Context length that the model was made for, tokens.
    pub max_positions: usize,
    /// How attention knows of positions.
    pub positions: Positions,
    /// Tokens that a token of each block sees, itself included; all before it if `None`. One entry per block.
    pub windows: Vec<Option<usize>>,
    /// What products of queries and keys are multiplied by.
    pub attention_scale: f64,
    /// A score `s` of attention becomes `cap * tanh(s / cap)`.
    pub attention_soft_cap: Option<f64>,
    /// Whether the query, key and value projections have biases.
    pub attention_bias: bool,
    /// Whether the projection out of attention has a bias.
    pub output_bias: bool,
    /// Whether the MLP's projections have biases.
    pub mlp_bias: bool,
    /// The MLP's non-linear function.
    pub activation: Activation,
    /// Experts of which each token uses some, instead of one MLP.
    pub mixture: Option<MixtureConfig>,
    /// Whether MLP and attention follow each other.
    pub wiring: Wiring,
    /// What embeddings are multiplied by, if anything.
    pub embedding_scale: Option<f64>,
    /// A logit `x` becomes `cap * tanh(x / cap)`.
    pub logit_soft_cap: Option<f64>,
    /// Whether the head is the embedding matrix.
    pub tied_head: bool,
    /// Type of the checkpoint by its own account, if it says so.
    pub dtype: Option<SpanDType>,
}

impl ModelConfig {
    /// Parses the text of `config.json`.
    ///
    /// # Errors
    /// [`ConfigError::UnsupportedArchitecture`] before anything else is looked at; then the first
    /// field that is missing, of the wrong type or out of range.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let named: Named = serde_json::from_str(text).map_err(ConfigError::malformed)?;
        let family = named.family()?;
        let raw = named.into_raw(text)?;
        let config = families::config(family, raw)?;
        config.check()?;
        Ok(config)
    }

    /// Query heads that share one key and value head.
    pub const fn heads_per_kv_head(&self) -> usize {
        self.heads / self.kv_heads
    }

    /// Weights of one block, in values; where blocks differ, of the largest.
    pub fn values_per_block(&self) -> u64 {
        families::block(self, self.largest_block()).values()
    }

    /// A block that none is larger than.
    pub(crate) fn largest_block(&self) -> usize {
        let mixture = self.mixture.as_ref();
        let sparse = mixture
            .and_then(|mixture| (0..self.num_blocks).find(|block| mixture.is_sparse(*block)));
        sparse.unwrap_or(0)
    }

    /// Widths of all query heads of a token, and of all its keys or values.
    pub(crate) const fn query_and_key_width(&self) -> [usize; 2] {
        [self.heads * self.head_dim, self.kv_heads * self.head_dim]
    }

    fn check(&self) -> Result<(), ConfigError> {
        let sizes = [
            ("num_hidden_layers", self.num_blocks, MAX_BLOCKS),
            ("hidden_size", self.hidden, MAX_SIZE),
            ("num_attention_heads", self.heads, MAX_SIZE),
            ("num_key_value_heads", self.kv_heads, MAX_SIZE),
            ("head_dim", self.head_dim, MAX_HEAD_DIM),
            ("intermediate_size", self.ffn, MAX_SIZE),
            ("vocab_size", self.vocab, MAX_SIZE),
            ("max_position_embeddings", self.max_positions, MAX_SIZE),
        ];
        for (field, size, most) in sizes {
            check_size(field, size, most)?;
        }
        if !self.heads.is_multiple_of(self.kv_heads) {
            return Err(ConfigError::invalid(
                "num_key_value_heads",
                format!("{} does not divide {} heads", self.kv_heads, self.heads),
            ));
        }
        if !self.head_dim.is_multiple_of(2) || self.head_dim < MIN_HEAD_DIM {
            return Err(ConfigError::invalid(
                "head_dim",
                format!(
                    "{} is not an even number from {MIN_HEAD_DIM}",
                    self.head_dim
                ),
            ));
        }
        if let Some(window) = self.windows.iter().flatten().find(|window| **window == 0) {
            return Err(ConfigError::invalid("sliding_window", window.to_string()));
        }
        if !(self.attention_scale.is_finite() && self.attention_scale > 0.0) {
            return Err(ConfigError::invalid(
                "query_pre_attn_scalar",
                format!("gives the scale {}", self.attention_scale),
            ));
        }
        for (field, cap) in [
            ("attn_logit_softcapping", self.attention_soft_cap),
            ("final_logit_softcapping", self.logit_soft_cap),
        ] {
            if cap.is_some_and(|cap| !(cap.is_finite() && cap > 0.0)) {
                return Err(ConfigError::invalid(
                    field,
                    format!("{cap:?} is not above 0"),
                ));
            }
        }
        if let Some(mixture) = &self.mixture {
            mixture.check()?;
        }
        if !(self.norm_eps.is_finite() && self.norm_eps >= 0.0) {
            return Err(ConfigError::invalid(
                "rms_norm_eps",
                self.norm_eps.to_string(),
            ));
        }
        Ok(())
    }
}

/// # Errors
/// The field is 0 or larger than `most`.
pub(crate) fn check_size(field: &'static str, size: usize, most: usize) -> Result<(), ConfigError> {
    if size == 0 || size > most {
        return Err(ConfigError::invalid(
            field,
            format!("{size} is not in 1..={most}"),
        ));
    }
    Ok(())
}

/// Largest size of any dimension: no known model is near it, and products of two, in bytes and
/// times the number of blocks of a span, do not overflow.
pub(crate) const MAX_SIZE: usize = 1 << 24;

/// Most blocks: an order of magnitude more than the deepest known model has; each has an entry in lists.
pub(crate) const MAX_BLOCKS: usize = 1 << 12;

/// Widest head: four times what any known model has; a head is normed on the stack.
pub(crate) const MAX_HEAD_DIM: usize = 1024;

/// Smallest head: dynamic NTK scaling divides by `head_dim - 2`.
const MIN_HEAD_DIM: usize = 4;

#[cfg(test)]
mod tests;
