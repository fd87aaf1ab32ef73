//! The live view of one model: who serves what, how far away and how fast, and who is banned.
//!
//! - [`ModelView`]: the handle; everything is answered at once from [`state::State`]
//! - [`state`]: what is known; pure, `now` comes in
//! - `refresh`: the task that reads the records and pings, owned by the handles and ended with the last
//! - `graph`: what a route can be made of at one moment
//! - `round_trips`: smoothed pings; pure
//! - [`snapshot`]: what is known, for people
//!
//! Differs from petals 22afba6 (`client/routing/sequence_manager.py`) where that has bugs: a failed server leaves the graph
//! with the call that reports it, servers of the first block are pinged, too, and what fails by the caller's own fault
//! bans nobody.

mod graph;
mod refresh;
mod round_trips;
mod snapshot;
mod state;

#[cfg(test)]
mod tests;

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use block_network::{Dht, Node, PeerId};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::error::HopError;
use crate::metrics::{self, RouteFor};
use crate::router::{RouteError, RouteMode, RouteRequest};
use crate::server_facts::ServerFacts;
use crate::speed::{StepEstimate, StepSize};
use crate::swarm_view::Records;
use state::State;

pub use snapshot::{Reach, ServerStatus, ViewSnapshot};

/// One stop of a route.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedHop {
    /// The server.
    pub peer: PeerId,
    /// What it is to run, within what it serves.
    pub blocks: Range<usize>,
    /// What it can do.
    pub server: Arc<ServerFacts>,
}

/// The live view of one model. Cheap to clone; refreshing ends with the last clone.
#[derive(Debug, Clone)]
pub struct ModelView(Arc<Handle>);

#[derive(Debug)]
pub(crate) struct Handle {
    shared: Arc<Shared>,
    /// None of a view that does not refresh.
    task: Option<JoinHandle<()>>,
}

/// What the handles and the refreshing task have in common.
#[derive(Debug)]
struct Shared {
    dht_prefix: String,
    num_blocks: usize,
    state: Mutex<State>,
    /// Refreshes that have ended, successful or not, pings aside.
    refreshes: watch::Sender<u64>,
    /// Whether the first refresh is over, pings included unless they take long.
    is_ready: watch::Sender<bool>,
    /// Asks for a refresh before its time.
    wanted: Notify,
}

impl Drop for Handle {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl Shared {
    fn new(dht_prefix: &str, num_blocks: usize, is_ready: bool) -> Self {
        Self {
            dht_prefix: dht_prefix.to_owned(),
            num_blocks,
            state: Mutex::new(State::new(dht_prefix.to_owned(), num_blocks)),
            refreshes: watch::Sender::new(0),
            is_ready: watch::Sender::new(is_ready),
            wanted: Notify::new(),
        }
    }

    /// Nothing awaits under this lock, and every change under it is whole even if it panics.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ModelView {
    /// A view that is kept up to date from the DHT, anew every `period`. `keep` lives as long as the view.
    pub(crate) fn live(
        (node, dht): (Node, Dht),
        (dht_prefix, num_blocks): (&str, usize),
        period: Duration,
        keep: impl Send + 'static,
    ) -> Self {
        let shared = Arc::new(Shared::new(dht_prefix, num_blocks, false));
        let task = refresh::run(node, dht, Arc::clone(&shared), period);
        let task = tokio::spawn(async move {
            let _keep = keep;
            task.await;
        });
        Self(Arc::new(Handle {
            shared,
            task: Some(task),
        }))
    }

    /// A view of servers that are known otherwise than through the DHT. It is ready at once and never refreshes.
    #[must_use]
    pub fn fixed(dht_prefix: &str, num_blocks: usize, records: &Records) -> Self {
        let view = Self(Arc::new(Handle {
            shared: Arc::new(Shared::new(dht_prefix, num_blocks, true)),
            task: None,
        }));
        view.replace_records(records);
        view
    }

    /// Replaces what a refresh would read. For views made by [`ModelView::fixed`]; others forget it at their next
    /// refresh.
    pub fn replace_records(&self, records: &Records) {
        let now = Instant::now().into_std();
        self.0.shared.state().replace(records, now);
        self.0.shared.refreshes.send_modify(|count| *count += 1);
    }

    pub(crate) fn handle(&self) -> &Arc<Handle> {
        &self.0
    }

    pub(crate) fn of_handle(handle: Arc<Handle>) -> Self {
        Self(handle)
    }

    /// Key prefix of the model's blocks.
    #[must_use]
    pub fn dht_prefix(&self) -> &str {
        &self.0.shared.dht_prefix
    }

    /// Blocks of the whole model.
    #[must_use]
    pub fn num_blocks(&self) -> usize {
        self.0.shared.num_blocks
    }

    /// Waits until the records have been read once and the servers pinged, unless they take long to answer. Dropping it
    /// loses nothing.
    ///
    /// # Errors
    /// `NotReady` after `deadline`, with the reason of the last failed reading.
    pub async fn ready(&self, deadline: Duration) -> Result<(), RouteError> {
        let mut is_ready = self.0.shared.is_ready.subscribe();
        let waited = tokio::time::timeout(deadline, is_ready.wait_for(|ready| *ready)).await;
        match waited {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => {
                let reason = self.0.shared.state().last_error().map(str::to_owned);
                let reason = reason
                    .unwrap_or_else(|| format!("no answer within {} s", deadline.as_secs_f64()));
                Err(RouteError::NotReady(reason))
            }
        }
    }

    /// A route by what is known now. If it must use a banned or avoided server, or there is none, the records are read
    /// anew in the background.
    ///
    /// # Errors
    /// [`RouteError`].
    pub fn route(&self, request: &RouteRequest) -> Result<Vec<PlannedHop>, RouteError> {
        let began = Instant::now();
        let graph = self.0.shared.state().graph(began.into_std());
        let planned = graph.and_then(|graph| graph.route(request));
        let purpose = match request.mode {
            RouteMode::MinLatency => RouteFor::MinLatency,
            RouteMode::MaxThroughput => RouteFor::MaxThroughput,
        };
        let hops = planned.as_ref().ok().map(|route| route.hops.len());
        metrics::record_route(purpose, hops, began.elapsed());
        if !planned.as_ref().is_ok_and(|route| !route.is_makeshift) {
            self.refresh_soon();
        }
        planned.map(|route| route.hops)
    }

    /// A route; while servers are missing, the records are read again and again. Dropping it loses nothing.
    ///
    /// # Errors
    /// [`RouteError`]: at once if waiting cannot help, otherwise the last one when `deadline` has passed.
    pub async fn route_soon(
        &self,
        request: &RouteRequest,
        deadline: Duration,
    ) -> Result<Vec<PlannedHop>, RouteError> {
        let give_up = Instant::now() + deadline;
        let mut refreshes = self.0.shared.refreshes.subscribe();
        let mut is_ready = self.0.shared.is_ready.subscribe();
        // Before the first pings all servers look alike. Without an answer in time, the route says what is missing.
        let _ = tokio::time::timeout_at(give_up, is_ready.wait_for(|ready| *ready)).await;
        loop {
            refreshes.mark_unchanged();
            let error = match self.route(request) {
                Err(error @ (RouteError::Uncovered { .. } | RouteError::Pinned(_))) => error,
                outcome => return outcome,
            };
            let waited = tokio::time::timeout_at(give_up, refreshes.changed()).await;
            if !matches!(waited, Ok(Ok(()))) {
                return Err(error);
            }
        }
    }

    /// Asks for a reading of the records before its time.
    pub fn refresh_soon(&self) {
        self.0.shared.wanted.notify_one();
    }

    /// How long a step of `tokens` new tokens (over all sequences; 1 for a decode step of any number of them) through `blocks` blocks of `peer` takes at the client;
    /// by claims until it was measured, `None` without those.
    #[must_use]
    pub fn step_estimate(
        &self,
        peer: PeerId,
        blocks: usize,
        tokens: usize,
    ) -> Option<StepEstimate> {
        let size = StepSize { blocks, tokens };
        let now = Instant::now().into_std();
        self.0.shared.state().estimate(&peer, size, now)
    }

    /// Notes a step of `tokens` new tokens that was answered `took` after its input left for `peer`; ends a ban. Steps
    /// without tokens only end a ban.
    pub fn record_step(&self, peer: PeerId, blocks: usize, tokens: usize, took: Duration) {
        let size = StepSize { blocks, tokens };
        let now = Instant::now().into_std();
        self.0.shared.state().succeeded(peer, size, took, now);
    }

    /// Notes a failure. Unless the request is to blame, the server is out of the graph when this returns.
    pub fn record_failure(&self, peer: PeerId, error: &HopError) {
        let blame = error.blame();
        tracing::debug!(%peer, %error, ?blame, "server failed");
        let now = Instant::now().into_std();
        self.0.shared.state().failed(peer, blame, now);
    }

    /// Whether a server refused a session of ours just now for want of room.
    #[must_use]
    pub fn is_crowded(&self) -> bool {
        let now = Instant::now().into_std();
        self.0.shared.state().is_crowded(now)
    }

    /// What a server of this model can do; `None` if it has no live record.
    #[must_use]
    pub fn server(&self, peer: &PeerId) -> Option<Arc<ServerFacts>> {
        self.0.shared.state().facts(peer)
    }

    /// What is known now, for people.
    #[must_use]
    pub fn snapshot(&self) -> ViewSnapshot {
        let now = Instant::now().into_std();
        self.0.shared.state().snapshot(now)
    }
}
