//! Transformer blocks for a block server, and what a client keeps at home.
//!
//! In reading order:
//! - `contract`: [`BlockSpan`], all that a server sees of the arithmetic
//! - `config`: [`ModelConfig`], what `config.json` says; `families`: what follows from it for a block
//! - `source`: [`ModelSource`], a model's files, local or from the hub
//! - `cpu`: [`CpuSpan`], the blocks on processors, on top of `kernels`
//! - `candle`: [`CandleSpan`], the blocks on any device, and the oracle of the others
//! - `head`: [`ClientHead`], embeddings and head
//!
//! ```no_run
//! use block_model::{CpuOptions, CpuSpan, ModelSource, SpanDType};
//!
//! let source = ModelSource::directory("models/fable-7m")?;
//! let span = CpuSpan::load(&source, 0..4, &CpuOptions::new(SpanDType::F32))?;
//! # Ok::<(), block_model::LoadError>(())
//! ```

mod candle;
mod checks;
mod config;
mod contract;
mod cpu;
mod device;
mod dtype;
mod error;
mod families;
mod head;
mod kernels;
mod quant;
mod source;

pub use candle::CandleSpan;
pub use config::{
    Activation, ConfigError, Family, MixtureConfig, ModelConfig, Positions, RopeConfig,
    RopeScaling, Wiring,
};
pub use contract::{
    BlockSpan, CacheHandle, ForwardRow, HiddenStates, Prompts, Row, SpanDescription, SpanError,
};
pub use cpu::{CpuMemory, CpuOptions, CpuSpan};
pub use device::ComputeDevice;
pub use dtype::SpanDType;
pub use error::{HubError, LoadError};
pub use head::{ClientHead, HeadError};
pub use kernels::level::{KERNELS_VARIABLE, Level, LevelChoice, LevelError};
pub use quant::{KvDType, Quant};
pub use source::{
    GgufTokenizer, HubOptions, ModelSource, SpanFiles, StoredWeights, is_gguf_file, local_name,
};

/// Measures of the processor for this project's benchmarks; not for users.
#[doc(hidden)]
pub mod peak {
    pub use crate::kernels::peak::{LINE, Unit, fold, spin};
}
