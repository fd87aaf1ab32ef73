//! Streamed calls between two nodes.
#![allow(clippy::unwrap_used, clippy::panic, reason = "test code")]

mod support;

use std::time::Duration;

use block_network::{CallError, ClientStream, Received, SendError, ServerStream, StreamCall};
use bytes::Bytes;
use support::{PATIENCE, Running, bytes, pair, soon};
use tokio::sync::mpsc;

const RPC: &str = "Service.stream";

async fn open(caller: &Running, callee: &Running) -> ClientStream {
    let opened = caller.node.open(callee.node.peer_id(), RPC, PATIENCE).await;
    opened.unwrap()
}

async fn accept(calls: &mut mpsc::Receiver<StreamCall>) -> ServerStream {
    soon("the call", calls.recv()).await.unwrap().stream
}

fn message(text: &str) -> Received {
    Received::Message(bytes(text))
}

/// A call whose first message, `first`, the callee has received.
async fn started(caller: &Running, callee: &Running) -> (ClientStream, ServerStream) {
    let mut calls = callee.node.serve_stream(RPC, 4);
    let mut client = open(caller, callee).await;
    client.send(bytes("first")).await.unwrap();
    let mut server = accept(&mut calls).await;
    assert_eq!(server.recv().await, Ok(message("first")));
    (client, server)
}

#[tokio::test]
async fn messages_pass_both_ways_and_both_ends_are_seen() {
    let (caller, callee) = pair().await;
    let mut calls = callee.node.serve_stream(RPC, 4);
    let mut client = open(&caller, &callee).await;
    for text in ["one", "", "three"] {
        client.send(bytes(text)).await.unwrap();
    }
    let call = soon("the call", calls.recv()).await.unwrap();
    assert_eq!(call.peer, caller.node.peer_id());
    let mut server = call.stream;
    for text in ["one", "", "three"] {
        assert_eq!(server.recv().await, Ok(message(text)));
        server.send(bytes(text)).await.unwrap();
    }
    client.end_input().await.unwrap();
    assert_eq!(server.recv().await, Ok(Received::EndOfInput));
    server.send(bytes("last")).await.unwrap();
    server.finish();
    for text in ["one", "", "three", "last"] {
        assert_eq!(client.recv_within(PATIENCE).await, Ok(Some(bytes(text))));
    }
    assert_eq!(client.recv_within(PATIENCE).await, Ok(None));
    assert_eq!(client.recv_within(PATIENCE).await, Ok(None));
}

#[tokio::test]
async fn an_error_frame_ends_the_call_with_its_text() {
    let (caller, callee) = pair().await;
    let (mut client, mut server) = started(&caller, &callee).await;
    server.send(bytes("answer")).await.unwrap();
    server.fail("cache is full");
    assert_eq!(
        client.recv_within(PATIENCE).await,
        Ok(Some(bytes("answer")))
    );
    let text = "cache is full".to_owned();
    assert_eq!(
        client.recv_within(PATIENCE).await,
        Err(CallError::Remote { text })
    );
}

#[tokio::test]
async fn an_unknown_name_shows_at_the_first_answer() {
    let (caller, callee) = pair().await;
    let mut client = open(&caller, &callee).await;
    let _ = client.send(bytes("first")).await;
    assert_eq!(
        client.recv_within(PATIENCE).await,
        Err(CallError::NotSupported)
    );
}

#[tokio::test]
async fn a_large_message_and_one_over_the_limit() {
    let (caller, callee) = pair().await;
    let (mut client, mut server) = started(&caller, &callee).await;
    let large: Bytes = (0..6_000_000_u32)
        .map(|index| (index % 253) as u8)
        .collect();
    let send = async { client.send(large.clone()).await.unwrap() };
    let (received, ()) = tokio::join!(server.recv(), send);
    assert!(received == Ok(Received::Message(large)));
    let over = Bytes::from(vec![0; 300 << 20]);
    assert!(matches!(
        client.send(over).await,
        Err(CallError::TooLarge { .. })
    ));
}

#[tokio::test]
async fn a_dropped_call_is_closed_at_the_callee() {
    let (caller, callee) = pair().await;
    let (client, mut server) = started(&caller, &callee).await;
    drop(client);
    assert_eq!(soon("the end", server.recv()).await, Ok(Received::Closed));
    let end = soon("a failing send", async {
        loop {
            if let Err(error) = server.send(bytes("late")).await {
                break error;
            }
        }
    });
    assert_eq!(end.await, SendError::Closed);
}

#[tokio::test]
async fn a_vanished_caller_is_closed_at_the_callee() {
    let (caller, callee) = pair().await;
    let (_client, mut server) = started(&caller, &callee).await;
    drop(caller);
    assert_eq!(soon("the end", server.recv()).await, Ok(Received::Closed));
}

#[tokio::test]
async fn a_dropped_answer_and_a_vanished_callee_break_the_call() {
    let (caller, callee) = pair().await;
    let (mut client, server) = started(&caller, &callee).await;
    drop(server);
    let end = client.recv_within(PATIENCE).await;
    assert!(matches!(end, Err(CallError::Broken { .. })), "{end:?}");
    let (mut client, _server) = started(&caller, &callee).await;
    drop(callee);
    let end = client.recv_within(PATIENCE).await;
    assert!(matches!(end, Err(CallError::Broken { .. })), "{end:?}");
}

#[tokio::test]
async fn a_slow_reader_slows_the_writer() {
    let (caller, callee) = pair().await;
    let (mut client, mut server) = started(&caller, &callee).await;
    let chunk = Bytes::from(vec![1; 64 << 10]);
    let mut sent = 0;
    // The callee reads nothing: sending must stop at some point well below 64 MiB.
    while tokio::time::timeout(Duration::from_millis(300), client.send(chunk.clone()))
        .await
        .is_ok()
    {
        sent += 1;
        assert!(sent < 1000, "nothing holds the writer back");
    }
    let drain = async {
        for _ in 0..sent {
            assert_eq!(server.recv().await, Ok(Received::Message(chunk.clone())));
        }
    };
    soon("what was sent", drain).await;
}

#[tokio::test]
async fn halves_send_and_receive_at_the_same_time() {
    let (caller, callee) = pair().await;
    let (client, server) = started(&caller, &callee).await;
    let (mut receiver, mut sender) = server.split();
    let echo = async {
        while let Ok(Received::Message(body)) = receiver.recv().await {
            sender.send(body).await.unwrap();
        }
        sender.close().await.unwrap();
    };
    let (mut client_sender, mut client_receiver) = client.split();
    // More than the windows of both directions hold: only works if both are served.
    let chunk = Bytes::from(vec![2; 100_000]);
    let send = async {
        for _ in 0..100 {
            client_sender.send(chunk.clone()).await.unwrap();
        }
        client_sender.end_input().await.unwrap();
    };
    let receive = async {
        let mut received = 0;
        while let Some(body) = client_receiver.recv().await.unwrap() {
            received += body.len();
        }
        received
    };
    let all = async { tokio::join!(echo, send, receive).2 };
    assert_eq!(soon("100 echoes", all).await, 100 * chunk.len());
}

#[tokio::test]
async fn an_idle_call_keeps_its_connection() {
    let callee = support::start().await;
    let config = block_network::NodeConfig {
        idle_connection_timeout: Duration::from_millis(100),
        ..block_network::NodeConfig::throw_away()
    };
    let caller = support::start_with(config).await;
    let peer = callee.node.peer_id();
    caller.node.add_address(peer, callee.address.clone()).await;
    let (mut client, mut server) = started(&caller, &callee).await;
    let idle = client.recv_within(Duration::from_millis(500)).await;
    assert_eq!(idle, Err(CallError::Timeout));
    server.send(bytes("still here")).await.unwrap();
    assert_eq!(
        client.recv_within(PATIENCE).await,
        Ok(Some(bytes("still here")))
    );
    drop((client, server));
    soon("the idle connection to close", async {
        while !caller.node.connected_peers().is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}
