//! A reader that takes nothing holds up nobody else, costs bounded memory, and is given up.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use block_gateway::{GatewayConfig, Listener, ListenerConfig, router};
use block_testing::PATIENCE;
use serde_json::json;
use tokio::net::TcpSocket;

use crate::wire::send_over;
use crate::world::{Served, chat, on_runtime, serve, swarm, within};

const CHAT: &str = "/v1/chat/completions";
/// Of sockets, so that little is on the way. Linux doubles it.
const SMALL: u32 = 4096;

fn served_with_small_buffers(config: GatewayConfig) -> Served {
    let served = swarm().serve(config);
    let patience = config.reader_patience;
    let listener = on_runtime(async {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_send_buffer_size(SMALL).unwrap();
        socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        socket.listen(16).unwrap()
    });
    let config = ListenerConfig {
        stall_timeout: patience,
        ..ListenerConfig::default()
    };
    let listener = Listener::of(listener, config).unwrap();
    let address = listener.address();
    serve(listener, router(served.gateway.clone()));
    Served { address, ..served }
}

/// Asks for a long answer with much to tell of each token, and reads nothing.
fn slow_reader(address: SocketAddr) -> TcpStream {
    let stream = on_runtime(async {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(SMALL).unwrap();
        socket.connect(address).await.unwrap().into_std().unwrap()
    });
    stream.set_nonblocking(false).unwrap();
    let more = json!({
        "stream": true, "logprobs": true, "top_logprobs": 20, "ignore_eos": true, "max_tokens": 480,
    });
    send_over(&stream, ("POST", CHAT), Some(&chat("Once", &more)));
    stream
}

fn tokens(served: &Served) -> Vec<u64> {
    let sessions = served.get("/v1/sessions").json();
    let sessions = sessions["data"].as_array().unwrap().iter();
    sessions
        .map(|session| session["tokens"].as_u64().unwrap())
        .collect()
}

#[test]
fn a_slow_reader_waits_alone_and_is_given_up() {
    let config = GatewayConfig {
        reader_patience: Duration::from_secs(4),
        ..GatewayConfig::default()
    };
    let served = served_with_small_buffers(config);
    let slow = slow_reader(served.address);
    // Its answer comes to a halt: what the channel and the sockets hold, and no more.
    let halted = std::cell::Cell::new(None);
    within(PATIENCE, "the answer stands still", || {
        let now = tokens(&served);
        let is_still =
            now.first().is_some_and(|tokens| *tokens > 0) && halted.get() == now.first().copied();
        halted.set(now.first().copied());
        std::thread::park_timeout(Duration::from_millis(300));
        is_still
    });
    let halted = halted.get().unwrap();
    assert!(halted < 300, "{halted} tokens went to nobody");

    // Others do not notice.
    let answer = served.ok(CHAT, &chat("Once", &json!({})));
    assert_eq!(answer["usage"]["completion_tokens"], 24);
    assert_eq!(tokens(&served), [halted], "it still waits");

    within(PATIENCE, "it is given up", || tokens(&served).is_empty());
    // And its connection: what was on the way is all that ever comes.
    let mut rest = Vec::new();
    let ended = std::io::Read::read_to_end(&mut &slow, &mut rest);
    let rest = String::from_utf8_lossy(&rest);
    assert!(ended.is_err() || !rest.contains("[DONE]"), "{rest}");
}
