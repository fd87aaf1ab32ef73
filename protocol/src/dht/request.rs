//! What DHT peers say to each other, in our words; `codec.rs` turns it into protobuf and back.

use bytes::Bytes;

use super::id::DhtId;
use super::value::{DhtRecord, DhtValue};

/// A call from one DHT node to another.
#[derive(Debug, Clone, PartialEq)]
pub enum DhtRequest {
    /// `rpc_ping`.
    Ping(PingRequest),
    /// `rpc_store`.
    Store(StoreRequest),
    /// `rpc_find`.
    Find(FindRequest),
}

/// The answer to a [`DhtRequest`] of the same kind.
#[derive(Debug, Clone, PartialEq)]
pub enum DhtResponse {
    /// Answer to `rpc_ping`.
    Ping(PingResponse),
    /// Answer to `rpc_store`.
    Store(StoreResponse),
    /// Answer to `rpc_find`.
    Find(FindResponse),
}

/// "Are you there?"
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PingRequest {
    /// The caller's node id; `None` in client mode, or if what came was no identifier.
    pub node_id: Option<DhtId>,
    /// Ask the callee to call back before it answers.
    pub validate: bool,
}

/// "Yes, and this is my clock."
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PingResponse {
    /// The callee's node id; `None` in client mode.
    pub node_id: Option<DhtId>,
    /// The callee's clock, Unix seconds; 0 if it did not say.
    pub dht_time: f64,
    /// The call-back reached the caller and found the same node id there.
    pub available: bool,
}

/// "Keep these."
#[derive(Debug, Clone, PartialEq)]
pub struct StoreRequest {
    /// The caller's node id; `None` in client mode.
    pub node_id: Option<DhtId>,
    /// What to keep; answered in this order.
    pub records: Vec<StoreRecord>,
}

/// One record of a [`StoreRequest`].
#[derive(Debug, Clone, PartialEq)]
pub struct StoreRecord {
    /// Hash of the key.
    pub key: DhtId,
    /// Which part of the key is stored.
    pub subkey: Subkey,
    /// msgpack value, or a whole dictionary.
    pub value: Bytes,
    /// Unix seconds.
    pub expiration: f64,
    /// Keep it as a copy, not as an own record.
    pub in_cache: bool,
}

/// Which part of a key a record is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subkey {
    /// The key has one value.
    Regular,
    /// One entry of a dictionary; msgpack form of the subkey.
    Entry(Bytes),
    /// The value is a dictionary whose entries are merged.
    WholeDictionary,
}

/// Which records were kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreResponse {
    /// The callee's node id.
    pub node_id: Option<DhtId>,
    /// One per record of the request.
    pub accepted: Vec<bool>,
}

/// "What do you have under these keys, and who is near them?"
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FindRequest {
    /// The caller's node id; `None` in client mode.
    pub node_id: Option<DhtId>,
    /// Hashes of the keys, or node ids.
    pub keys: Vec<DhtId>,
}

/// Answer to a [`FindRequest`].
#[derive(Debug, Clone, PartialEq)]
pub struct FindResponse {
    /// The callee's node id.
    pub node_id: Option<DhtId>,
    /// One per key of the request.
    pub results: Vec<FindResult>,
}

/// What a node knows about one key.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FindResult {
    /// The record, if the node has one.
    pub record: Option<DhtRecord>,
    /// Nodes near the key, nearest first.
    pub nearest: Vec<NodeContact>,
}

/// A node and the peer behind it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeContact {
    /// Where it stands in the DHT.
    pub node_id: DhtId,
    /// Its libp2p peer id, multihash bytes.
    pub peer: Bytes,
}

impl StoreRecord {
    /// A whole record, as hand-over and caching send it.
    pub fn whole(key: DhtId, record: DhtRecord, in_cache: bool) -> Self {
        let (subkey, value) = match record.value {
            DhtValue::Regular(value) => (Subkey::Regular, value),
            DhtValue::Dictionary(dictionary) => (Subkey::WholeDictionary, dictionary.encode()),
        };
        Self {
            key,
            subkey,
            value,
            expiration: record.expiration,
            in_cache,
        }
    }

    /// Roughly what the record takes in a message, bytes.
    pub(crate) fn wire_bytes(&self) -> usize {
        let subkey_bytes = match &self.subkey {
            Subkey::Regular | Subkey::WholeDictionary => 1,
            Subkey::Entry(subkey) => subkey.len(),
        };
        // Key, expiration, flag and five field headers of at most six bytes.
        self.value
            .len()
            .saturating_add(subkey_bytes)
            .saturating_add(64)
    }
}

impl DhtRequest {
    /// The caller's node id, whatever the call.
    pub fn node_id(&self) -> Option<DhtId> {
        match self {
            Self::Ping(request) => request.node_id,
            Self::Store(request) => request.node_id,
            Self::Find(request) => request.node_id,
        }
    }
}

impl DhtResponse {
    /// The callee's node id, whatever the call.
    pub fn node_id(&self) -> Option<DhtId> {
        match self {
            Self::Ping(response) => response.node_id,
            Self::Store(response) => response.node_id,
            Self::Find(response) => response.node_id,
        }
    }
}
