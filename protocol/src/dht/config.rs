//! What a DHT node is told at birth.

use std::time::Duration;

use bytes::Bytes;

use super::id::DhtId;
use super::storage::StorageLimits;

/// Settings of a [`DhtNode`](super::DhtNode); the defaults are hivemind's unless said otherwise.
#[derive(Debug, Clone)]
pub struct DhtConfig {
    /// Our place in the DHT: random, new on every start.
    pub node_id: DhtId,
    /// Our libp2p peer id, multihash bytes.
    pub peer: Bytes,
    /// Take part without answering: no calls are served and our node id is never told.
    pub client_mode: bool,
    /// Peers to join through; more may follow with [`Command::AddInitialPeer`](super::Command::AddInitialPeer).
    pub initial_peers: Vec<Bytes>,
    /// There are initial peers whose ids are not known yet, so an empty `initial_peers` does not mean "alone".
    pub expects_initial_peers: bool,
    /// Nodes per bucket, and nodes named in an answer.
    pub bucket_size: usize,
    /// Nodes that should hold each record, ourselves included if we are near enough.
    pub replicas: usize,
    /// Width of a lookup.
    pub beam: usize,
    /// Calls that one lookup has under way: between the reference's default (4) and what its client uses (32).
    pub parallel_calls: usize,
    /// Nodes that did not supply a value and are sent a copy after a get.
    pub cache_nearest: usize,
    /// Time for one call.
    pub call_timeout: Duration,
    /// Initial peers that were not heard for this long are pinged again, for ever. Ours: the reference never does.
    pub initial_peer_period: Duration,
    /// Buckets in which nobody was heard for this long are looked into. Ours: off in the reference.
    pub bucket_refresh_period: Duration,
    /// Bounds of the records that we answer for.
    pub storage: StorageLimits,
    /// Bounds of copies.
    pub cache: StorageLimits,
}

impl DhtConfig {
    /// The defaults for a node with this id on this peer.
    pub fn new(node_id: DhtId, peer: Bytes) -> Self {
        Self {
            node_id,
            peer,
            client_mode: false,
            initial_peers: Vec::new(),
            expects_initial_peers: false,
            bucket_size: 20,
            replicas: 5,
            beam: 20,
            parallel_calls: 8,
            cache_nearest: 1,
            call_timeout: Duration::from_secs(3),
            initial_peer_period: Duration::from_secs(30),
            bucket_refresh_period: Duration::from_secs(600),
            storage: StorageLimits::STORAGE,
            cache: StorageLimits::CACHE,
        }
    }
}
