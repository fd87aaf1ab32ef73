//! Client side of a Petals swarm.
//!
//! - [`Session`]: a conversation with a model whose blocks are in a swarm; [`Generation`]: an answer, token by token
//! - [`LocalModel`]: what stays at home; [`TextCodec`], [`TextStream`], [`StopMatcher`], [`sampling`]: text; pure
//! - [`Constraint`]: what an answer must look like; [`SessionPool`]: sessions kept for the next turn
//! - [`swarm_view`]: records found in the DHT → who serves which blocks; pure
//! - [`Swarm`]: membership of a swarm; [`RemoteModel`]: a model in it; [`ModelView`]: the live view of its servers
//! - [`router`], [`speed`], [`bans`]: which servers a session goes through; pure
//! - [`topology`]: the swarm as pages and monitors read it
//! - [`metrics`]: what the client counts
//! - [`Chain`]: hidden states in, hidden states out, through servers that may die
//! - [`hop`]: an inference session at one server
//! - [`request`]: single requests to one server: forward, info
//! - [`HopError`]: what can go wrong there, and what to do next

#![forbid(unsafe_code)]

pub mod bans;
pub mod hop;
pub mod metrics;
pub mod request;
pub mod router;
pub mod sampling;
pub mod speed;
pub mod swarm_view;
pub mod topology;

mod chain;
mod chat_template;
mod constraint;
mod error;
mod generate;
mod link_codec;
mod local_model;
mod model_view;
mod registry;
mod remote_model;
mod server_facts;
mod session;
mod session_error;
mod session_pool;
mod stop;
mod swarm;
mod swarm_error;
mod text_codec;
mod text_stream;

pub use block_model::ModelSource;
pub use chain::{Chain, ChainConfig, ChainStats, RouteStop};
pub use chat_template::{
    ChatMessage, ChatTemplate, ChatTemplateError, LocalTime, MessageContent, RenderOptions,
    TemplateValue,
};
pub use constraint::{Constraint, ConstraintError};
pub use error::{Blame, HopError, NextMove};
pub use generate::{FinishReason, Finished, GenerateConfig, Generation, Prompt, Token};
pub use hop::{Hop, HopStep, Opening};
pub use link_codec::ActivationCodec;
pub use local_model::{GenerationDefaults, LocalModel, LocalModelError, SamplingOverrides};
pub use model_view::{ModelView, PlannedHop, Reach, ServerStatus, ViewSnapshot};
pub use registry::RegisteredModel;
pub use remote_model::{ModelOptions, RemoteModel, RemoteModelError, SessionConfig};
pub use router::{RouteError, RouteMode, RouteRequest};
pub use sampling::{Sampled, Sampler, SamplingConfig, SamplingConfigError, SamplingError};
pub use server_facts::ServerFacts;
pub use session::Session;
pub use session_error::{SessionError, Tried};
pub use session_pool::{SessionPool, SessionPoolLimits};
pub use speed::StepEstimate;
pub use stop::{EmptyStop, StopMatcher, StopScan};
pub use swarm::{Swarm, SwarmConfig};
pub use swarm_error::SwarmError;
pub use text_codec::{GgufVocabulary, TextCodec, TextError};
pub use text_stream::TextStream;
