//! What a view knows. Pure: time comes in.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use block_network::PeerId;
use block_protocol::ServerState;

use super::graph::Graph;
use super::round_trips::RoundTrips;
use super::snapshot::{Reach, ServerStatus, ViewSnapshot};
use crate::bans::Bans;
use crate::error::Blame;
use crate::metrics::{RateKind, SeenState, ViewFigures, ViewSeries};
use crate::router::{Candidate, Pace, RouteError};
use crate::server_facts::ServerFacts;
use crate::speed::{Speed, StepEstimate, StepSize, claimed_estimate};
use crate::swarm_view::{Records, ServerSpan, server_spans};

/// Servers of one model that are looked at. The largest swarms have had some hundred; more are a flood, and the work
/// grows with their square.
const MAX_SERVERS: usize = 4096;
/// Pings of one record that are looked at; servers measure ten.
const MAX_NEXT_PINGS: usize = 64;

/// How long a refusal for want of room is news: as long as its server is left out.
const CROWDED: Duration = Duration::from_secs(5);

/// What a view knows.
#[derive(Debug)]
pub(super) struct State {
    dht_prefix: String,
    num_blocks: usize,
    /// In order of first blocks, then of peer ids: ties of routes go that way.
    servers: Vec<Server>,
    round_trips: RoundTrips,
    speeds: HashMap<PeerId, Speed>,
    bans: Bans,
    /// When a server last refused for want of room.
    refused: Option<Instant>,
    read: Option<Instant>,
    last_error: Option<String>,
    series: ViewSeries,
}

#[derive(Debug)]
struct Server {
    facts: Arc<ServerFacts>,
    span: ServerSpan,
    next_round_trips: Arc<HashMap<PeerId, f64>>,
}

impl State {
    pub(super) fn new(dht_prefix: String, num_blocks: usize) -> Self {
        Self {
            series: ViewSeries::new(dht_prefix.clone()),
            dht_prefix,
            num_blocks,
            servers: Vec::new(),
            round_trips: RoundTrips::default(),
            speeds: HashMap::new(),
            bans: Bans::default(),
            refused: None,
            read: None,
            last_error: None,
        }
    }

    /// Whether there was a reading at all.
    pub(super) fn has_read(&self) -> bool {
        self.read.is_some()
    }

    /// Whether a server had no room just now. Unlike its ban this outlives steps of sessions that it has.
    pub(super) fn is_crowded(&self, now: Instant) -> bool {
        let refused = self.refused;
        refused.is_some_and(|at| now.saturating_duration_since(at) < CROWDED)
    }

    pub(super) fn facts(&self, peer: &PeerId) -> Option<Arc<ServerFacts>> {
        let mut servers = self.servers.iter();
        let server = servers.find(|server| server.facts.peer == *peer)?;
        Some(Arc::clone(&server.facts))
    }

    pub(super) fn last_error(&self) -> Option<&str> {
        self.last_error.as_deref()
    }

    /// Takes over the records that were read.
    pub(super) fn replace(&mut self, records: &Records, now: Instant) {
        self.set_servers(records);
        self.read = Some(now);
        self.last_error = None;
        self.forget_old(now);
        self.show(now);
    }

    fn set_servers(&mut self, records: &Records) {
        let spans = server_spans(records, self.num_blocks, ServerState::Offline);
        if spans.len() > MAX_SERVERS {
            tracing::warn!(
                servers = spans.len(),
                "more servers than a view looks at: the rest is left out"
            );
        }
        // The key of a record is what its author wrote, perhaps no peer id at all.
        let spans = spans
            .into_iter()
            .filter_map(|span| Some((span.peer_id.parse::<PeerId>().ok()?, span)));
        let mut spans: Vec<_> = spans.take(MAX_SERVERS).collect();
        spans.sort_by(|(_, one), (_, other)| {
            (one.blocks.start, &one.peer_id).cmp(&(other.blocks.start, &other.peer_id))
        });
        let by_name: HashMap<&str, PeerId> = spans
            .iter()
            .map(|(peer, span)| (span.peer_id.as_str(), *peer))
            .collect();
        let next_round_trips = |span: &ServerSpan| {
            let pings = span.info.next_pings.iter().take(MAX_NEXT_PINGS);
            let known =
                pings.filter_map(|(name, time)| Some((*by_name.get(name.as_str())?, *time)));
            Arc::new(known.collect())
        };
        let servers = spans.iter().map(|(peer, span)| Server {
            facts: Arc::new(ServerFacts::new(*peer, span.blocks.clone(), &span.info)),
            next_round_trips: next_round_trips(span),
            span: span.clone(),
        });
        self.servers = servers.collect();
    }

    /// The records could not be read; `records` are those of earlier readings that still hold.
    pub(super) fn reading_failed(&mut self, records: &Records, reason: String, now: Instant) {
        self.set_servers(records);
        self.last_error = Some(reason);
        self.forget_old(now);
        self.show(now);
    }

    pub(super) fn pinged(&mut self, peer: PeerId, answer: Option<Duration>, now: Instant) {
        self.round_trips.record(peer, answer, now);
    }

    /// Shows the figures of now.
    pub(super) fn show(&mut self, now: Instant) {
        let figures = self.figures(now);
        self.series.show(&figures);
        self.series.show_banned(self.bans.count(now));
    }

    /// What a route can be made of now.
    ///
    /// # Errors
    /// `NotReady` before the first reading.
    pub(super) fn graph(&self, now: Instant) -> Result<Graph, RouteError> {
        if !self.has_read() {
            let reason = self.last_error.clone();
            return Err(RouteError::NotReady(
                reason.unwrap_or_else(|| "not yet".to_owned()),
            ));
        }
        let online = self
            .servers
            .iter()
            .filter(|server| server.span.state == ServerState::Online);
        let (candidates, facts) = online
            .map(|server| (self.candidate(server, now), Arc::clone(&server.facts)))
            .unzip();
        Ok(Graph {
            candidates,
            facts,
            num_blocks: self.num_blocks,
        })
    }

    fn candidate(&self, server: &Server, now: Instant) -> Candidate {
        let peer = server.facts.peer;
        let speed = self.speeds.get(&peer);
        let measured = speed.and_then(|speed| speed.per_block(now));
        Candidate {
            peer,
            blocks: server.span.blocks.clone(),
            pace: measured.map_or(
                Pace::Announced(server.span.info.inference_rps),
                Pace::Measured,
            ),
            round_trip: self.round_trips.seconds(&peer, now),
            next_round_trips: Arc::clone(&server.next_round_trips),
            pushes: server.facts.pushes(),
            cache_tokens_left: server.span.info.cache_tokens_left,
            ban: self.bans.banned(&peer, now),
        }
    }

    pub(super) fn estimate(
        &self,
        peer: &PeerId,
        size: StepSize,
        now: Instant,
    ) -> Option<StepEstimate> {
        let way = self.round_trips.time(peer, now);
        let speed = self.speeds.get(peer);
        let measured = speed.and_then(|speed| speed.estimate(size, way, now));
        measured.or_else(|| {
            let server = self
                .servers
                .iter()
                .find(|server| server.facts.peer == *peer)?;
            let info = &server.span.info;
            claimed_estimate(size, info.inference_rps, info.forward_rps, way)
        })
    }

    pub(super) fn succeeded(&mut self, peer: PeerId, size: StepSize, took: Duration, now: Instant) {
        let way = self.round_trips.time(&peer, now);
        self.speeds
            .entry(peer)
            .or_default()
            .record(size, took, way, now);
        if let Some(began) = now.checked_sub(took) {
            self.bans.succeeded(&peer, began);
        }
        self.series.show_banned(self.bans.count(now));
    }

    pub(super) fn failed(&mut self, peer: PeerId, blame: Blame, now: Instant) {
        match blame {
            Blame::Caller | Blame::Misfit => {}
            Blame::Busy => {
                self.refused = Some(now);
                self.bans.busy(peer, now);
            }
            Blame::Server => self.bans.failed(peer, now),
        }
        self.series.show_banned(self.bans.count(now));
    }

    /// Whom to ping: of the servers at the first block, at the last one and between, those that were not asked for
    /// longest, at most `each` of each group.
    pub(super) fn ping_candidates(&self, each: usize) -> Vec<PeerId> {
        let last = self.num_blocks.saturating_sub(1);
        let is_first = |server: &Server| server.span.blocks.contains(&0);
        let is_last = |server: &Server| server.span.blocks.contains(&last);
        let groups: [&dyn Fn(&Server) -> bool; 3] = [&is_first, &is_last, &|server| {
            !is_first(server) && !is_last(server)
        }];
        let mut chosen = Vec::new();
        for is_in in groups {
            let online = |server: &&Server| server.span.state == ServerState::Online;
            let group = self.servers.iter().filter(online);
            let mut group: Vec<_> = group
                .filter(|server| is_in(server) && !chosen.contains(&server.facts.peer))
                .map(|server| server.facts.peer)
                .collect();
            group.sort_by_key(|peer| self.round_trips.asked(peer));
            chosen.extend(group.into_iter().take(each));
        }
        chosen
    }

    fn forget_old(&mut self, now: Instant) {
        self.round_trips.forget_old(now);
        self.bans.forget_old(now);
        let listed: HashSet<PeerId> = self
            .servers
            .iter()
            .map(|server| server.facts.peer)
            .collect();
        self.speeds
            .retain(|peer, speed| listed.contains(peer) && !speed.is_forgotten(now));
    }

    fn reach(&self, peer: &PeerId, now: Instant) -> Reach {
        match self.round_trips.seconds(peer, now) {
            None => Reach::Unknown,
            Some(seconds) => {
                Duration::try_from_secs_f64(seconds).map_or(Reach::Silent, Reach::Answers)
            }
        }
    }

    pub(super) fn snapshot(&self, now: Instant) -> ViewSnapshot {
        let status = |server: &Server| {
            let peer = server.facts.peer;
            let size = StepSize {
                blocks: server.span.blocks.len(),
                tokens: 1,
            };
            let way = self.round_trips.time(&peer, now);
            let speed = self.speeds.get(&peer);
            ServerStatus {
                peer,
                state: server.span.state,
                blocks: server.span.blocks.clone(),
                throughput: server.span.throughput,
                info: server.span.info.clone(),
                reach: self.reach(&peer, now),
                banned_for: self.bans.remaining(&peer, now),
                measured: speed.and_then(|speed| speed.estimate(size, way, now)),
            }
        };
        ViewSnapshot {
            dht_prefix: self.dht_prefix.clone(),
            num_blocks: self.num_blocks,
            servers: self.servers.iter().map(status).collect(),
            age: self.read.map(|read| now.saturating_duration_since(read)),
            last_error: self.last_error.clone(),
        }
    }

    fn figures(&self, now: Instant) -> ViewFigures {
        let snapshot = self.snapshot(now);
        let mut versions: BTreeMap<String, usize> = BTreeMap::new();
        let mut servers: Vec<(SeenState, usize)> = Vec::new();
        for server in &snapshot.servers {
            let state = match (server.state, server.reach) {
                (ServerState::Online, Reach::Silent) => SeenState::Unreachable,
                (ServerState::Online, Reach::Unknown | Reach::Answers(_)) => SeenState::Online,
                (ServerState::Joining, _) => SeenState::Joining,
                (ServerState::Offline, _) => SeenState::Offline,
            };
            servers.push((state, 1));
            if let Some(version) = &server.info.version {
                *versions.entry(version.clone()).or_default() += 1;
            }
        }
        ViewFigures {
            servers,
            blocks: self.num_blocks,
            covered: snapshot.covered(),
            replicas_min: snapshot.replicas().into_iter().min().unwrap_or_default(),
            bottleneck: vec![
                (
                    RateKind::Inference,
                    snapshot.bottleneck(|info| info.inference_rps),
                ),
                (
                    RateKind::Forward,
                    snapshot.bottleneck(|info| info.forward_rps),
                ),
                (
                    RateKind::Network,
                    snapshot.bottleneck(|info| info.network_rps),
                ),
            ],
            versions,
        }
    }
}
