//! Serves a span of transformer blocks to Petals clients.
//!
//! The path of one step: `handler::inference` → `session` → `codec` → `scheduler` → `compute` → the model's span, and
//! back the same way; then `handler::push` to the next server.

pub mod admission;
pub mod codec;
pub mod compute;
pub mod lease;
pub mod metrics;
pub mod request_error;
pub mod scheduler;
pub mod service;
pub mod session;
pub mod session_table;

mod handler;

pub use request_error::RequestError;
pub use service::{Service, ServiceConfig, ServiceError, ServiceSnapshot};
