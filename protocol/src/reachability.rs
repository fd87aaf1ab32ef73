//! `ReachabilityProtocol.rpc_check`: can you dial that peer?
//!
//! The messages are the DHT's `PingRequest` and `PingResponse`, but `peer.node_id` holds a peer
//! id (the raw multihash), not a DHT id. A request that names its receiver is answered `true` at
//! once; any other makes the receiver dial the peer from a throw-away identity.
//! Source: Petals main, `server/reachability.py`. Golden bytes: `petals.rpc_check.*`.

use bytes::Bytes;
use prost::Message;

use crate::{
    error::DecodeError,
    limits::MAX_PEER_ID_BYTES,
    proto::{decode_bounded, dht},
};

/// Asks whether a peer can be dialled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReachabilityRequest {
    /// The peer in question: multihash bytes; empty if the caller named none.
    pub peer: Bytes,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReachabilityResponse {
    /// Whether the peer answered.
    pub available: bool,
}

/// Fields of either message, with room for unknown ones.
const MAX_FIELDS: usize = 32;

impl ReachabilityRequest {
    /// The protobuf.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let message = dht::PingRequest {
            auth: None,
            peer: Some(dht::NodeInfo {
                node_id: self.peer.clone(),
            }),
            validate: false,
        };
        message.encode_to_vec().into()
    }

    /// Reads the protobuf.
    ///
    /// # Errors
    /// `Malformed`, or `LimitExceeded` for a peer id over [`MAX_PEER_ID_BYTES`].
    pub fn decode(body: Bytes) -> Result<Self, DecodeError> {
        let message: dht::PingRequest = decode_bounded(body, "rpc_check", MAX_FIELDS, None)?;
        let peer = message.peer.map(|peer| peer.node_id).unwrap_or_default();
        DecodeError::check_len("peer id bytes", peer.len(), MAX_PEER_ID_BYTES)?;
        Ok(Self { peer })
    }
}

impl ReachabilityResponse {
    /// The protobuf; empty for `false`, as Petals writes it.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let message = dht::PingResponse {
            available: self.available,
            ..dht::PingResponse::default()
        };
        message.encode_to_vec().into()
    }

    /// Reads the protobuf.
    ///
    /// # Errors
    /// `Malformed`.
    pub fn decode(body: Bytes) -> Result<Self, DecodeError> {
        let message: dht::PingResponse = decode_bounded(body, "rpc_check", MAX_FIELDS, None)?;
        Ok(Self {
            available: message.available,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_absent_peer_is_empty_and_a_long_one_refused() {
        let none = ReachabilityRequest::decode(Bytes::new());
        assert_eq!(none, Ok(ReachabilityRequest { peer: Bytes::new() }));
        let long = ReachabilityRequest {
            peer: vec![0; MAX_PEER_ID_BYTES + 1].into(),
        };
        assert!(ReachabilityRequest::decode(long.encode()).is_err());
    }

    proptest! {
        #[test]
        fn messages_round_trip(
            peer in prop::collection::vec(any::<u8>(), 0..MAX_PEER_ID_BYTES),
            available: bool,
        ) {
            let request = ReachabilityRequest { peer: peer.into() };
            prop_assert_eq!(ReachabilityRequest::decode(request.encode()), Ok(request));
            let response = ReachabilityResponse { available };
            prop_assert_eq!(ReachabilityResponse::decode(response.encode()), Ok(response));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let bytes = Bytes::from(bytes);
            let _ = ReachabilityRequest::decode(bytes.clone());
            let _ = ReachabilityResponse::decode(bytes);
        }
    }
}
