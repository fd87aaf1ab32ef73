//! The state machine of one DHT node: (event, Unix time, random bytes) in, actions out.
//!
//! | file          | concern                                                        |
//! |---------------|----------------------------------------------------------------|
//! | `calls.rs`    | outgoing calls, their answers, what a failure does             |
//! | `serve.rs`    | answering ping, store, find; call-backs                        |
//! | `join.rs`     | initial peers: pinging, joining, pinging for ever              |
//! | `hand_over.rs`| records for a newcomer                                         |
//! | `operation.rs`| lookups of our own, and which operation owns which             |
//! | `get.rs`      | reading: local records, lookup, merging, caching               |
//! | `store.rs`    | writing: lookup, replicas                                      |
//! | `upkeep.rs`   | what time alone brings                                         |

mod calls;
mod get;
mod hand_over;
mod join;
mod operation;
mod serve;
mod store;
mod upkeep;

use std::collections::BTreeMap;

use bytes::Bytes;

use super::config::DhtConfig;
use super::event::{Action, CallFailure, Command, Event, OpId, Outcome, Stored};
use super::failed_peers::FailedPeers;
use super::id::DhtId;
use super::limits::{MAX_INITIAL_PEERS, MAX_ITEMS_PER_COMMAND, MAX_OPERATIONS, MAX_PEER_ID_BYTES};
use super::request::{NodeContact, PingRequest};
use super::routing_table::RoutingTable;
use super::storage::Storage;
use calls::{Calls, Purpose};
use hand_over::HandOvers;
use join::Join;
use operation::{Operation, OperationKey};
use serve::Validation;

/// A member of the DHT. Pure: same events, times and random bytes, same actions.
#[derive(Debug)]
pub struct DhtNode {
    config: DhtConfig,
    table: RoutingTable,
    storage: Storage,
    cache: Storage,
    failed_peers: FailedPeers,
    calls: Calls,
    operations: BTreeMap<OperationKey, Operation>,
    next_operation: u64,
    /// Call-backs under way, by the peer that wants to be validated.
    validations: BTreeMap<Bytes, Validation>,
    hand_overs: HandOvers,
    join: Join,
    /// Cached keys that were read here, with the time at which they are fetched again.
    refreshes: BTreeMap<DhtId, f64>,
    next_sweep: f64,
    next_bucket_refresh: f64,
    actions: Vec<Action>,
}

impl DhtNode {
    /// A node that has not started; `now` is Unix seconds.
    pub fn new(mut config: DhtConfig, now: f64) -> Self {
        let mut initial_peers = std::mem::take(&mut config.initial_peers);
        initial_peers.truncate(MAX_INITIAL_PEERS);
        let expects_peers = config.expects_initial_peers || !initial_peers.is_empty();
        let mut node = Self {
            table: RoutingTable::new(config.node_id, config.bucket_size, now),
            storage: Storage::new(config.storage),
            cache: Storage::new(config.cache),
            failed_peers: FailedPeers::default(),
            calls: Calls::default(),
            operations: BTreeMap::new(),
            next_operation: 0,
            validations: BTreeMap::new(),
            hand_overs: HandOvers::default(),
            join: Join::new(expects_peers),
            refreshes: BTreeMap::new(),
            next_sweep: now,
            next_bucket_refresh: now + config.bucket_refresh_period.as_secs_f64(),
            actions: Vec::new(),
            config,
        };
        for peer in initial_peers {
            node.add_initial_peer(peer);
        }
        node
    }

    /// Takes one event at `now`, Unix seconds; `random` must be unpredictable for others.
    pub fn handle(&mut self, event: Event, now: f64, random: &[u8; 32]) -> Vec<Action> {
        match event {
            Event::Start => self.start(),
            Event::Request {
                request_id,
                from,
                request,
            } => self.serve(request_id, from, request, now),
            Event::Response { call, result } => self.take_response(call, result, now),
            Event::Command { op, command } => self.command(op, command, now),
            Event::Connected { peer } => self.initial_peer_connected(&peer, now),
            Event::Tick => {}
        }
        self.upkeep(now, random);
        let mut actions = std::mem::take(&mut self.actions);
        actions.extend(self.next_wake().map(Action::WakeAt));
        actions
    }

    /// Our place in the DHT.
    pub fn node_id(&self) -> DhtId {
        self.config.node_id
    }

    /// Nodes in the routing table.
    pub fn known_nodes(&self) -> impl Iterator<Item = &NodeContact> {
        self.table.nodes()
    }

    /// Number of nodes in the routing table.
    pub fn known_node_count(&self) -> usize {
        self.table.len()
    }

    /// Number of keys that we keep for the swarm, copies not counted.
    pub fn stored_key_count(&self) -> usize {
        self.storage.len()
    }

    /// True once [`Action::Ready`] was given.
    pub fn is_ready(&self) -> bool {
        self.join.is_ready()
    }

    fn command(&mut self, op: OpId, command: Command, now: f64) {
        let refuse = |items: usize, node: &mut Self| {
            let refused = items > MAX_ITEMS_PER_COMMAND || node.operations.len() >= MAX_OPERATIONS;
            if refused {
                node.done(op, Outcome::Refused);
            }
            refused
        };
        match command {
            Command::Store { entries } => {
                if entries.is_empty() {
                    self.done(op, Outcome::Stored(Vec::<Stored>::new()));
                } else if !refuse(entries.len(), self) {
                    self.begin_store(op, entries, now);
                }
            }
            Command::Get { keys, latest } => {
                if !refuse(keys.len(), self) {
                    let sufficient = if latest { f64::INFINITY } else { now };
                    self.begin_get(Some(op), keys, sufficient, now);
                }
            }
            Command::AddInitialPeer { peer } => {
                let outcome = if self.add_initial_peer(peer) {
                    Outcome::Added
                } else {
                    Outcome::Refused
                };
                self.done(op, outcome);
            }
            Command::RemoveInitialPeer { peer } => {
                self.remove_initial_peer(&peer, now);
                self.done(op, Outcome::Removed);
            }
            Command::Ping { peer } => {
                let request = PingRequest {
                    node_id: self.told_id(),
                    validate: false,
                };
                if !self.call(peer, request.into(), Purpose::Ping(op), now) {
                    self.done(op, Outcome::Pinged(Err(CallFailure::Overloaded)));
                }
            }
        }
    }

    fn done(&mut self, op: OpId, outcome: Outcome) {
        self.actions.push(Action::Done { op, outcome });
    }

    /// The node id that we tell others: none in client mode.
    fn told_id(&self) -> Option<DhtId> {
        (!self.config.client_mode).then_some(self.config.node_id)
    }

    /// True for a peer id that may name somebody else than us.
    fn is_other_peer(&self, peer: &Bytes) -> bool {
        !peer.is_empty() && peer.len() <= MAX_PEER_ID_BYTES && *peer != self.config.peer
    }
}
