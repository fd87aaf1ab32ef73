//! What the driver counts.
//!
//! | name                                       | type      | labels                                                                |
//! |--------------------------------------------|-----------|-----------------------------------------------------------------------|
//! | `swarm_dht_requests_total`                 | counter   | rpc=ping/store/find; direction=inbound/outbound; code=ok/timeout/error |
//! | `swarm_dht_request_duration_seconds`       | histogram | rpc=ping/store/find; outbound only                                    |
//! | `swarm_dht_routing_table_peers`            | gauge     |                                                                       |
//! | `swarm_dht_stored_keys`                    | gauge     |                                                                       |
//! | `swarm_dht_announces_total`                | counter   | outcome=ok/error                                                      |
//! | `swarm_dht_last_announce_timestamp_seconds`| gauge     |                                                                       |

use std::time::Duration;

use block_protocol::{
    Rpc,
    dht::{CallFailure, DhtNode},
};

use crate::time::unix_time;

/// Counts an answered inbound call.
pub(super) fn inbound(rpc: Rpc, ok: bool) {
    request(rpc, "inbound", if ok { "ok" } else { "error" });
}

/// Counts an outbound call that has ended.
pub(super) fn outbound<T>(rpc: Rpc, result: &Result<T, CallFailure>, elapsed: Duration) {
    let code = match result {
        Ok(_) => "ok",
        Err(CallFailure::Timeout) => "timeout",
        Err(
            CallFailure::Unreachable
            | CallFailure::NotServed
            | CallFailure::Remote(_)
            | CallFailure::Malformed(_)
            | CallFailure::Overloaded,
        ) => "error",
    };
    request(rpc, "outbound", code);
    metrics::histogram!("swarm_dht_request_duration_seconds", "rpc" => label(rpc))
        .record(elapsed.as_secs_f64());
}

/// Shows the sizes of the state machine.
pub(super) fn sizes(node: &DhtNode) {
    metrics::gauge!("swarm_dht_routing_table_peers").set(node.known_node_count() as f64);
    metrics::gauge!("swarm_dht_stored_keys").set(node.stored_key_count() as f64);
}

/// Counts an announcement that has ended.
pub(super) fn announced(ok: bool) {
    let outcome = if ok { "ok" } else { "error" };
    metrics::counter!("swarm_dht_announces_total", "outcome" => outcome).increment(1);
    if ok {
        metrics::gauge!("swarm_dht_last_announce_timestamp_seconds").set(unix_time());
    }
}

fn request(rpc: Rpc, direction: &'static str, code: &'static str) {
    let rpc = label(rpc);
    metrics::counter!("swarm_dht_requests_total", "rpc" => rpc, "direction" => direction, "code" => code)
        .increment(1);
}

/// The part of the name after `rpc_`.
fn label(rpc: Rpc) -> &'static str {
    rpc.name()
        .rsplit_once("rpc_")
        .map_or("other", |(_, label)| label)
}
