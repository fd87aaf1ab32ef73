//! What the event loop counts.
//!
//! | name                    | type    | labels                                              |
//! |-------------------------|---------|-----------------------------------------------------|
//! | `swarm_p2p_connections` | gauge   | direction=inbound/outbound; path=direct/relay       |
//! | `swarm_p2p_dials_total` | counter | outcome=ok/timeout/refused/error                    |
//!
//! Bytes are counted where they pass: [`crate::traffic`].

use std::io;

use libp2p::{TransportError, core::ConnectedPoint, swarm::DialError};

use super::causes::causes;

/// Counts a connection that opened (`+1`) or closed (`-1`).
pub(super) fn connection(endpoint: &ConnectedPoint, change: f64) {
    let direction = if endpoint.is_dialer() {
        "outbound"
    } else {
        "inbound"
    };
    let path = if endpoint.is_relayed() {
        "relay"
    } else {
        "direct"
    };
    metrics::gauge!("swarm_p2p_connections", "direction" => direction, "path" => path)
        .increment(change);
}

/// Counts a dial that opened a connection.
pub(super) fn dial_ok() {
    dial("ok");
}

/// Counts a dial that failed.
pub(super) fn dial_failed(error: &DialError) {
    dial(match error {
        DialError::Transport(attempts) => {
            let mut outcomes = attempts.iter().map(|(_, error)| transport_outcome(error));
            let first = outcomes.next().unwrap_or("error");
            if outcomes.all(|outcome| outcome == first) {
                first
            } else {
                "error"
            }
        }
        _ => "error",
    });
}

fn dial(outcome: &'static str) {
    metrics::counter!("swarm_p2p_dials_total", "outcome" => outcome).increment(1);
}

fn transport_outcome(error: &TransportError<io::Error>) -> &'static str {
    let TransportError::Other(error) = error else {
        return "error";
    };
    for cause in causes(error) {
        match cause.downcast_ref::<io::Error>().map(io::Error::kind) {
            Some(io::ErrorKind::ConnectionRefused) => return "refused",
            Some(io::ErrorKind::TimedOut) => return "timeout",
            _ => {}
        }
    }
    // The transport's own timeout carries no kind.
    if error.to_string().contains("Timeout") {
        "timeout"
    } else {
        "error"
    }
}
