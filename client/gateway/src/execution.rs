//! An execution API after Kekahyde's: a prompt is started, looked at, listened to and cancelled by its id.
//!
//! | path | answer |
//! |---|---|
//! | `POST /execution/start` | 202 `{"id"}` |
//! | `GET /execution/status/{id}` | `{"id","state","result","error","start_time","end_time","tokens"}` |
//! | `POST /execution/cancel/{id}` | `{"id","state"}`; again: the same |
//! | `POST /run_prompt` | `{"result"}`, when it is done |
//! | `GET /status` | `{"model_loaded","cpu_usage","memory_usage","state"}` |
//! | `WS /ws/execution/{id}` | what happened so far, then what happens: see `socket` |
//!
//! - `request`: what is asked; `policy`: which servers may answer it
//! - `run`: its task; `record`: what is known of it; `store`: those that are kept
//! - `calls`: the handlers; `process`: what this process uses
//!
//! An execution belongs to the key that started it: to others it does not exist. It goes on without anybody listening.

mod calls;
mod policy;
mod process;
mod record;
mod request;
mod run;
mod socket;
mod store;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::{get, post};
use block_network::PeerId;
use tokio::sync::Semaphore;

use crate::gateway::Gateway;
use crate::websocket::SocketPatience;
use process::Usage;
#[cfg(test)]
pub(crate) use request::EXECUTION_FIELDS;
use store::Store;

/// The executions of a gateway. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Executions(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    gateway: Gateway,
    config: ExecutionConfig,
    store: Arc<Store>,
    usage: Usage,
    sockets: Arc<Semaphore>,
}

/// Settings of the execution API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecutionConfig {
    /// Servers on other machines that an execution may use although its policy forbids networking. Default none.
    pub trusted_peers: Vec<PeerId>,
    /// How often a WebSocket is pinged. Default 20 s.
    pub ping_period: Duration,
    /// How long a finished execution is kept. Default 10 minutes.
    pub keep: Duration,
}

impl Default for ExecutionConfig {
    fn default() -> Self {
        Self {
            trusted_peers: Vec::new(),
            ping_period: Duration::from_secs(20),
            keep: Duration::from_secs(600),
        }
    }
}

impl Executions {
    /// None yet. They end with the gateway.
    #[must_use]
    pub fn new(gateway: &Gateway, config: ExecutionConfig) -> Self {
        Self(Arc::new(Shared {
            gateway: gateway.clone(),
            store: Arc::new(Store::new(config.keep)),
            usage: Usage::begin(),
            sockets: Arc::new(Semaphore::new(MAX_SOCKETS)),
            config,
        }))
    }

    /// Its routes, `--compat kekahyde`.
    pub fn routes(&self) -> Router {
        Router::new()
            .route("/execution/start", post(calls::start))
            .route("/execution/status/{id}", get(calls::status))
            .route("/execution/cancel/{id}", post(calls::cancel))
            .route("/run_prompt", post(calls::run_prompt))
            .route("/status", get(calls::gateway_status))
            .route("/ws/execution/{id}", get(socket::listen))
            .with_state(self.clone())
    }

    fn socket_patience(&self) -> SocketPatience {
        SocketPatience {
            ping: self.0.config.ping_period,
            reader: self.0.gateway.config().reader_patience,
        }
    }
}

/// WebSockets open at once, over all executions. Each is a task and two small buffers.
const MAX_SOCKETS: usize = 256;
