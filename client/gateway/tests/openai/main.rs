//! The gateway as its callers see it: over raw sockets, with real servers of the repository's model behind it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "test code")]

mod cancel;
mod chat;
mod conversation;
mod errors;
mod events;
mod executions;
mod observed;
mod petals_chat;
mod policies;
mod revoked;
mod schema;
mod slow_reader;
mod sockets;
mod streams;
mod text;
mod tokens;
mod wire;
mod world;
