//! The live view of one model: who serves what, how far away and how fast, and who is banned.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use block_network::PeerId;
use block_protocol::{ServerInfo, ServerState};

use crate::error::HopError;
use crate::router::{RouteError, RouteRequest};
use crate::server_facts::ServerFacts;
use crate::speed::StepEstimate;
use crate::swarm_view::Records;

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
pub struct ModelView(Arc<Shared>);

#[derive(Debug)]
struct Shared {}

impl ModelView {
    /// A view of servers that are known otherwise than through the DHT. It is ready at once and never refreshes.
    #[must_use]
    pub fn fixed(dht_prefix: &str, num_blocks: usize, records: &Records) -> Self {
        let _ = (dht_prefix, num_blocks, records);
        unimplemented!()
    }

    /// Replaces what a refresh would read. For views made by [`ModelView::fixed`].
    pub fn replace_records(&self, records: &Records) {
        let _ = records;
        unimplemented!()
    }

    /// Key prefix of the model's blocks.
    #[must_use]
    pub fn dht_prefix(&self) -> &str {
        unimplemented!()
    }

    /// Blocks of the whole model.
    #[must_use]
    pub fn num_blocks(&self) -> usize {
        unimplemented!()
    }

    /// Waits until the records have been read once. Dropping it loses nothing.
    ///
    /// # Errors
    /// `NotReady` after `deadline`.
    pub async fn ready(&self, deadline: Duration) -> Result<(), RouteError> {
        let _ = deadline;
        unimplemented!()
    }

    /// A route by what is known now.
    ///
    /// # Errors
    /// [`RouteError`].
    pub fn route(&self, request: &RouteRequest) -> Result<Vec<PlannedHop>, RouteError> {
        let _ = request;
        unimplemented!()
    }

    /// A route; while blocks are missing, the records are read again and again. Dropping it loses nothing.
    ///
    /// # Errors
    /// [`RouteError`], the last one when `deadline` has passed.
    pub async fn route_soon(
        &self,
        request: &RouteRequest,
        deadline: Duration,
    ) -> Result<Vec<PlannedHop>, RouteError> {
        let _ = (request, deadline);
        unimplemented!()
    }

    /// How long a step of `tokens` (batch × seq) through `blocks` blocks of `peer` takes at the client; `None` until
    /// it was measured or announced.
    #[must_use]
    pub fn step_estimate(
        &self,
        peer: PeerId,
        blocks: usize,
        tokens: usize,
    ) -> Option<StepEstimate> {
        let _ = (peer, blocks, tokens);
        unimplemented!()
    }

    /// Notes a step that was answered `took` after its input left for `peer`; ends a ban. Steps without tokens only
    /// end a ban.
    pub fn record_step(&self, peer: PeerId, blocks: usize, tokens: usize, took: Duration) {
        let _ = (peer, blocks, tokens, took);
        unimplemented!()
    }

    /// Notes a failure. Unless the caller or this machine is to blame, the server is out of the graph at once.
    pub fn record_failure(&self, peer: PeerId, error: &HopError) {
        let _ = (peer, error);
        unimplemented!()
    }

    /// What is known now, for people.
    #[must_use]
    pub fn snapshot(&self) -> ViewSnapshot {
        unimplemented!()
    }
}

/// What a view knows at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct ViewSnapshot {
    /// Key prefix of the model's blocks.
    pub dht_prefix: String,
    /// Blocks of the whole model.
    pub num_blocks: usize,
    /// Every server with a live record, in order of spans, then peer ids.
    pub servers: Vec<ServerStatus>,
    /// Time since the records were read; `None` if they never were.
    pub age: Option<Duration>,
    /// Why the last reading failed, if it did.
    pub last_error: Option<String>,
}

/// One server as a view knows it.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerStatus {
    /// Who it is.
    pub peer: PeerId,
    /// What it announced.
    pub state: ServerState,
    /// The blocks that it serves, inside the model.
    pub blocks: Range<usize>,
    /// Tokens per second, as announced.
    pub throughput: f64,
    /// The rest of its record.
    pub info: ServerInfo,
    /// What our pings say.
    pub reach: Reach,
    /// For how long it is still banned.
    pub banned_for: Option<Duration>,
    /// One-token steps through its whole span, as measured.
    pub measured: Option<StepEstimate>,
}

/// Whether a server answers us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Not asked lately.
    Unknown,
    /// It does, after this round trip.
    Answers(Duration),
    /// It did not.
    Silent,
}
