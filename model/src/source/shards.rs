//! The safetensors files that hold the tensors of one span: only these are fetched and opened.

use std::collections::HashMap;
use std::path::PathBuf;

use safetensors::tensor::Dtype;

use super::index::WeightIndex;
use super::model_source::ModelSource;
use super::packed::{
    FP8_UNPACKED, Fp8Rows, GroupedRows, Groups, IN_A_WORD, Layout, Packing, Scales, part,
};
use super::shard::Shard;
use super::tensor_rows::TensorRows;
use crate::dtype::SpanDType;
use crate::error::LoadError;

/// Open files that between them hold a set of tensors.
#[derive(Debug)]
pub(super) struct Shards {
    shards: Vec<Shard>,
    /// Tensor name to where it is. Of a packed matrix, the tensors that make it up.
    places: HashMap<String, Place>,
    packing: Packing,
    /// The index, or the single file: where a missing tensor should have been named.
    table: PathBuf,
}

/// A number in `shards` and the name there.
#[derive(Debug)]
struct Place {
    shard: usize,
    name: String,
}

impl Shards {
    /// Finds, fetches and opens what holds `tensors`; reads no weights yet.
    ///
    /// # Errors
    /// [`LoadError::MissingTensor`] of several files, [`LoadError::MissingShard`], [`LoadError::Damaged`],
    /// [`LoadError::NotFound`], [`LoadError::PickleOnly`], [`LoadError::Hub`], [`LoadError::Io`].
    pub(super) fn open(source: &ModelSource, tensors: &[String]) -> Result<Self, LoadError> {
        let packing = source.packing();
        let index = source.weight_index()?;
        let wanted = index.files_of(tensors, packing)?;
        let shards = source.shards(&wanted)?;
        let mut places = HashMap::with_capacity(tensors.len());
        let table = match index {
            WeightIndex::Single => shards.first().map(|shard| shard.path().to_owned()),
            WeightIndex::Sharded { ref path, .. } => Some(path.clone()),
        };
        for (number, (wanted, shard)) in wanted.iter().zip(&shards).enumerate() {
            for tensor in &wanted.tensors {
                let name = match (shard.spelling(tensor), &index) {
                    (Some(name), _) => name,
                    // The index is wrong, and who reads the tensor will say so of the file.
                    (None, WeightIndex::Sharded { .. }) => tensor.clone(),
                    (None, WeightIndex::Single) => continue,
                };
                let shard = number;
                places.insert(tensor.clone(), Place { shard, name });
            }
        }
        Ok(Self {
            shards,
            places,
            packing,
            table: table.unwrap_or_default(),
        })
    }

    /// As [`super::Checkpoint::dtype`].
    pub(super) fn dtype(&self, tensor: &str) -> Result<SpanDType, LoadError> {
        match self.form(tensor) {
            Form::Grouped { .. } => {
                let (shard, name) = self.find(&part(tensor, "scales"))?;
                shard.dtype(name)
            }
            Form::Fp8 { .. } => Ok(FP8_UNPACKED),
            Form::Floats => {
                let (shard, name) = self.find(tensor)?;
                shard.dtype(name)
            }
        }
    }

    /// As [`super::Checkpoint::read`].
    pub(super) fn read(&self, tensor: &str, shape: &[usize]) -> Result<Vec<f32>, LoadError> {
        match (self.form(tensor), shape) {
            (Form::Grouped { .. } | Form::Fp8 { .. }, [rows, inputs]) => {
                let matrix = self.rows(tensor, [*rows, *inputs])?;
                let mut values = vec![0.0; rows * inputs];
                let rows = values.chunks_exact_mut(*inputs).enumerate();
                rows.for_each(|(row, values)| matrix.read(row, values));
                Ok(values)
            }
            _ => {
                let (shard, name) = self.find(tensor)?;
                shard.read(name, shape)
            }
        }
    }

    /// As [`super::Checkpoint::rows`].
    pub(super) fn rows(&self, tensor: &str, shape: [usize; 2]) -> Result<TensorRows, LoadError> {
        match self.form(tensor) {
            Form::Floats => {
                let (shard, name) = self.find(tensor)?;
                shard.rows(name, shape).map(TensorRows::Floats)
            }
            Form::Grouped { layout, group } => {
                let rows = self.grouped(tensor, layout, group, shape)?;
                Ok(TensorRows::Grouped(rows))
            }
            Form::Fp8 { tile, scale } => {
                let rows = self.fp8(tensor, tile, scale, shape)?;
                Ok(TensorRows::Fp8(rows))
            }
        }
    }

    /// How a tensor is stored, as far as names and types tell.
    fn form(&self, tensor: &str) -> Form {
        let has = |name| self.places.contains_key(&part(tensor, name));
        match self.packing {
            Packing::Grouped { layout, group, .. } if has("qweight") => {
                Form::Grouped { layout, group }
            }
            Packing::Fp8 { tile } => {
                let scale = self.packing.parts().iter().find(|name| has(name));
                scale.map_or(Form::Floats, |scale| Form::Fp8 { tile, scale })
            }
            Packing::None | Packing::Grouped { .. } => Form::Floats,
        }
    }

    fn grouped(
        &self,
        tensor: &str,
        layout: Layout,
        group: Option<usize>,
        [outputs, inputs]: [usize; 2],
    ) -> Result<GroupedRows, LoadError> {
        if !(outputs.is_multiple_of(IN_A_WORD) && inputs.is_multiple_of(IN_A_WORD)) {
            let reason = format!(
                "tensor {tensor} of shape {:?} is packed by {IN_A_WORD}, which divides not both",
                [outputs, inputs]
            );
            return Err(LoadError::damaged(&self.table, reason));
        }
        let group = group.unwrap_or(inputs).max(1);
        let groups = inputs.div_ceil(group);
        let map = |name: &str, shape: [usize; 2]| {
            let (shard, stored) = self.find(&part(tensor, name))?;
            shard.bytes(stored, Dtype::I32, &shape)
        };
        let (shard, scales) = self.find(&part(tensor, "scales"))?;
        Ok(GroupedRows {
            layout,
            outputs,
            words: map("qweight", layout.words_shape([outputs, inputs]))?,
            zeros: map("qzeros", [groups, outputs / IN_A_WORD])?,
            scales: shard.read(scales, &[groups, outputs])?,
            groups: self.groups(tensor, layout, inputs, group, groups)?,
        })
    }

    fn groups(
        &self,
        tensor: &str,
        layout: Layout,
        inputs: usize,
        group: usize,
        groups: usize,
    ) -> Result<Groups, LoadError> {
        let name = part(tensor, "g_idx");
        if layout == Layout::Awq || !self.places.contains_key(&name) {
            return Ok(Groups::InTurn(group));
        }
        let (shard, stored) = self.find(&name)?;
        let bytes = shard.bytes(stored, Dtype::I32, &[inputs])?;
        let list = bytes.as_chunks::<4>().0.iter().map(|bytes| {
            let number = usize::try_from(i32::from_le_bytes(*bytes)).ok();
            number.filter(|number| *number < groups)
        });
        let list: Option<Vec<usize>> = list.collect();
        let list = list.ok_or_else(|| {
            let reason = format!("tensor {stored} names a group that is none of {groups}");
            LoadError::damaged(shard.path(), reason)
        })?;
        Ok(Groups::listed(list, group))
    }

    fn fp8(
        &self,
        tensor: &str,
        tile: [usize; 2],
        scale: &str,
        shape: [usize; 2],
    ) -> Result<Fp8Rows, LoadError> {
        let (shard, name) = self.find(tensor)?;
        let bytes = shard.bytes(name, Dtype::F8_E4M3, &shape)?;
        let (shard, name) = self.find(&part(tensor, scale))?;
        let scale_shape = shard.shape(name)?.to_vec();
        let values = shard.read(name, &scale_shape)?;
        let scales = Scales::new(shape, tile, &scale_shape, values).ok_or_else(|| {
            let reason = format!(
                "tensor {name} has shape {scale_shape:?}, which fits no matrix of shape {shape:?}"
            );
            LoadError::damaged(shard.path(), reason)
        })?;
        Ok(Fp8Rows::new(bytes, scales))
    }

    /// The file that holds a tensor, and its name there.
    fn find(&self, tensor: &str) -> Result<(&Shard, &str), LoadError> {
        let place = self.places.get(tensor);
        let found =
            place.and_then(|place| Some((self.shards.get(place.shard)?, place.name.as_str())));
        found.ok_or_else(|| self.missing(tensor))
    }

    fn missing(&self, tensor: &str) -> LoadError {
        LoadError::MissingTensor {
            path: self.table.clone(),
            tensor: tensor.to_owned(),
        }
    }
}

/// How a matrix is stored.
enum Form {
    Floats,
    Grouped {
        layout: Layout,
        group: Option<usize>,
    },
    Fp8 {
        tile: [usize; 2],
        /// What the tensor of its scales is called.
        scale: &'static str,
    },
}

#[cfg(test)]
mod tests;
