//! What a slow swarm does to a stream: an early head, comments, and errors inside.

use std::time::Duration;

use block_gateway::GatewayConfig;
use serde_json::json;

use crate::events::Event;
use crate::world::{TestSwarm, chat, swarm};

const CHAT: &str = "/v1/chat/completions";

#[test]
fn comments_keep_a_slow_stream_alive() {
    let config = GatewayConfig {
        ping_period: Duration::from_micros(100),
        ..GatewayConfig::default()
    };
    let events = swarm()
        .serve(config)
        .stream(CHAT, &chat("Once", &json!({})))
        .all();
    assert!(
        events.contains(&Event::Comment),
        "tokens take longer than that"
    );
    assert_eq!(events.last(), Some(&Event::Done));
}

#[test]
fn an_error_after_the_head_comes_as_an_event() {
    let half = TestSwarm::start("late", &["0:4"]);
    let config = GatewayConfig {
        head_patience: Duration::from_millis(1),
        no_route_patience: Duration::from_millis(300),
        ..GatewayConfig::default()
    };
    let events = half
        .serve(config)
        .stream(CHAT, &chat("Once", &json!({})))
        .all();
    let [Event::Data(opening), Event::Data(error)] = events.as_slice() else {
        panic!("{events:?}");
    };
    assert_eq!(opening["choices"][0]["delta"]["role"], "assistant");
    assert_eq!(error["error"]["code"], "no_route");
    assert_eq!(error["error"]["type"], "server_error");
}
