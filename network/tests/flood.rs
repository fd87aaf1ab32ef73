//! One peer with far too many half-open streams.
#![allow(clippy::unwrap_used, clippy::panic, reason = "test code")]

mod support;

use support::{
    PATIENCE, bytes,
    raw::{RawPeer, Security, read_to_end},
    serve_echo, soon, start,
};

const RPC: &str = "Service.method";
const STREAM: &str = "Service.stream";

/// Resident memory of this process, in bytes.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

#[tokio::test]
async fn a_thousand_half_open_streams_leave_others_served_and_memory_bounded() {
    let (callee, other) = (start().await, start().await);
    serve_echo(&callee.node, RPC);
    let mut streams = callee.node.serve_stream(STREAM, 4);
    let peer = callee.node.peer_id();
    other.node.add_address(peer, callee.address.clone()).await;
    let ping = || other.node.call(peer, RPC, bytes("x"), PATIENCE);
    assert_eq!(ping().await, Ok(bytes("x")));

    let before = resident();
    let raw = RawPeer::dial(&callee.address, Security::Noise).await;
    let mut held = Vec::new();
    // Some never say what they want; of the rest, half want a stream and half make half a call.
    // (An opener that follows the rules of yamux has to wait for answers after 256.)
    for index in 0..1000 {
        let stream = match index % 10 {
            0 => raw.open().await,
            1..6 => raw.propose(STREAM, &[0, 0, 0]).await,
            _ => raw.propose(RPC, &[200]).await,
        };
        held.push(stream);
        if index % 100 == 0 {
            assert_eq!(ping().await, Ok(bytes("x")));
        }
    }
    // What is over the cap is told so; the last stream is.
    let answer = soon("a refusal", read_to_end(held.last_mut().unwrap()))
        .await
        .unwrap();
    assert!(String::from_utf8_lossy(&answer).contains("overloaded"));
    assert_eq!(ping().await, Ok(bytes("x")));
    let grown = resident().saturating_sub(before);
    println!(
        "1,000 half-open streams: resident memory grew by {} KiB",
        grown >> 10
    );
    assert!(grown < 64 << 20);

    // The connection survives, and once the flood is gone the peer itself is served again.
    drop(held);
    let served = soon("the peer to be served again", async {
        loop {
            let mut stream = raw.propose(STREAM, &[1, 0, 0, 0, 0, 0, 0, 0, 0]).await;
            let call = tokio::select! {
                call = streams.recv() => call,
                answer = read_to_end(&mut stream) => {
                    assert!(String::from_utf8_lossy(&answer.unwrap()).contains("overloaded"));
                    continue;
                }
            };
            break call;
        }
    });
    assert!(served.await.is_some());
}
