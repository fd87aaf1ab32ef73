//! OpenAI's HTTP API over a Petals swarm, and a page for people.
//!
//! - [`ApiError`]: the one error object of every answer, also inside a stream
//! - [`page`]: the page's files

#![forbid(unsafe_code)]

mod api_error;
pub mod page;

pub use api_error::{ApiError, ErrorCode};
