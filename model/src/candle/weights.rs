//! From tensors of a checkpoint to tensors on a device.

use candle_core::{DType, Device, Tensor};

use super::linear::Linear;
use crate::error::LoadError;
use crate::source::Checkpoint;

/// Reads weights into one type, exactly if that is as wide as the checkpoint's.
#[derive(Debug)]
pub(crate) struct WeightReader<'a> {
    pub(crate) checkpoint: &'a Checkpoint,
    /// Type in which the weights are held.
    pub(crate) dtype: DType,
    pub(crate) device: &'a Device,
}

impl WeightReader<'_> {
    /// A tensor of exactly `shape`.
    ///
    /// # Errors
    /// Those of [`Checkpoint::read`], and [`LoadError::Place`].
    pub(crate) fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor, LoadError> {
        let values = self.checkpoint.read(name, shape)?;
        Tensor::from_vec(values, shape, self.device)
            .and_then(|tensor| tensor.to_dtype(self.dtype))
            .map_err(LoadError::place)
    }

    /// A projection `name.weight`, `[outputs, inputs]`, and if asked `name.bias`, `[outputs]`.
    ///
    /// # Errors
    /// As [`WeightReader::tensor`].
    pub(crate) fn linear(
        &self,
        name: &str,
        [outputs, inputs]: [usize; 2],
        has_bias: bool,
    ) -> Result<Linear, LoadError> {
        let weight = self.tensor(&format!("{name}.weight"), &[outputs, inputs])?;
        let bias = has_bias
            .then(|| self.tensor(&format!("{name}.bias"), &[outputs]))
            .transpose()?;
        Linear::new(&weight, bias).map_err(LoadError::place)
    }
}

/// The type in which sums over many values are made: single precision for half types.
pub(crate) fn accumulator(dtype: DType) -> DType {
    match dtype {
        DType::BF16 | DType::F16 => DType::F32,
        other => other,
    }
}
