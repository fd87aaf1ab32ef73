//! What a client keeps at home: embeddings before the first block, norm and head after the last.

use std::fmt::Display;

use candle_core::{DType, Device, Tensor};
use thiserror::Error;

use crate::candle::{RmsNorm, WeightReader};
use crate::error::LoadError;
use crate::source::{Checkpoint, ModelSource};

/// Embeddings, final norm and head of a model, in single precision on the CPU.
#[derive(Debug)]
pub struct ClientHead {
    embeddings: Tensor, // [vocab, hidden]
    norm: RmsNorm,
    head: Tensor, // [vocab, hidden]; the embeddings themselves if the model ties them
}

/// Why a token or a hidden state could not be taken.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum HeadError {
    /// The caller's token is none of the model's.
    #[error("token {id} is outside the vocabulary of {vocab}")]
    UnknownToken {
        /// The token.
        id: u32,
        /// Number of token ids.
        vocab: usize,
    },
    /// The caller's hidden states are not whole tokens.
    #[error("{values} values are no whole number of hidden states of {hidden}")]
    Shape {
        /// Values given.
        values: usize,
        /// Width of the residual stream.
        hidden: usize,
    },
    /// The arithmetic failed; not the caller's doing.
    #[error("compute failed: {0}")]
    Compute(String),
}

impl ClientHead {
    /// Loads embeddings, final norm and head, fetching only the files that hold them.
    ///
    /// # Errors
    /// Any [`LoadError`].
    pub fn load(source: &ModelSource) -> Result<Self, LoadError> {
        let config = source.config();
        let mut names = vec![EMBEDDINGS.to_owned(), NORM.to_owned()];
        if !config.tied_head {
            names.push(HEAD.to_owned());
        }
        let checkpoint = Checkpoint::open(source, &names)?;
        let reader = WeightReader {
            checkpoint: &checkpoint,
            dtype: DType::F32,
            device: &Device::Cpu,
        };
        let matrix = [config.vocab, config.hidden];
        let embeddings = reader.tensor(EMBEDDINGS, &matrix)?;
        let head = if config.tied_head {
            embeddings.clone()
        } else {
            reader.tensor(HEAD, &matrix)?
        };
        Ok(Self {
            embeddings,
            norm: RmsNorm::new(reader.tensor(NORM, &[config.hidden])?, config.norm_eps),
            head,
        })
    }

    /// Width of the residual stream.
    pub fn hidden(&self) -> usize {
        self.embeddings.dims()[1]
    }

    /// Number of token ids.
    pub fn vocab(&self) -> usize {
        self.embeddings.dims()[0]
    }

    /// The first block's input for tokens: `[ids, hidden]`, row-major.
    ///
    /// # Errors
    /// [`HeadError::UnknownToken`].
    pub fn embed(&self, ids: &[u32]) -> Result<Vec<f32>, HeadError> {
        let vocab = self.vocab();
        if let Some(id) = ids.iter().find(|id| **id as usize >= vocab) {
            return Err(HeadError::UnknownToken { id: *id, vocab });
        }
        let ids = Tensor::new(ids, &Device::Cpu).map_err(compute_error)?;
        let rows = self.embeddings.index_select(&ids, 0);
        values(rows)
    }

    /// Scores of every token id after each hidden state.
    ///
    /// - `hidden_states`: `[n, hidden]`, output of the last block
    /// - returns `[n, vocab]`, before softmax
    ///
    /// # Errors
    /// [`HeadError::Shape`].
    pub fn logits(&self, hidden_states: &[f32]) -> Result<Vec<f32>, HeadError> {
        let hidden = self.hidden();
        if !hidden_states.len().is_multiple_of(hidden) {
            return Err(HeadError::Shape {
                values: hidden_states.len(),
                hidden,
            });
        }
        if hidden_states.is_empty() {
            return Ok(Vec::new());
        }
        let shape = (hidden_states.len() / hidden, hidden);
        let logits = Tensor::from_slice(hidden_states, shape, &Device::Cpu)
            .and_then(|states| self.norm.forward(&states)?.matmul(&self.head.t()?));
        values(logits)
    }
}

fn values(tensor: candle_core::Result<Tensor>) -> Result<Vec<f32>, HeadError> {
    tensor
        .and_then(|tensor| tensor.flatten_all()?.to_vec1())
        .map_err(compute_error)
}

fn compute_error(error: impl Display) -> HeadError {
    HeadError::Compute(error.to_string())
}

const EMBEDDINGS: &str = "model.embed_tokens.weight";
const NORM: &str = "model.norm.weight";
const HEAD: &str = "lm_head.weight";
