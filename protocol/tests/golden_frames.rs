//! Both framings against bytes captured from hivemind, Petals and the Go daemon.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may stop at the first surprise"
)]

mod support;

use block_protocol::{
    Rpc, RpcKind,
    frame::{
        StreamDecoder, StreamFrame, decode_reply, decode_request, encode_end, encode_error,
        encode_message, encode_reply, encode_request,
    },
    limits::MAX_STREAM_FRAME_BYTES,
};
use bytes::{Bytes, BytesMut};
use support::{FILES, Vector, vector, vectors};

/// Every proper prefix must leave `decode` waiting with its buffer untouched.
fn assert_prefixes_incomplete<T>(
    frame: &Vector,
    mut decode: impl FnMut(&mut BytesMut) -> Option<T>,
) {
    for end in 0..frame.bytes.len() {
        let mut prefix = BytesMut::from(&frame.bytes[..end]);
        assert!(decode(&mut prefix).is_none(), "{} cut at {end}", frame.name);
        assert_eq!(prefix, frame.bytes[..end], "{} cut at {end}", frame.name);
    }
}

/// The capturing side printed the same; it cut long texts.
fn assert_printed(frame: &Vector, expected: &str) {
    let start = expected.get(..300).unwrap_or(expected);
    assert!(frame.decoded.contains(start), "{}", frame.name);
}

fn unary_frames(part: &str) -> Vec<Vector> {
    let part = format!(".{part}.frame");
    let of_file = |file: &&str| vectors(file).into_iter();
    let frames: Vec<_> = FILES
        .iter()
        .flat_map(of_file)
        .filter(|v| v.name.contains(&part))
        .collect();
    assert!(frames.len() > 20, "the fixtures hold many {part}");
    frames
}

#[test]
fn unary_requests_decode_and_encode_to_the_same_bytes() {
    for frame in unary_frames("request") {
        let mut buffer = BytesMut::from(&frame.bytes[..]);
        let request = decode_request(&mut buffer).unwrap().unwrap();
        assert!(buffer.is_empty(), "{}", frame.name);
        let rpc = Rpc::from_name(&request.rpc).unwrap();
        assert_eq!(rpc.kind(), RpcKind::Unary);
        let printed = format!(
            "proto: {:?}, data: {:?}",
            request.rpc,
            request.body.to_vec()
        );
        assert_printed(&frame, &printed);
        assert_eq!(
            encode_request(&request).unwrap(),
            frame.bytes,
            "{}",
            frame.name
        );
        assert_prefixes_incomplete(&frame, |buffer| decode_request(buffer).unwrap());
    }
}

#[test]
fn unary_replies_decode_and_encode_to_the_same_bytes() {
    let mut errors = Vec::new();
    for frame in unary_frames("response") {
        let mut buffer = BytesMut::from(&frame.bytes[..]);
        let reply = decode_reply(&mut buffer).unwrap().unwrap();
        assert!(
            buffer.is_empty() && reply.call_id.len() == 16,
            "{}",
            frame.name
        );
        match &reply.result {
            Ok(body) => assert_printed(&frame, &format!("Response({:?})", body.to_vec())),
            Err(text) => errors.push(text.clone()),
        }
        assert_eq!(encode_reply(&reply).unwrap(), frame.bytes, "{}", frame.name);
        assert_prefixes_incomplete(&frame, |buffer| decode_reply(buffer).unwrap());
    }
    assert_eq!(
        errors,
        [
            "AssertionError()",
            "RuntimeError('Remote peer does not serve nope.0')"
        ]
    );
}

fn decode_stream(bytes: &[u8]) -> StreamFrame {
    let mut buffer = BytesMut::from(bytes);
    let frame = StreamDecoder::new(MAX_STREAM_FRAME_BYTES)
        .decode(&mut buffer)
        .unwrap()
        .unwrap();
    assert!(buffer.is_empty());
    frame
}

#[test]
fn stream_messages_decode_and_encode_to_the_same_bytes() {
    let is_message = |v: &Vector| {
        v.name.starts_with("petals.rpc_forward_stream.request_part")
            || v.name.starts_with("petals.rpc_inference.request.step")
    };
    let frames: Vec<_> = vectors("petals_calls_to_python_server")
        .into_iter()
        .filter(is_message)
        .collect();
    assert_eq!(frames.len(), 6);
    for frame in frames {
        let StreamFrame::Message(body) = decode_stream(&frame.bytes) else {
            panic!("{} is a message", frame.name);
        };
        let mut out = BytesMut::new();
        encode_message(&body, &mut out);
        assert_eq!(out, frame.bytes, "{}", frame.name);
        let mut decoder = StreamDecoder::new(MAX_STREAM_FRAME_BYTES);
        assert_prefixes_incomplete(&frame, |buffer| decoder.decode(buffer).unwrap());
    }
}

#[test]
fn end_markers_and_empty_messages_are_nine_bytes() {
    for (file, name) in [
        ("negotiation_and_markers", "stream.end_of_input"),
        ("petals_calls_to_python_server", "petals.stream.end_marker"),
    ] {
        let frame = vector(file, name);
        assert_eq!(decode_stream(&frame.bytes), StreamFrame::Error(None));
        let mut out = BytesMut::new();
        encode_end(&mut out);
        assert_eq!(out, frame.bytes);
    }
    for (file, name) in [
        ("negotiation_and_markers", "stream.empty_request"),
        (
            "petals_calls_to_python_server",
            "petals.rpc_inference.close.empty_request",
        ),
    ] {
        let frame = vector(file, name);
        assert_eq!(
            decode_stream(&frame.bytes),
            StreamFrame::Message(Bytes::new())
        );
        let mut out = BytesMut::new();
        encode_message(&[], &mut out);
        assert_eq!(out, frame.bytes);
    }
}

#[test]
fn a_stream_error_carries_its_text() {
    let frame = vector("petals_calls_to_python_server", "petals.stream.error");
    let text = "Cannot allocate KV cache for 1048576 tokens, max = 8192";
    assert_eq!(
        decode_stream(&frame.bytes),
        StreamFrame::Error(Some(text.to_owned()))
    );
    let mut out = BytesMut::new();
    encode_error(text, &mut out);
    assert_eq!(out, frame.bytes);
    let mut decoder = StreamDecoder::new(MAX_STREAM_FRAME_BYTES);
    assert_prefixes_incomplete(&frame, |buffer| decoder.decode(buffer).unwrap());
}

#[test]
fn handler_names_are_what_the_daemon_proposes() {
    let header = vector("negotiation_and_markers", "multistream.header").bytes;
    for rpc in [Rpc::DhtStore, Rpc::DhtFind] {
        let method = rpc.name().rsplit('.').next().unwrap();
        let flight = vector(
            "negotiation_and_markers",
            &format!("go.dialer.first_flight.{method}"),
        );
        let length = u8::try_from(rpc.name().len() + 1).unwrap();
        let expected = [&header, [length].as_slice(), rpc.name().as_bytes(), b"\n"].concat();
        assert_eq!(flight.bytes, expected);
    }
}
