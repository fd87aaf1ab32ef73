//! Client side of a Petals swarm.
//!
//! - [`swarm_view`]: records found in the DHT → who serves which blocks; pure
//! - [`Swarm`]: membership of a swarm; [`ModelView`]: the live view of one model in it
//! - [`router`], [`speed`], [`bans`]: which servers a session goes through; pure
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
pub mod speed;
pub mod swarm_view;

mod chain;
mod error;
mod link_codec;
mod model_view;
mod registry;
mod server_facts;
mod session_error;
mod swarm;
mod swarm_error;

pub use chain::{Chain, ChainConfig, ChainStats, RouteStop};
pub use error::{Blame, HopError, NextMove};
pub use hop::{Hop, HopStep, Opening};
pub use link_codec::ActivationCodec;
pub use model_view::{ModelView, PlannedHop, Reach, ServerStatus, ViewSnapshot};
pub use registry::RegisteredModel;
pub use router::{RouteError, RouteMode, RouteRequest};
pub use server_facts::ServerFacts;
pub use session_error::{SessionError, Tried};
pub use speed::StepEstimate;
pub use swarm::{Swarm, SwarmConfig};
pub use swarm_error::SwarmError;
