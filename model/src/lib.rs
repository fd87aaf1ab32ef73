//! Transformer blocks for a block server, and what a client keeps at home.
//!
//! In reading order:
//! - [`contract`](BlockSpan): the span contract, all that the server sees of the arithmetic
//! - [`config`](ModelConfig): what `config.json` says

mod config;
mod contract;
mod device;
mod dtype;

pub use config::{ConfigError, Family, ModelConfig, RopeConfig, RopeScaling};
pub use contract::{
    BlockSpan, CacheHandle, ForwardRow, HiddenStates, Prompts, Row, SpanDescription, SpanError,
};
pub use device::ComputeDevice;
pub use dtype::SpanDType;
