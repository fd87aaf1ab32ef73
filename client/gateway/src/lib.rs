//! OpenAI's HTTP API over a Petals swarm, and a page for people.
//!
//! - [`Gateway`]: what all requests share; [`ServedModel`]: a model in it; [`router`]: which path does what
//! - `request`: what is asked → `endpoints` → `answer`: sessions and their tokens → `reply`: what is told
//! - `running`: the answers under way, and their end; `kept`: sessions that wait for the next turn; `track`, [`metrics`]: what is counted
//! - [`door`]: who comes in, how many at once, and for how long; `who`: who asks, as handlers see it
//! - [`Executions`], [`PetalsChat`]: the APIs of other programs over the same answers; `websocket`: a bounded socket;
//!   `terms`: the door's limits for work that goes on after its handshake
//! - [`system`]: the state of the swarm, and what changes
//! - [`Listener`]: the socket, plain or TLS; `patient_stream`: connections that end when nobody reads
//! - [`ApiError`]: the one error object of every answer, also inside a stream; `refusal`: what a failed session becomes
//! - [`page`]: the page's files

#![forbid(unsafe_code)]

pub mod door;
pub mod metrics;
pub mod page;
pub mod system;

mod answer;
mod api_error;
mod chat_style;
mod endpoints;
mod execution;
mod gateway;
mod kept;
mod listener;
mod patient_stream;
mod petals_chat;
mod refusal;
mod reply;
mod request;
mod room;
mod routes;
mod running;
mod served_model;
mod terms;
mod track;
mod websocket;
mod who;

pub use api_error::{ApiError, ErrorCode};
pub use execution::{ExecutionConfig, Executions};
pub use gateway::{Gateway, GatewayConfig};
pub use kept::KeepConfig;
pub use listener::{Listener, ListenerConfig, Tls, TlsError};
pub use petals_chat::{PetalsChat, PetalsChatConfig};
pub use routes::router;
pub use served_model::{ServedModel, ServedModelOptions};
