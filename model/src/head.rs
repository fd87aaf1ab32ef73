//! What a client keeps at home: embeddings before the first block, norm and head after the last.

use thiserror::Error;

use crate::cpu::{Norm, load_norm};
use crate::dtype::SpanDType;
use crate::error::LoadError;
use crate::families;
use crate::kernels::activations::Activations;
use crate::kernels::disjoint::Disjoint;
use crate::kernels::format::Format;
use crate::kernels::level::Level;
use crate::kernels::packed::{Packed, Place};
use crate::kernels::pool::Pool;
use crate::kernels::product::product;
use crate::kernels::sinks::Store;
use crate::source::{Checkpoint, ModelSource, Stored, TensorRows};

/// Embeddings, final norm and head of a model on the processor: the weights in the checkpoint's own type, all
/// arithmetic in single precision but for a head of integers, which is multiplied as those of blocks are.
#[derive(Debug)]
pub struct ClientHead {
    level: Level,
    pool: Pool,
    /// Without helpers, for products too small to be shared out.
    alone: Pool,
    embeddings: Embeddings,
    hidden: usize,
    vocab: usize,
    embedding_scale: Option<f32>,
    /// Between embeddings and the first block.
    embedding_norm: Option<Norm>,
    norm: Norm,
    logit_soft_cap: Option<f32>,
    norm_eps: f32,
    head: Packed, // [vocab, hidden]
}

/// Where the embedding of a token is found.
#[derive(Debug)]
enum Embeddings {
    /// In the head, which the model ties to them and which holds them without loss.
    Tied,
    /// In the checkpoint's file, of which only the rows in use take memory.
    Mapped(TensorRows),
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
        let ends = families::ends(config);
        let level = Level::choose().map_err(LoadError::Kernels)?.level;
        let pool = Pool::new(num_cpus::get_physical()).map_err(LoadError::place)?;
        let checkpoint = Checkpoint::open(source, &ends.tensor_names())?;
        let matrix = [config.vocab, config.hidden];
        let embeddings = checkpoint.rows(&ends.embeddings, matrix)?;
        let rows = checkpoint.rows(&ends.head, matrix)?;
        let stored = checkpoint.stored(&ends.head, matrix)?;
        let format = match stored {
            Stored::Integers(format) => format,
            Stored::Floats(SpanDType::F32) => Format::F32,
            Stored::Floats(SpanDType::F16) => Format::F16,
            Stored::Floats(SpanDType::BF16) => Format::Bf16Exact,
        };
        let mut head =
            Packed::zeros(format, config.vocab, config.hidden).map_err(LoadError::place)?;
        let (start, vocab) = (Place::From(0), config.vocab);
        if let Stored::Integers(_) = stored {
            head.fill_quantized(level, &pool, start, vocab, &|row, quantized| {
                rows.read_quantized(row, quantized);
            });
        } else {
            head.fill(level, &pool, start, vocab, &|row, values| {
                rows.read(row, values);
            });
        }
        Ok(Self {
            level,
            pool,
            alone: Pool::new(1).map_err(LoadError::place)?,
            // Scales of packed integers are rounded; the file's are not.
            embeddings: if config.tied_head && matches!(stored, Stored::Floats(_)) {
                Embeddings::Tied
            } else {
                Embeddings::Mapped(embeddings)
            },
            hidden: config.hidden,
            vocab: config.vocab,
            embedding_scale: config.embedding_scale.map(|scale| scale as f32),
            embedding_norm: match &ends.embedding_norm {
                Some(norm) => Some(load_norm(&checkpoint, norm)?),
                None => None,
            },
            norm: load_norm(&checkpoint, &ends.norm)?,
            logit_soft_cap: config.logit_soft_cap.map(|cap| cap as f32),
            norm_eps: config.norm_eps as f32,
            head,
        })
    }

    /// Width of the residual stream.
    pub fn hidden(&self) -> usize {
        self.hidden
    }

    /// Number of token ids.
    pub fn vocab(&self) -> usize {
        self.vocab
    }

    /// The first block's input for tokens: `[ids, hidden]`, row-major.
    ///
    /// # Errors
    /// [`HeadError::UnknownToken`].
    pub fn embed(&self, ids: &[u32]) -> Result<Vec<f32>, HeadError> {
        let vocab = self.vocab;
        if let Some(id) = ids.iter().find(|id| **id as usize >= vocab) {
            return Err(HeadError::UnknownToken { id: *id, vocab });
        }
        let mut values = vec![0.0; ids.len() * self.hidden];
        for (id, values) in ids.iter().zip(values.chunks_exact_mut(self.hidden)) {
            match &self.embeddings {
                Embeddings::Tied => self.head.row(*id as usize, values),
                Embeddings::Mapped(rows) => rows.read(*id as usize, values),
            }
            if let Some(scale) = self.embedding_scale {
                values.iter_mut().for_each(|value| *value *= scale);
            }
            if let Some(norm) = &self.embedding_norm {
                let embedding = values.to_vec();
                norm.apply(self.level, &embedding, self.norm_eps, values);
            }
        }
        Ok(values)
    }

    /// Scores of every token id after each hidden state.
    ///
    /// - `hidden_states`: `[n, hidden]`, output of the last block
    /// - returns `[n, vocab]`, before softmax
    ///
    /// # Errors
    /// [`HeadError::Shape`].
    pub fn logits(&self, hidden_states: &[f32]) -> Result<Vec<f32>, HeadError> {
        let (hidden, vocab) = (self.hidden, self.vocab);
        if !hidden_states.len().is_multiple_of(hidden) {
            return Err(HeadError::Shape {
                values: hidden_states.len(),
                hidden,
            });
        }
        let rows = hidden_states.len() / hidden;
        let pool = if hidden_states.len().saturating_mul(vocab) <= MAX_PRODUCTS_ALONE {
            &self.alone
        } else {
            &self.pool
        };
        let mut activations = Activations::new(self.level);
        let size = [rows, self.head.padded_inputs()];
        activations.fill(pool, self.head.format(), size, &|row, values| {
            let (normed, rest) = values.split_at_mut(hidden);
            let states = &hidden_states[row * hidden..(row + 1) * hidden];
            self.norm.apply(self.level, states, self.norm_eps, normed);
            rest.fill(0.0);
        });
        let mut logits = vec![0.0; rows * vocab];
        let sink = Store {
            out: Disjoint::new(&mut logits),
            width: vocab,
            bias: &[],
        };
        product(self.level, pool, &self.head, &activations, &sink);
        if let Some(cap) = self.logit_soft_cap {
            logits
                .iter_mut()
                .for_each(|logit| *logit = cap * (*logit / cap).tanh());
        }
        Ok(logits)
    }
}

/// Multiplications that one thread does as soon as helpers have woken up and done their share: 70 µs on one core. A helper
/// also spins for 50 µs afterwards, which costs whoever else has work.
const MAX_PRODUCTS_ALONE: usize = 2 * 1024 * 1024;
