//! The state of the swarm for pages and programs: who serves what, and what changes.
//!
//! | path | answer |
//! |---|---|
//! | `GET /v1/system/topology` | [`Topology`] |
//! | `GET /v1/system/peers` | `{"generated_at","peers":[…]}`: its servers in one list, each with the `model` |
//! | `GET /v1/system/events` | events: `topology` first, then what changes |
//!
//! `GET /api/v1/state` and `/api/v1/is_reachable/{peer}` say the same to programs that read Petals' monitor.
//!
//! One task looks at the swarm, as long as somebody looks at it: see `watch`. A subscriber that reads slowly misses
//! states on the way and gets the newest.

mod changes;
mod events;
mod petals;
mod source;
mod watch;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use block_client::topology::{ModelTopology, ServerRow};
use block_network::unix_time;
use serde::Serialize;

use watch::{Seen, Watch};

pub use events::Accounts;
pub use source::{SwarmSource, TopologySource};

/// What is known of the swarm.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Topology {
    /// Every model that the gateway knows of.
    pub models: Vec<ModelTopology>,
    /// The peers that the gateway joined by.
    pub bootstrap: Vec<BootstrapPeer>,
    /// Where others reach the gateway's own peer.
    pub listen_addresses: Vec<String>,
}

/// A peer that the gateway joined by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BootstrapPeer {
    /// Its address, or only its peer id.
    pub address: String,
    /// `online` or `offline`.
    pub state: &'static str,
}

/// What looks at the swarm. Cheap to clone; the looking ends with the last clone and the last of its routes.
#[derive(Debug, Clone)]
pub struct System {
    watch: Arc<Watch>,
    accounts: Accounts,
}

impl System {
    /// Looks by `source`, and tells of the answers in `accounts`. Must be called inside a tokio runtime.
    pub fn start(source: impl TopologySource, accounts: Accounts) -> Self {
        Self {
            watch: Arc::new(Watch::start(source)),
            accounts,
        }
    }

    /// The routes under `/v1/system`.
    pub fn routes(&self) -> Router {
        Router::new()
            .route("/v1/system/topology", get(topology))
            .route("/v1/system/peers", get(peers))
            .route("/v1/system/events", get(events::stream))
            .with_state(self.clone())
    }

    /// The routes of Petals' monitor, `--compat petals`.
    pub fn petals_routes(&self) -> Router {
        Router::new()
            .route("/api/v1/state", get(petals::state))
            .route("/api/v1/is_reachable/{peer}", get(petals::is_reachable))
            .with_state(self.clone())
    }
}

/// A topology with its time, as it is sent.
#[derive(Debug, Serialize)]
struct Stamped<'a> {
    /// Unix seconds.
    generated_at: u64,
    /// Since the swarm was looked at.
    age_seconds: u64,
    #[serde(flatten)]
    topology: &'a Topology,
}

impl Seen {
    fn stamped(&self) -> Stamped<'_> {
        Stamped {
            generated_at: now_seconds(),
            age_seconds: self.at.elapsed().as_secs(),
            topology: &self.topology,
        }
    }
}

async fn topology(State(system): State<System>) -> Json<serde_json::Value> {
    let seen = system.watch.fresh().await;
    Json(json_of(&seen.stamped()))
}

#[derive(Serialize)]
struct Peers<'a> {
    generated_at: u64,
    peers: Vec<Peer<'a>>,
}

#[derive(Serialize)]
struct Peer<'a> {
    model: &'a str,
    #[serde(flatten)]
    server: &'a ServerRow,
}

async fn peers(State(system): State<System>) -> Json<serde_json::Value> {
    let seen = system.watch.fresh().await;
    let peers = seen.topology.models.iter().flat_map(|model| {
        let servers = model.servers.iter();
        servers.map(|server| Peer {
            model: &model.id,
            server,
        })
    });
    Json(json_of(&Peers {
        generated_at: now_seconds(),
        peers: peers.collect(),
    }))
}

/// As JSON; numbers that JSON has no word for are `null`.
fn json_of(value: &impl Serialize) -> serde_json::Value {
    serde_json::to_value(value).unwrap_or_default()
}

fn now_seconds() -> u64 {
    // Far from both ends of the range.
    unix_time() as u64
}
