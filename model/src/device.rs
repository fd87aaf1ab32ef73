//! Where arithmetic runs.

use std::fmt;

use candle_core::{DType, Device};

use crate::dtype::SpanDType;
use crate::error::LoadError;

/// A place where a span can be computed. Only the CPU is part of the default build.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ComputeDevice {
    /// The processor, all cores.
    #[default]
    Cpu,
    /// An NVIDIA card by its number; needs a build with CUDA kernels.
    Cuda(usize),
    /// An Apple GPU by its number; needs a build with Metal kernels.
    Metal(usize),
}

impl ComputeDevice {
    /// Opens the device.
    ///
    /// # Errors
    /// [`LoadError::Device`] if the build lacks the kernels or the machine the device.
    pub(crate) fn open(self) -> Result<Device, LoadError> {
        let opened = match self {
            Self::Cpu => return Ok(Device::Cpu),
            Self::Cuda(ordinal) => Device::new_cuda(ordinal),
            Self::Metal(ordinal) => Device::new_metal(ordinal),
        };
        opened.map_err(|error| LoadError::Device {
            device: self.to_string(),
            reason: error.to_string(),
        })
    }

    /// The type in which a span of `dtype` is held and multiplied here.
    ///
    /// Processors multiply singles much faster than halves, so weights are widened once.
    pub(crate) fn compute_dtype(self, dtype: SpanDType) -> SpanDType {
        match self {
            Self::Cpu => SpanDType::F32,
            Self::Cuda(_) | Self::Metal(_) => dtype,
        }
    }
}

impl fmt::Display for ComputeDevice {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => formatter.write_str("cpu"),
            Self::Cuda(ordinal) => write!(formatter, "cuda:{ordinal}"),
            Self::Metal(ordinal) => write!(formatter, "metal:{ordinal}"),
        }
    }
}

/// The tensor library's name of a dtype.
pub(crate) fn tensor_dtype(dtype: SpanDType) -> DType {
    match dtype {
        SpanDType::F32 => DType::F32,
        SpanDType::BF16 => DType::BF16,
        SpanDType::F16 => DType::F16,
    }
}
