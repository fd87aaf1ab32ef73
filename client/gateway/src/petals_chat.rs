//! The API of Petals' chat backend, for the front ends that were written for it: `--compat petals`.
//!
//! | path | answer |
//! |---|---|
//! | `POST /api/v1/generate` | form or JSON → `{"ok":true,"outputs"}` |
//! | `WS /api/v2/generate` | one inference session, asked again and again: see `socket` |
//!
//! Behaviour after petals-infra/chat.petals.dev (its README, `http_api.py`, `websocket_api.py`). Differs: an error is the
//! gateway's object in `error`; the key `traceback`, in which old front ends look for words, has its message and never a
//! trace; a model's end of text ends an answer; the special tokens that a model expects before a text are sent with it; a
//! query string is not read, for URLs end up in logs.
//!
//! - `request`: what is asked; `stops`: the texts that end an answer; `failure`: what is told
//! - `http`, `socket`: the two calls; `conversation`: a session and what it is asked; `places`: sockets of each caller

mod conversation;
mod failure;
mod http;
mod places;
mod request;
mod socket;
mod stops;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::{get, post};
use tokio::sync::Semaphore;

use self::places::Places;
use crate::gateway::Gateway;
use crate::websocket::SocketPatience;

/// Petals' chat backend over a gateway. Cheap to clone.
#[derive(Debug, Clone)]
pub struct PetalsChat(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    gateway: Gateway,
    config: PetalsChatConfig,
    sockets: Arc<Semaphore>,
    places: Places,
}

/// Settings of Petals' chat API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PetalsChatConfig {
    /// How long a WebSocket may ask nothing before it and its session are closed. Default 5 minutes, Petals' figure.
    pub idle: Duration,
    /// How often a WebSocket is pinged. Default 20 s.
    pub ping_period: Duration,
    /// WebSockets open at once, each with a session at every server of its route. Default 64.
    pub max_sockets: usize,
}

impl Default for PetalsChatConfig {
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(300),
            ping_period: Duration::from_secs(20),
            max_sockets: 64,
        }
    }
}

impl PetalsChat {
    /// No conversation yet. They end with the gateway.
    #[must_use]
    pub fn new(gateway: &Gateway, config: PetalsChatConfig) -> Self {
        Self(Arc::new(Shared {
            gateway: gateway.clone(),
            sockets: Arc::new(Semaphore::new(config.max_sockets)),
            places: Places::default(),
            config,
        }))
    }

    /// Its routes.
    pub fn routes(&self) -> Router {
        Router::new()
            .route("/api/v1/generate", post(http::generate))
            .route("/api/v2/generate", get(socket::converse))
            .with_state(self.clone())
    }

    fn socket_patience(&self) -> SocketPatience {
        SocketPatience {
            ping: self.0.config.ping_period,
            reader: self.0.gateway.config().reader_patience,
        }
    }
}
