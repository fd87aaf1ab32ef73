//! Transformer blocks for a block server, and what a client keeps at home.
//!
//! In reading order:
//! - `contract`: [`BlockSpan`], all that a server sees of the arithmetic
//! - `config`: [`ModelConfig`], what `config.json` says
//! - `source`: [`ModelSource`], a model's files, local or from the hub
//! - `candle`: [`CandleSpan`], the blocks themselves
//! - `head`: [`ClientHead`], embeddings and head
//!
//! ```no_run
//! use block_model::{CandleSpan, ComputeDevice, ModelSource, SpanDType};
//!
//! let source = ModelSource::directory("models/fable-7m")?;
//! let span = CandleSpan::load(&source, 0..4, SpanDType::F32, ComputeDevice::Cpu)?;
//! # Ok::<(), block_model::LoadError>(())
//! ```

mod candle;
mod config;
mod contract;
#[allow(dead_code, reason = "the span on top of it follows")]
mod cpu;
mod device;
mod dtype;
mod error;
mod head;
#[allow(dead_code, reason = "the span on top of them follows")]
mod kernels;
mod source;

pub use candle::CandleSpan;
pub use config::{ConfigError, Family, ModelConfig, RopeConfig, RopeScaling};
pub use contract::{
    BlockSpan, CacheHandle, ForwardRow, HiddenStates, Prompts, Row, SpanDescription, SpanError,
};
pub use device::ComputeDevice;
pub use dtype::SpanDType;
pub use error::{HubError, LoadError};
pub use head::{ClientHead, HeadError};
pub use source::{HubOptions, ModelSource};
