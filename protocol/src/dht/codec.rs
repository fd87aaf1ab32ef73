//! DHT messages as protobuf bodies, and what is refused, repaired or ignored on the way in.
//!
//! | on the wire                         | here                                                       |
//! |-------------------------------------|------------------------------------------------------------|
//! | `NodeInfo` absent, empty, not 20 bytes | node id `None`: treated as client mode                  |
//! | a key that is not 20 bytes          | the whole message is malformed                             |
//! | store arrays of unequal length      | the whole message is malformed (the reference asserts)     |
//! | `nearest_*` pair with a bad id      | the pair is skipped                                        |
//! | unknown result type, bad dictionary | as "not found", the neighbours still count                 |
//! | `auth`                              | ignored, never sent: Petals installs no authorizer         |
//!
//! Golden: `dht_*.json` and `petals_inbound_from_python_client.json` under tests/fixtures.

use bytes::Bytes;
use prost::Message;

use super::id::DhtId;
use super::limits::{
    MAX_KEYS_PER_FIND, MAX_NEAREST_PER_RESULT, MAX_PEER_ID_BYTES, MAX_RECORDS_PER_STORE,
};
use super::request::{
    DhtRequest, DhtResponse, FindRequest, FindResponse, FindResult, NodeContact, PingRequest,
    PingResponse, StoreRecord, StoreRequest, StoreResponse, Subkey,
};
use super::value::{DhtRecord, DhtValue, Dictionary};
use crate::error::DecodeError;
use crate::limits::{MAX_DHT_FIELDS, MAX_UNARY_BYTES};
use crate::proto::{decode_bounded, dht as proto};
use crate::rpc::Rpc;

/// Subkey bytes that stand for "no subkey": msgpack nil.
const NO_SUBKEY: &[u8] = &[0xc0];
/// Number of `results` in `FindResponse`: its fields count towards the field limit too.
const RESULTS_FIELD: u64 = 2;

impl DhtRequest {
    /// The RPC that carries this request.
    pub fn rpc(&self) -> Rpc {
        match self {
            Self::Ping(_) => Rpc::DhtPing,
            Self::Store(_) => Rpc::DhtStore,
            Self::Find(_) => Rpc::DhtFind,
        }
    }

    /// Protobuf body.
    pub fn encode(&self) -> Bytes {
        match self {
            Self::Ping(request) => proto::PingRequest {
                auth: None,
                peer: node_info(request.node_id),
                validate: request.validate,
            }
            .encode_to_vec(),
            Self::Store(request) => encode_store(request),
            Self::Find(request) => proto::FindRequest {
                auth: None,
                keys: request.keys.iter().map(id_bytes).collect(),
                peer: node_info(request.node_id),
            }
            .encode_to_vec(),
        }
        .into()
    }

    /// Reads the body of a call to `rpc`.
    ///
    /// # Errors
    /// `DecodeError` if the body is malformed or over a limit, or if `rpc` is none of the DHT's.
    pub fn decode(rpc: Rpc, body: Bytes) -> Result<Self, DecodeError> {
        match kind(rpc)? {
            Kind::Ping => {
                let message: proto::PingRequest = decode(body, "ping request", None)?;
                let request = PingRequest {
                    node_id: node_id(message.peer.as_ref()),
                    validate: message.validate,
                };
                Ok(Self::Ping(request))
            }
            Kind::Store => decode_store(decode(body, "store request", None)?).map(Self::Store),
            Kind::Find => {
                let message: proto::FindRequest = decode(body, "find request", None)?;
                DecodeError::check_len(
                    "keys of a find request",
                    message.keys.len(),
                    MAX_KEYS_PER_FIND,
                )?;
                let keys = message.keys.iter().map(key).collect::<Result<_, _>>()?;
                Ok(Self::Find(FindRequest {
                    node_id: node_id(message.peer.as_ref()),
                    keys,
                }))
            }
        }
    }
}

impl DhtResponse {
    /// Protobuf body.
    pub fn encode(&self) -> Bytes {
        match self {
            Self::Ping(response) => proto::PingResponse {
                auth: None,
                peer: node_info(response.node_id),
                dht_time: response.dht_time,
                available: response.available,
            }
            .encode_to_vec(),
            Self::Store(response) => proto::StoreResponse {
                auth: None,
                store_ok: response.accepted.clone(),
                peer: node_info(response.node_id),
            }
            .encode_to_vec(),
            Self::Find(response) => proto::FindResponse {
                auth: None,
                results: response.results.iter().map(encode_result).collect(),
                peer: node_info(response.node_id),
            }
            .encode_to_vec(),
        }
        .into()
    }

    /// Reads the body of an answer from `rpc`.
    ///
    /// # Errors
    /// `DecodeError` if the body is malformed or over a limit, or if `rpc` is none of the DHT's.
    pub fn decode(rpc: Rpc, body: Bytes) -> Result<Self, DecodeError> {
        Ok(match kind(rpc)? {
            Kind::Ping => {
                let message: proto::PingResponse = decode(body, "ping response", None)?;
                Self::Ping(PingResponse {
                    node_id: node_id(message.peer.as_ref()),
                    dht_time: message.dht_time,
                    available: message.available,
                })
            }
            Kind::Store => {
                let message: proto::StoreResponse = decode(body, "store response", None)?;
                let node_id = node_id(message.peer.as_ref());
                Self::Store(StoreResponse {
                    node_id,
                    accepted: message.store_ok,
                })
            }
            Kind::Find => {
                let message: proto::FindResponse =
                    decode(body, "find response", Some(RESULTS_FIELD))?;
                let node_id = node_id(message.peer.as_ref());
                Self::Find(FindResponse {
                    node_id,
                    results: message.results.into_iter().map(decode_result).collect(),
                })
            }
        })
    }
}

impl FindResult {
    /// Bytes of this result inside a message, its own header included.
    pub(crate) fn wire_bytes(&self) -> usize {
        encode_result(self).encoded_len().saturating_add(6)
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Ping,
    Store,
    Find,
}

fn kind(rpc: Rpc) -> Result<Kind, DecodeError> {
    match rpc {
        Rpc::DhtPing => Ok(Kind::Ping),
        Rpc::DhtStore => Ok(Kind::Store),
        Rpc::DhtFind => Ok(Kind::Find),
        Rpc::Info
        | Rpc::Forward
        | Rpc::ForwardStream
        | Rpc::Backward
        | Rpc::BackwardStream
        | Rpc::Inference
        | Rpc::Push
        | Rpc::ReachabilityCheck => Err(DecodeError::unsupported("DHT call", rpc.name())),
    }
}

fn decode<M: Message + Default>(
    body: Bytes,
    what: &'static str,
    nested: Option<u64>,
) -> Result<M, DecodeError> {
    DecodeError::check_len(what, body.len(), MAX_UNARY_BYTES)?;
    decode_bounded(body, what, MAX_DHT_FIELDS, nested)
}

fn id_bytes(id: &DhtId) -> Bytes {
    Bytes::copy_from_slice(id.as_bytes())
}

fn node_info(node_id: Option<DhtId>) -> Option<proto::NodeInfo> {
    Some(proto::NodeInfo {
        node_id: node_id.as_ref().map(id_bytes).unwrap_or_default(),
    })
}

fn node_id(info: Option<&proto::NodeInfo>) -> Option<DhtId> {
    DhtId::from_slice(&info?.node_id)
}

fn key(bytes: &Bytes) -> Result<DhtId, DecodeError> {
    DhtId::from_slice(bytes).ok_or_else(|| DecodeError::malformed("DHT key", "not 20 bytes"))
}

fn encode_store(request: &StoreRequest) -> Vec<u8> {
    let records = &request.records;
    let subkey = |record: &StoreRecord| match &record.subkey {
        Subkey::Regular => Bytes::from_static(NO_SUBKEY),
        Subkey::Entry(subkey) => subkey.clone(),
        Subkey::WholeDictionary => Bytes::new(),
    };
    proto::StoreRequest {
        auth: None,
        keys: records.iter().map(|record| id_bytes(&record.key)).collect(),
        subkeys: records.iter().map(subkey).collect(),
        values: records.iter().map(|record| record.value.clone()).collect(),
        expiration_time: records.iter().map(|record| record.expiration).collect(),
        in_cache: records.iter().map(|record| record.in_cache).collect(),
        peer: node_info(request.node_id),
    }
    .encode_to_vec()
}

fn decode_store(message: proto::StoreRequest) -> Result<StoreRequest, DecodeError> {
    let count = message.keys.len();
    DecodeError::check_len("records of a store request", count, MAX_RECORDS_PER_STORE)?;
    let lengths = [
        message.subkeys.len(),
        message.values.len(),
        message.expiration_time.len(),
        message.in_cache.len(),
    ];
    if lengths.iter().any(|length| *length != count) {
        return Err(DecodeError::malformed(
            "store request",
            "its arrays differ in length",
        ));
    }
    let mut records = Vec::with_capacity(count);
    let keys = message.keys.iter().zip(message.subkeys).zip(message.values);
    let rest = message.expiration_time.into_iter().zip(message.in_cache);
    for (((key_bytes, subkey), value), (expiration, in_cache)) in keys.zip(rest) {
        let subkey = match subkey.as_ref() {
            [] => Subkey::WholeDictionary,
            NO_SUBKEY => Subkey::Regular,
            _ => Subkey::Entry(subkey),
        };
        records.push(StoreRecord {
            key: key(key_bytes)?,
            subkey,
            value,
            expiration,
            in_cache,
        });
    }
    Ok(StoreRequest {
        node_id: node_id(message.peer.as_ref()),
        records,
    })
}

fn encode_result(result: &FindResult) -> proto::FindResult {
    let (kind, value, expiration_time) = match &result.record {
        None => (proto::ResultType::NotFound, Bytes::new(), 0.0),
        Some(DhtRecord {
            value: DhtValue::Regular(value),
            expiration,
        }) => (proto::ResultType::FoundRegular, value.clone(), *expiration),
        Some(DhtRecord {
            value: DhtValue::Dictionary(dictionary),
            expiration,
        }) => (
            proto::ResultType::FoundDictionary,
            dictionary.encode(),
            *expiration,
        ),
    };
    proto::FindResult {
        r#type: kind.into(),
        value,
        expiration_time,
        nearest_node_ids: result
            .nearest
            .iter()
            .map(|node| id_bytes(&node.node_id))
            .collect(),
        nearest_peer_ids: result
            .nearest
            .iter()
            .map(|node| node.peer.clone())
            .collect(),
    }
}

fn decode_result(message: proto::FindResult) -> FindResult {
    let value = match proto::ResultType::try_from(message.r#type) {
        Ok(proto::ResultType::FoundRegular) => Some(DhtValue::Regular(message.value)),
        Ok(proto::ResultType::FoundDictionary) => {
            Dictionary::decode(&message.value).map(DhtValue::Dictionary)
        }
        Ok(proto::ResultType::NotFound) | Err(_) => None,
    };
    let expiration = message.expiration_time;
    let record = value
        .filter(|_| !expiration.is_nan())
        .map(|value| DhtRecord { value, expiration });
    let pairs = message
        .nearest_node_ids
        .iter()
        .zip(&message.nearest_peer_ids);
    let nearest = pairs
        .filter(|(_, peer)| !peer.is_empty() && peer.len() <= MAX_PEER_ID_BYTES)
        .filter_map(|(id, peer)| {
            // A copy: the peer may stay in the routing table long after the message is gone.
            Some(NodeContact {
                node_id: DhtId::from_slice(id)?,
                peer: Bytes::copy_from_slice(peer),
            })
        })
        .take(MAX_NEAREST_PER_RESULT)
        .collect();
    FindResult { record, nearest }
}
