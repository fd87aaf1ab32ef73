//! Calls byte by byte, against a peer that is only a connection.
#![allow(clippy::unwrap_used, clippy::panic, reason = "test code")]

mod support;

use block_network::{CallError, Node, Received};
use block_protocol::frame::{
    UnaryReply, UnaryRequest, decode_reply, decode_request, encode_reply, encode_request,
};
use bytes::{Bytes, BytesMut};
use futures::{AsyncReadExt, AsyncWriteExt};
use libp2p::core::muxing::SubstreamBox;
use support::{
    PATIENCE, bytes,
    raw::{HEADER, NOT_AVAILABLE, RawListener, RawPeer, Security, line, read, read_to_end},
    serve_echo, soon, start,
};
use tokio::sync::oneshot;

const RPC: &str = "Service.method";
const STREAM: &str = "Service.stream";
const END_OF_INPUT: &[u8] = &[1, 0, 0, 0, 0, 0, 0, 0, 0];

fn request(body: &str) -> Vec<u8> {
    let request = UnaryRequest {
        call_id: [9; 16],
        peer: Bytes::new(),
        rpc: RPC.to_owned(),
        body: bytes(body),
    };
    encode_request(&request).unwrap().to_vec()
}

fn reply(id: &[u8], body: &str) -> Vec<u8> {
    let reply = UnaryReply {
        call_id: id.to_vec(),
        result: Ok(bytes(body)),
    };
    encode_reply(&reply).unwrap().to_vec()
}

fn message(body: &str) -> Vec<u8> {
    let length = (body.len() as u64).to_be_bytes();
    [&[0], &length[..], body.as_bytes()].concat()
}

/// What a listener answers to a name it serves.
fn accepted(name: &str) -> Vec<u8> {
    [HEADER, &line(name)].concat()
}

#[tokio::test]
async fn a_served_name_is_echoed_and_the_reply_follows() {
    let callee = start().await;
    serve_echo(&callee.node, RPC);
    for security in [Security::Noise, Security::Tls] {
        let raw = RawPeer::dial(&callee.address, security).await;
        let mut stream = raw.propose(RPC, &request("ping")).await;
        let answer = soon("the answer", read_to_end(&mut stream)).await.unwrap();
        assert_eq!(answer, [accepted(RPC), reply(&[9; 16], "ping")].concat());
    }
}

#[tokio::test]
async fn an_unknown_name_is_answered_na() {
    let callee = start().await;
    serve_echo(&callee.node, RPC);
    let raw = RawPeer::dial(&callee.address, Security::Noise).await;
    for name in ["Service.unknown", "/bare/Service.unknown", "/service"] {
        let mut stream = raw.propose(name, b"").await;
        let answer = read(&mut stream, HEADER.len() + NOT_AVAILABLE.len()).await;
        assert_eq!(answer, [HEADER, NOT_AVAILABLE].concat());
        // The next proposal on the same stream may still be served.
        stream
            .write_all(&[line(RPC), request("x")].concat())
            .await
            .unwrap();
        let answer = soon("the answer", read_to_end(&mut stream)).await.unwrap();
        assert_eq!(answer, [line(RPC), reply(&[9; 16], "x")].concat());
    }
}

#[tokio::test]
async fn anything_after_a_unary_request_cancels_it() {
    let callee = start().await;
    let mut calls = callee.node.serve_unary(RPC, 4);
    let raw = RawPeer::dial(&callee.address, Security::Noise).await;
    for how in ["half-close", "extra byte", "reset", "extra byte at once"] {
        let payload = match how {
            "extra byte at once" => [&request("x")[..], b"!"].concat(),
            _ => request("x"),
        };
        let mut stream = raw.propose(RPC, &payload).await;
        if how == "extra byte at once" {
            // Cancelled before a handler could take it, or while one has it.
            let answer = soon("the end", read_to_end(&mut stream)).await;
            assert!(answer.is_err() || answer.unwrap() == accepted(RPC));
            continue;
        }
        let call = soon("the call", calls.recv()).await.unwrap();
        assert!(!call.is_cancelled());
        match how {
            "half-close" => stream.close().await.unwrap(),
            "extra byte" => {
                stream.write_all(b"!").await.unwrap();
                stream.flush().await.unwrap();
            }
            _ => drop(stream),
        }
        soon(how, call.cancelled()).await;
    }
}

#[tokio::test]
async fn a_caller_keeps_its_side_open_until_the_reply_is_there() {
    let (caller, listener) = (start().await, RawListener::start(Security::Noise).await);
    let (raw, answer) = called(&caller.node, listener, |node, peer| async move {
        node.call(peer, RPC, bytes("ping"), PATIENCE).await
    });
    let mut raw = raw.await;
    let expected = request("ping").len() + peer_field(&raw);
    // Nothing has been answered yet: name and request came in one flight.
    let (mut stream, sent) = soon("the call", raw.accept(RPC, expected)).await;
    let sent = decode_request(&mut BytesMut::from(&sent[..]))
        .unwrap()
        .unwrap();
    assert_eq!((sent.rpc.as_str(), &sent.body), (RPC, &bytes("ping")));
    assert_eq!(sent.peer, raw.peer.to_bytes());
    stream.write_all(&accepted(RPC)).await.unwrap();
    stream.flush().await.unwrap();
    // Still open: a read stays pending however often it is polled meanwhile.
    let mut byte = [0];
    for _ in 0..100 {
        let pending = futures::poll!(stream.read(&mut byte));
        assert!(pending.is_pending(), "the caller closed or wrote too early");
        tokio::task::yield_now().await;
    }
    stream
        .write_all(&reply(&sent.call_id, "pong"))
        .await
        .unwrap();
    stream.flush().await.unwrap();
    assert_eq!(
        soon("the caller's end", read_to_end(&mut stream))
            .await
            .unwrap(),
        b""
    );
    assert_eq!(answer.await.unwrap(), Ok(bytes("pong")));
}

#[tokio::test]
async fn a_name_goes_ahead_of_a_request_that_is_still_being_made() {
    let caller = start().await;
    let (body, mut raw, answer) = called_ahead(&caller.node).await;
    let mut stream = named(&mut raw).await;
    stream.write_all(&accepted(RPC)).await.unwrap();
    stream.flush().await.unwrap();
    body.send(bytes("ping")).unwrap();
    let expected = request("ping").len() + peer_field(&raw);
    let sent = soon("the request", read(&mut stream, expected)).await;
    let sent = decode_request(&mut BytesMut::from(&sent[..]))
        .unwrap()
        .unwrap();
    assert_eq!((sent.rpc.as_str(), &sent.body), (RPC, &bytes("ping")));
    let answered = reply(&sent.call_id, "pong");
    stream.write_all(&answered).await.unwrap();
    stream.flush().await.unwrap();
    assert_eq!(answer.await.unwrap(), Ok(Some(bytes("pong"))));

    let (body, mut raw, answer) = called_ahead(&caller.node).await;
    let mut stream = named(&mut raw).await;
    let refusal = [HEADER, NOT_AVAILABLE].concat();
    stream.write_all(&refusal).await.unwrap();
    stream.flush().await.unwrap();
    body.send(bytes("ping")).unwrap();
    assert_eq!(answer.await.unwrap(), Err(CallError::NotSupported));
}

#[tokio::test]
async fn a_name_without_a_request_ends_with_a_reset() {
    let caller = start().await;
    let (body, mut raw, answer) = called_ahead(&caller.node).await;
    let mut stream = named(&mut raw).await;
    drop(body);
    assert_eq!(answer.await.unwrap(), Ok(None));
    let end = soon("the end", read_to_end(&mut stream)).await;
    assert_eq!(end.unwrap_or_default(), b"");
}

#[tokio::test]
async fn a_streaming_caller_ends_its_input_with_the_marker_and_stays_open() {
    let (caller, listener) = (start().await, RawListener::start(Security::Tls).await);
    let (raw, answer) = called(&caller.node, listener, |node, peer| async move {
        let mut stream = node.open(peer, STREAM, PATIENCE).await?;
        stream.send(bytes("one")).await?;
        stream.end_input().await?;
        let first = stream.recv().await?;
        Ok((first, stream.recv().await?))
    });
    let mut raw = raw.await;
    let expected = [&message("one")[..], END_OF_INPUT].concat();
    let (mut stream, sent) = soon("the call", raw.accept(STREAM, expected.len())).await;
    assert_eq!(sent, expected);
    stream.write_all(&accepted(STREAM)).await.unwrap();
    stream.write_all(&message("answer")).await.unwrap();
    stream.flush().await.unwrap();
    let mut byte = [0];
    for _ in 0..100 {
        assert!(futures::poll!(stream.read(&mut byte)).is_pending());
        tokio::task::yield_now().await;
    }
    stream.close().await.unwrap();
    assert_eq!(answer.await.unwrap(), Ok((Some(bytes("answer")), None)));
}

#[tokio::test]
async fn a_callees_answer_ends_with_eof_and_no_marker() {
    let callee = start().await;
    let mut calls = callee.node.serve_stream(STREAM, 4);
    let raw = RawPeer::dial(&callee.address, Security::Noise).await;
    let mut stream = raw
        .propose(STREAM, &[&message("one")[..], END_OF_INPUT].concat())
        .await;
    let mut server = soon("the call", calls.recv()).await.unwrap().stream;
    assert_eq!(server.recv().await, Ok(Received::Message(bytes("one"))));
    assert_eq!(server.recv().await, Ok(Received::EndOfInput));
    server.send(bytes("answer")).await.unwrap();
    server.finish();
    let answer = soon("the answer", read_to_end(&mut stream)).await.unwrap();
    assert_eq!(answer, [accepted(STREAM), message("answer")].concat());

    // An answer that is complete before the input is waits for its end, not for ever.
    let mut stream = raw.propose(STREAM, &message("one")).await;
    let server = soon("the call", calls.recv()).await.unwrap().stream;
    server.fail("no");
    let error = [1, 0, 0, 0, 0, 0, 0, 0, 4, 0x0a, 2, b'n', b'o'];
    let answer = read(&mut stream, accepted(STREAM).len() + error.len()).await;
    assert_eq!(answer, [accepted(STREAM), error.to_vec()].concat());
    let mut byte = [0];
    for _ in 0..100 {
        assert!(futures::poll!(stream.read(&mut byte)).is_pending());
        tokio::task::yield_now().await;
    }
    stream
        .write_all(&[&message("two")[..], END_OF_INPUT].concat())
        .await
        .unwrap();
    stream.flush().await.unwrap();
    assert_eq!(
        soon("the end", read_to_end(&mut stream)).await.unwrap(),
        b""
    );

    // Any frame with marker 1 ends the input, whatever it holds; EOF says that nobody listens.
    let mut stream = raw
        .propose(STREAM, &[1, 0, 0, 0, 0, 0, 0, 0, 2, 0xff, 0xff])
        .await;
    let mut server = soon("the call", calls.recv()).await.unwrap().stream;
    assert_eq!(server.recv().await, Ok(Received::EndOfInput));
    stream.close().await.unwrap();
    assert_eq!(soon("the end", server.recv()).await, Ok(Received::Closed));
}

#[tokio::test]
async fn nonsense_is_answered_with_an_error_that_names_it() {
    let callee = start().await;
    let _unary = callee.node.serve_unary(RPC, 4);
    let _stream = callee.node.serve_stream(STREAM, 4);
    let raw = RawPeer::dial(&callee.address, Security::Noise).await;
    let four_gib_unary = [0x80, 0x80, 0x80, 0x80, 0x10];
    for nonsense in [&four_gib_unary[..], &[3, 0xff, 0xff, 0xff]] {
        let mut stream = raw.propose(RPC, nonsense).await;
        let answer = soon("the answer", read_to_end(&mut stream)).await.unwrap();
        let mut answer = BytesMut::from(answer.strip_prefix(&accepted(RPC)[..]).unwrap());
        let text = decode_reply(&mut answer)
            .unwrap()
            .unwrap()
            .result
            .unwrap_err();
        assert!(text.contains("unary envelope"), "{text}");
    }
    let four_gib_frame = [0, 0, 0, 0, 1, 0, 0, 0, 0];
    for nonsense in [&four_gib_frame[..], &[7]] {
        let mut stream = raw.propose(STREAM, nonsense).await;
        let answer = soon("the answer", read_to_end(&mut stream)).await.unwrap();
        let frame = answer.strip_prefix(&accepted(STREAM)[..]).unwrap();
        let text = String::from_utf8_lossy(frame);
        assert_eq!(frame[0], 1);
        assert!(
            text.contains("malformed request") && text.contains("stream frame"),
            "{text}"
        );
    }
}

#[tokio::test]
async fn a_caller_survives_nonsense_and_early_ends() {
    let answers: [(&[u8], &str); 4] = [
        (b"", "without an answer"),
        (b"\x03\xff\xff\xff", "unary envelope"),
        (b"\x80\x80\x80\x80\x10", "unary envelope"),
        (b"\x7fshort", "inside a frame"),
    ];
    for (answer, expected) in answers {
        let (caller, listener) = (start().await, RawListener::start(Security::Noise).await);
        let (raw, call) = called(&caller.node, listener, |node, peer| async move {
            node.call(peer, RPC, bytes("ping"), PATIENCE).await
        });
        let mut raw = raw.await;
        let (mut stream, _) = soon("the call", raw.accept(RPC, 0)).await;
        stream.write_all(&accepted(RPC)).await.unwrap();
        stream.write_all(answer).await.unwrap();
        stream.close().await.unwrap();
        let end = soon("its end", call).await.unwrap();
        let Err(CallError::Broken { reason }) = end else {
            panic!("{end:?}");
        };
        assert!(reason.contains(expected), "{reason}");
    }
}

/// Bytes that the callee's id adds to a request whose `peer` is empty.
fn peer_field(raw: &RawPeer) -> usize {
    raw.peer.to_bytes().len()
}

/// A call from `node` whose request is what is sent; gives the connection and the call's result.
async fn called_ahead(
    node: &Node,
) -> (
    oneshot::Sender<Bytes>,
    RawPeer,
    tokio::task::JoinHandle<Result<Option<Bytes>, CallError>>,
) {
    let listener = RawListener::start(Security::Noise).await;
    let (body, made) = oneshot::channel();
    let (raw, answer) = called(node, listener, |node, peer| async move {
        let made = async { made.await.ok() };
        node.call_ahead(peer, RPC, made, PATIENCE).await
    });
    (body, raw.await, answer)
}

/// The stream of a call of which only the name is here.
async fn named(raw: &mut RawPeer) -> SubstreamBox {
    soon("the name", raw.accept(RPC, 0)).await.0
}

/// Lets `node` make a call to `listener`; gives the connection and the call's result.
fn called<T, F>(
    node: &Node,
    listener: RawListener,
    call: impl FnOnce(Node, block_network::PeerId) -> F,
) -> (
    impl Future<Output = RawPeer>,
    tokio::task::JoinHandle<Result<T, CallError>>,
)
where
    T: Send + 'static,
    F: Future<Output = Result<T, CallError>> + Send + 'static,
{
    let (peer, address) = (listener.peer, listener.address.clone());
    let making = call(node.clone(), peer);
    let node = node.clone();
    let answer = tokio::spawn(async move {
        node.add_address(peer, address).await;
        making.await
    });
    let accepting = async move {
        let mut raw = listener.accept().await;
        raw.peer = peer;
        raw
    };
    (accepting, answer)
}
