//! Client side of a Petals swarm.
//!
//! - [`local_model`]: a model's tokenizer, embeddings and head; [`text_codec`], [`text_stream`], [`sampling`], [`stop`]:
//!   text at home; pure
//! - [`swarm_view`]: records found in the DHT → who serves which blocks; pure
//! - [`hop`]: an inference session at one server
//! - [`request`]: single requests to one server: forward, info
//! - [`HopError`]: what can go wrong there, and what to do next

#![forbid(unsafe_code)]

pub mod hop;
pub mod local_model;
pub mod request;
pub mod sampling;
pub mod stop;
pub mod swarm_view;
pub mod text_codec;
pub mod text_stream;

mod error;

pub use error::{HopError, NextMove};
pub use hop::{Hop, HopStep, Opening};
pub use local_model::{LocalModel, LocalModelError};
pub use sampling::{Sampled, Sampler, SamplingConfig, SamplingConfigError, SamplingError};
pub use stop::{EmptyStop, StopMatcher, StopScan};
pub use text_codec::{TextCodec, TextError};
pub use text_stream::TextStream;
