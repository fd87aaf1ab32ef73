//! Unary envelope: how one request or reply of a unary RPC travels.
//!
//! | part     | size | value                                                              |
//! |----------|-----:|--------------------------------------------------------------------|
//! | length   | 1-10 | unsigned varint; at most [`MAX_UNARY_BYTES`]                        |
//! | envelope |  len | `PersistentConnectionRequest` with `callUnary` or `unaryResponse`   |
//!
//! The reply is a *request* message too (field 4), and an empty answer still carries its
//! `response` field. `peer` is whatever the caller wrote: the connection, not this field, says
//! who calls. Source: go-libp2p-daemon v0.5.0.hivemind1, `persistent_stream.go`.
//! Golden bytes: every `*.frame` of the DHT and Petals fixtures.

use bytes::{Buf, Bytes, BytesMut};
use prost::Message;

use crate::{
    error::{DecodeError, EncodeError, saturating_u64, truncate_text},
    limits::{MAX_ERROR_TEXT_BYTES, MAX_RPC_NAME_BYTES, MAX_UNARY_BYTES},
    proto::p2pd::{
        CallUnaryRequest, CallUnaryResponse, PersistentConnectionRequest, call_unary_response,
        persistent_connection_request,
    },
    varint,
};

/// Length of a call id; the daemon drops a stream that uses another.
pub const CALL_ID_BYTES: usize = 16;

/// One call, as the callee sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnaryRequest {
    /// Chosen by the caller, echoed in the reply.
    pub call_id: [u8; CALL_ID_BYTES],
    /// The callee's peer id multihash as the caller wrote it; not to be trusted, may be empty.
    pub peer: Bytes,
    /// Handler name, such as `DHTProtocol.rpc_ping`.
    pub rpc: String,
    /// The handler's request protobuf.
    pub body: Bytes,
}

/// The answer to one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnaryReply {
    /// Echo of the request's id; callers ignore it.
    pub call_id: Vec<u8>,
    /// The handler's response protobuf, or the text of its error.
    pub result: Result<Bytes, String>,
}

/// The bytes of a request with their length prefix.
///
/// # Errors
/// `LimitExceeded` if the envelope is over [`MAX_UNARY_BYTES`]: the receiver would stop reading.
pub fn encode_request(request: &UnaryRequest) -> Result<BytesMut, EncodeError> {
    let call = CallUnaryRequest {
        peer: request.peer.clone(),
        proto: request.rpc.clone(),
        data: request.body.clone(),
    };
    encode_envelope(
        Bytes::copy_from_slice(&request.call_id),
        persistent_connection_request::Message::CallUnary(call),
    )
}

/// The bytes of a reply with their length prefix; error text over [`MAX_ERROR_TEXT_BYTES`] is cut.
///
/// # Errors
/// `LimitExceeded` if the envelope is over [`MAX_UNARY_BYTES`]: answer with an error instead.
pub fn encode_reply(reply: &UnaryReply) -> Result<BytesMut, EncodeError> {
    let result = match &reply.result {
        Ok(body) => call_unary_response::Result::Response(body.clone()),
        Err(text) => {
            let mut text = text.clone();
            truncate_text(&mut text, MAX_ERROR_TEXT_BYTES);
            call_unary_response::Result::Error(text.into())
        }
    };
    encode_envelope(
        Bytes::copy_from_slice(&reply.call_id),
        persistent_connection_request::Message::UnaryResponse(CallUnaryResponse {
            result: Some(result),
        }),
    )
}

/// Takes a request from the front of `buffer`; `None` (and an untouched buffer) while part is missing.
///
/// # Errors
/// `LimitExceeded` from the length prefix alone; `Malformed` or `Missing` for a whole envelope
/// that is not a call with a 16-byte id.
pub fn decode_request(buffer: &mut BytesMut) -> Result<Option<UnaryRequest>, DecodeError> {
    let Some(envelope) = take_envelope(buffer)? else {
        return Ok(None);
    };
    let call_id = <[u8; CALL_ID_BYTES]>::try_from(envelope.call_id.as_ref())
        .map_err(|_| DecodeError::malformed("call id", "not 16 bytes"))?;
    let Some(persistent_connection_request::Message::CallUnary(call)) = envelope.message else {
        return Err(DecodeError::Missing { what: "callUnary" });
    };
    DecodeError::check_len("rpc name bytes", call.proto.len(), MAX_RPC_NAME_BYTES)?;
    Ok(Some(UnaryRequest {
        call_id,
        peer: call.peer,
        rpc: call.proto,
        body: call.data,
    }))
}

/// Takes a reply from the front of `buffer`; `None` (and an untouched buffer) while part is missing.
///
/// # Errors
/// `LimitExceeded` from the length prefix alone; `Malformed` or `Missing` for a whole envelope
/// that is not a reply. Error text that is not UTF-8 is read with replacement characters.
pub fn decode_reply(buffer: &mut BytesMut) -> Result<Option<UnaryReply>, DecodeError> {
    let Some(envelope) = take_envelope(buffer)? else {
        return Ok(None);
    };
    let Some(persistent_connection_request::Message::UnaryResponse(reply)) = envelope.message
    else {
        return Err(DecodeError::Missing {
            what: "unaryResponse",
        });
    };
    let result = match reply.result {
        Some(call_unary_response::Result::Response(body)) => Ok(body),
        Some(call_unary_response::Result::Error(text)) => {
            let readable = text.get(..MAX_ERROR_TEXT_BYTES).unwrap_or(&text);
            Err(String::from_utf8_lossy(readable).into_owned())
        }
        None => return Err(DecodeError::Missing { what: "response" }),
    };
    Ok(Some(UnaryReply {
        call_id: envelope.call_id.to_vec(),
        result,
    }))
}

fn encode_envelope(
    call_id: Bytes,
    message: persistent_connection_request::Message,
) -> Result<BytesMut, EncodeError> {
    let envelope = PersistentConnectionRequest {
        call_id,
        message: Some(message),
    };
    let length = envelope.encoded_len();
    EncodeError::check_len("unary envelope bytes", length, MAX_UNARY_BYTES)?;
    let mut out = BytesMut::with_capacity(length.saturating_add(varint::MAX_VARINT_BYTES));
    envelope
        .encode_length_delimited(&mut out)
        .map_err(|error| EncodeError::invalid("unary envelope", error.to_string()))?;
    Ok(out)
}

fn take_envelope(
    buffer: &mut BytesMut,
) -> Result<Option<PersistentConnectionRequest>, DecodeError> {
    let Some((length, prefix_len)) = varint::read(buffer)? else {
        return Ok(None);
    };
    let limit = saturating_u64(MAX_UNARY_BYTES);
    DecodeError::check_limit("unary envelope bytes", length, limit)?;
    let length = usize::try_from(length)
        .map_err(|_| DecodeError::malformed("unary envelope", "length does not fit memory"))?;
    if buffer.len().saturating_sub(prefix_len) < length {
        return Ok(None);
    }
    buffer.advance(prefix_len);
    let envelope = PersistentConnectionRequest::decode(buffer.split_to(length).freeze())
        .map_err(|error| DecodeError::malformed("unary envelope", error.to_string()))?;
    Ok(Some(envelope))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn request(body: Vec<u8>) -> UnaryRequest {
        UnaryRequest {
            call_id: [7; CALL_ID_BYTES],
            peer: Bytes::from_static(b"\x12\x20peer"),
            rpc: "Service.method".to_owned(),
            body: body.into(),
        }
    }

    #[test]
    fn the_largest_envelope_passes_and_one_byte_more_does_not() {
        let overhead = encode_request(&request(vec![0; 4_000_000])).unwrap().len() - 4_000_000 - 4;
        let mut largest = encode_request(&request(vec![0; MAX_UNARY_BYTES - overhead])).unwrap();
        assert!(decode_request(&mut largest).unwrap().is_some() && largest.is_empty());
        let over = encode_request(&request(vec![0; MAX_UNARY_BYTES - overhead + 1]));
        assert!(matches!(over, Err(EncodeError::LimitExceeded { .. })));
        // 4 MiB plus one, as a varint.
        let mut over = BytesMut::from([0x81, 0x80, 0x80, 0x02].as_slice());
        assert!(matches!(
            decode_request(&mut over),
            Err(DecodeError::LimitExceeded { .. })
        ));
    }

    #[test]
    fn a_huge_length_prefix_is_refused_at_once() {
        let mut four_gib = BytesMut::from([0x80, 0x80, 0x80, 0x80, 0x10].as_slice());
        assert!(matches!(
            decode_reply(&mut four_gib),
            Err(DecodeError::LimitExceeded { .. })
        ));
        assert_eq!(four_gib.len(), 5);
        let mut endless = BytesMut::from([0xff; 12].as_slice());
        assert!(decode_request(&mut endless).is_err());
    }

    #[test]
    fn empty_fields_are_written() {
        let empty = UnaryRequest {
            call_id: [0; CALL_ID_BYTES],
            peer: Bytes::new(),
            rpc: String::new(),
            body: Bytes::new(),
        };
        let bytes = encode_request(&empty).unwrap();
        assert_eq!(&bytes[19..], [0x1a, 6, 0x0a, 0, 0x12, 0, 0x1a, 0]);
        let reply = UnaryReply {
            call_id: vec![],
            result: Ok(Bytes::new()),
        };
        assert_eq!(
            &encode_reply(&reply).unwrap()[..],
            [6, 0x0a, 0, 0x22, 2, 0x0a, 0]
        );
    }

    #[test]
    fn a_wrong_call_id_or_a_wrong_kind_is_refused() {
        let reply = UnaryReply {
            call_id: vec![1; CALL_ID_BYTES],
            result: Err("no".to_owned()),
        };
        let mut as_request = encode_reply(&reply).unwrap();
        assert_eq!(
            decode_request(&mut as_request),
            Err(DecodeError::Missing { what: "callUnary" })
        );
        let mut short_id = BytesMut::from([3, 0x0a, 1, 9].as_slice());
        assert!(matches!(
            decode_request(&mut short_id),
            Err(DecodeError::Malformed { .. })
        ));
    }

    proptest! {
        #[test]
        fn requests_round_trip_and_every_prefix_is_incomplete(
            call_id: [u8; CALL_ID_BYTES],
            peer in prop::collection::vec(any::<u8>(), 0..40),
            rpc in "[A-Za-z.:_]{0,40}",
            body in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let request = UnaryRequest { call_id, peer: peer.into(), rpc, body: body.into() };
            let bytes = encode_request(&request).unwrap();
            for end in 0..bytes.len() {
                let mut prefix = BytesMut::from(&bytes[..end]);
                prop_assert_eq!(decode_request(&mut prefix), Ok(None));
                prop_assert_eq!(prefix.len(), end);
            }
            let mut buffer = bytes;
            prop_assert_eq!(decode_request(&mut buffer), Ok(Some(request)));
            prop_assert!(buffer.is_empty());
        }

        #[test]
        fn replies_round_trip(
            call_id in prop::collection::vec(any::<u8>(), 0..20),
            result in prop::result::maybe_err(prop::collection::vec(any::<u8>(), 0..200), "\\PC{0,40}"),
        ) {
            let reply = UnaryReply { call_id, result: result.map(Bytes::from) };
            let mut buffer = encode_reply(&reply).unwrap();
            buffer.extend_from_slice(b"next");
            prop_assert_eq!(decode_reply(&mut buffer), Ok(Some(reply)));
            prop_assert_eq!(&buffer[..], b"next");
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode_request(&mut BytesMut::from(bytes.as_slice()));
            let _ = decode_reply(&mut BytesMut::from(bytes.as_slice()));
        }
    }
}
