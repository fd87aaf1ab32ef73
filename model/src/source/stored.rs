//! How a checkpoint holds its matrices.

use std::sync::Arc;

use super::gguf::GgufModel;
use super::hub::ShardAtHand;
use super::index::{SINGLE_FILE, WeightIndex};
use super::model_source::ModelSource;
use super::packed::Packing;
use crate::config::ModelConfig;
use crate::dtype::SpanDType;
use crate::error::LoadError;
use crate::kernels::format::Format;

/// How a matrix is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stored {
    /// As floats, or as what is best unpacked to this type.
    Floats(SpanDType),
    /// As integers with scales, which this packed format holds as they are.
    Integers(Format),
}

/// How a checkpoint stores its weights, as far as it is known before they are fetched.
#[derive(Clone, Debug, Default)]
pub struct StoredWeights {
    /// Type of floats, if a file says so; what `config.json` says is less sure.
    floats: Option<SpanDType>,
    others: Others,
}

/// Where matrices are named that are stored otherwise.
#[derive(Clone, Debug, Default)]
enum Others {
    #[default]
    None,
    Gguf(Arc<GgufModel>),
    Packed(Arc<PackedNames>),
}

impl StoredWeights {
    /// Floats only; `None` is what `config.json` says.
    pub fn floats(dtype: Option<SpanDType>) -> Self {
        Self {
            floats: dtype,
            others: Others::None,
        }
    }

    /// How a matrix is stored. If nothing is known, it is taken for f32: what comes then is smaller.
    pub(crate) fn of(&self, tensor: &str, config: &ModelConfig) -> Stored {
        let other = match &self.others {
            Others::None => None,
            Others::Gguf(model) => model.stored(tensor),
            Others::Packed(names) => names.stored(tensor),
        };
        let dtype = self.floats.or(config.dtype).unwrap_or(SpanDType::F32);
        other.unwrap_or(Stored::Floats(dtype))
    }
}

impl ModelSource {
    /// Finds out how weights are stored, without fetching any; of a repository the index may be fetched.
    ///
    /// # Errors
    /// As [`ModelSource::span_files`].
    pub fn stored_weights(&self) -> Result<StoredWeights, LoadError> {
        // The first block stands for all: a checkpoint has one type of floats.
        let floats = self.span_files(0..1)?.stored;
        let others = match self.gguf_model() {
            Some(model) => Others::Gguf(Arc::clone(model)),
            None if self.packing() == Packing::None => Others::None,
            None => Others::Packed(Arc::new(PackedNames::of(self)?)),
        };
        Ok(StoredWeights { floats, others })
    }
}

/// Which matrices are packed, as far as names tell that are on this machine.
#[derive(Debug)]
pub(super) struct PackedNames {
    packing: Packing,
    index: Option<WeightIndex>,
    /// A file that holds all tensors, if its header is here.
    single: Option<ShardAtHand>,
}

impl PackedNames {
    /// # Errors
    /// As [`ModelSource::index_at_hand`] and [`ModelSource::shard_at_hand`].
    pub(super) fn of(source: &ModelSource) -> Result<Self, LoadError> {
        let index = source.index_at_hand()?;
        let is_single = matches!(index, None | Some(WeightIndex::Single));
        let is_packed = source.packing() != Packing::None;
        Ok(Self {
            packing: source.packing(),
            index,
            single: if is_single && is_packed {
                source.shard_at_hand(SINGLE_FILE)?
            } else {
                None
            },
        })
    }

    /// The index, as far as it is here.
    pub(super) fn index(&self) -> Option<&WeightIndex> {
        self.index.as_ref()
    }

    /// Whether a matrix is packed; where nothing is known, all are.
    pub(super) fn contains(&self, tensor: &str) -> bool {
        let mut parts = self.packing.stored_names(tensor).skip(1);
        match (&self.index, &self.single) {
            (Some(index @ WeightIndex::Sharded { .. }), _) => {
                parts.any(|name| index.file_of(&name).is_some())
            }
            (_, Some(single)) => parts.any(|name| single.has(&name)),
            (_, None) => self.packing != Packing::None,
        }
    }

    fn stored(&self, tensor: &str) -> Option<Stored> {
        let stored = self.packing.stored()?;
        self.contains(tensor).then_some(stored)
    }
}
