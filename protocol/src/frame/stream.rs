//! Stream frame: how one protobuf of a streaming RPC travels.
//!
//! | offset | size | field  | value                                                  |
//! |-------:|-----:|--------|--------------------------------------------------------|
//! |      0 |    1 | marker | 0 = message, 1 = error or end of input                 |
//! |      1 |    8 | len    | u64, big-endian; at most the decoder's limit, for      |
//! |        |      |        | errors [`MAX_ERROR_FRAME_BYTES`]                       |
//! |      9 |  len | body   | the RPC's protobuf, or `RPCError { 1: string message }` |
//!
//! From caller to callee any marker 1 means "no more input"; from callee to caller it is an
//! error that ends the call, and the normal end is EOF. Another marker is malformed.
//!
//! Source: hivemind 1.1.12, `p2p/p2p_daemon.py`. Golden bytes: `petals.stream.*`.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::Message;

use crate::{
    error::{DecodeError, saturating_u64, truncate_text},
    limits::{MAX_ERROR_FRAME_BYTES, MAX_ERROR_TEXT_BYTES},
    proto::p2pd::RpcError,
};

/// Marker and length together.
pub const STREAM_HEADER_BYTES: usize = 9;

const MESSAGE: u8 = 0;
const ERROR: u8 = 1;

/// One frame without its header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamFrame {
    /// The protobuf of one request or response; may be empty.
    Message(Bytes),
    /// End of input (caller to callee) or an error (callee to caller) with its text, if it has one.
    Error(Option<String>),
}

/// Takes frames from the front of a growing buffer.
#[derive(Debug, Clone)]
pub struct StreamDecoder {
    max_frame_bytes: usize,
}

impl StreamDecoder {
    /// A decoder that refuses bodies over `max_frame_bytes`, at most
    /// [`crate::limits::MAX_STREAM_FRAME_BYTES`] in practice.
    #[must_use]
    pub fn new(max_frame_bytes: usize) -> Self {
        Self { max_frame_bytes }
    }

    /// The next frame, or `None` while `buffer` (then untouched) holds only part of it.
    ///
    /// # Errors
    /// `Malformed` for an unknown marker, `LimitExceeded` for a length over the limit; both are
    /// known from the header alone and leave the buffer untouched. The stream is of no more use.
    pub fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<StreamFrame>, DecodeError> {
        let Some((&marker, rest)) = buffer.split_first() else {
            return Ok(None);
        };
        let limit = match marker {
            MESSAGE => self.max_frame_bytes,
            ERROR => MAX_ERROR_FRAME_BYTES,
            _ => return Err(DecodeError::malformed("stream frame", "unknown marker")),
        };
        let Some((length, body)) = rest.split_first_chunk::<8>() else {
            return Ok(None);
        };
        let length = u64::from_be_bytes(*length);
        DecodeError::check_limit("stream frame bytes", length, saturating_u64(limit))?;
        let body_len = usize::try_from(length)
            .map_err(|_| DecodeError::malformed("stream frame", "length does not fit memory"))?;
        if body.len() < body_len {
            return Ok(None);
        }
        buffer.advance(STREAM_HEADER_BYTES);
        let body = buffer.split_to(body_len).freeze();
        if marker == MESSAGE {
            return Ok(Some(StreamFrame::Message(body)));
        }
        // The marker alone decides what the frame means, so text that cannot be read is no text.
        let mut text = RpcError::decode(body).ok().and_then(|error| error.message);
        if let Some(text) = &mut text {
            truncate_text(text, MAX_ERROR_TEXT_BYTES);
        }
        Ok(Some(StreamFrame::Error(text)))
    }
}

/// The header of a message whose body of `body_len` bytes the caller writes itself.
#[must_use]
pub fn message_header(body_len: usize) -> [u8; STREAM_HEADER_BYTES] {
    header(MESSAGE, body_len)
}

/// Appends one message frame.
pub fn encode_message(body: &[u8], out: &mut BytesMut) {
    out.put_slice(&message_header(body.len()));
    out.put_slice(body);
}

/// Appends the end-of-input marker. Only callers send it, and then keep their side open.
pub fn encode_end(out: &mut BytesMut) {
    out.put_slice(&header(ERROR, 0));
}

/// Appends an error frame; text over [`MAX_ERROR_TEXT_BYTES`] is cut. Only callees send it.
pub fn encode_error(text: &str, out: &mut BytesMut) {
    let mut text = text.to_owned();
    truncate_text(&mut text, MAX_ERROR_TEXT_BYTES);
    let body = RpcError {
        message: Some(text),
    }
    .encode_to_vec();
    out.put_slice(&header(ERROR, body.len()));
    out.put_slice(&body);
}

fn header(marker: u8, body_len: usize) -> [u8; STREAM_HEADER_BYTES] {
    let [a, b, c, d, e, f, g, h] = saturating_u64(body_len).to_be_bytes();
    [marker, a, b, c, d, e, f, g, h]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decode_all(bytes: &[u8], limit: usize) -> Result<Vec<StreamFrame>, DecodeError> {
        let mut buffer = BytesMut::from(bytes);
        let mut decoder = StreamDecoder::new(limit);
        let mut frames = Vec::new();
        while let Some(frame) = decoder.decode(&mut buffer)? {
            frames.push(frame);
        }
        Ok(frames)
    }

    #[test]
    fn a_huge_length_is_refused_from_the_header() {
        for claimed in [1_u64 << 32, u64::MAX, 101] {
            let mut bytes = vec![MESSAGE];
            bytes.extend(claimed.to_be_bytes());
            let result = decode_all(&bytes, 100);
            assert!(
                matches!(result, Err(DecodeError::LimitExceeded { got, limit: 100, .. }) if got == claimed)
            );
        }
    }

    #[test]
    fn an_unknown_marker_is_refused_from_its_byte() {
        assert!(decode_all(&[2], 100).is_err());
    }

    #[test]
    fn long_error_text_is_cut_by_sender_and_receiver() {
        let long = "é".repeat(MAX_ERROR_TEXT_BYTES);
        let mut out = BytesMut::new();
        encode_error(&long, &mut out);
        let body = RpcError {
            message: Some(long),
        }
        .encode_to_vec();
        let mut uncut = BytesMut::from(header(ERROR, body.len()).as_slice());
        uncut.extend_from_slice(&body);
        assert_eq!(decode_all(&uncut, 100), decode_all(&out, 100));
        let too_long = header(ERROR, MAX_ERROR_FRAME_BYTES + 1);
        assert!(decode_all(&too_long, usize::MAX).is_err());
        let frames = decode_all(&out, usize::MAX).unwrap();
        let [StreamFrame::Error(Some(text))] = frames.as_slice() else {
            panic!("one error frame expected");
        };
        assert!(text.len() > MAX_ERROR_TEXT_BYTES / 2 && text.chars().all(|c| c == 'é'));
    }

    #[test]
    fn unreadable_error_text_is_still_an_error() {
        let frames = decode_all(&[1, 0, 0, 0, 0, 0, 0, 0, 1, 0xff], 100).unwrap();
        assert_eq!(frames, [StreamFrame::Error(None)]);
    }

    proptest! {
        #[test]
        fn frames_round_trip_and_every_prefix_is_incomplete(
            bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..4),
            text in "\\PC{0,40}",
        ) {
            let mut out = BytesMut::new();
            let mut expected = Vec::new();
            for body in &bodies {
                encode_message(body, &mut out);
                expected.push(StreamFrame::Message(body.clone().into()));
            }
            encode_error(&text, &mut out);
            expected.push(StreamFrame::Error(Some(text)));
            encode_end(&mut out);
            expected.push(StreamFrame::Error(None));
            prop_assert_eq!(decode_all(&out, 4096).unwrap(), expected);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode_all(&bytes, 64);
        }
    }
}
