//! Metrics of the process, its loading and its place in the swarm.
//!
//! Same rules as [`crate::metrics`], which has those of sessions and steps.

use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

/// Says what each metric means, and exports every closed label set as 0.
pub(crate) fn describe() {
    describe_counter!("block_log_messages_total", "Log lines written, by level.");
    describe_histogram!(
        "block_server_block_load_duration_seconds",
        "Time to make one block ready."
    );
    describe_gauge!(
        "block_server_memory_bytes",
        "Memory held per device and purpose."
    );
    describe_gauge!(
        "swarm_p2p_reachability",
        "State set of this node's reachability."
    );
    describe_histogram!(
        "swarm_p2p_ping_duration_seconds",
        "Round-trip time to candidate servers."
    );
    describe_counter!("swarm_dht_announces_total", "Block announcements finished.");
    describe_gauge!(
        "swarm_dht_last_announce_timestamp_seconds",
        "Unix time of the last successful announcement."
    );
    for level in ["error", "warn", "info"] {
        counter!("block_log_messages_total", "level" => level).increment(0);
    }
    for outcome in ["ok", "error"] {
        counter!("swarm_dht_announces_total", "outcome" => outcome).increment(0);
    }
    gauge!("swarm_dht_last_announce_timestamp_seconds").set(0.0);
    record_reachability(Reachability::Unknown);
}

/// Bucket bounds by metric name, for the exporter.
pub(crate) const HISTOGRAM_BUCKETS: &[(&str, &[f64])] = &[
    ("block_server_block_load_duration_seconds", LONG_SECONDS),
    ("swarm_p2p_ping_duration_seconds", RPC_SECONDS),
];

/// Bounds for loading, seconds.
const LONG_SECONDS: &[f64] = &[
    0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0,
];
/// Bounds for pings and waits, seconds.
pub(crate) const RPC_SECONDS: &[f64] = &[
    0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 180.0,
];

/// Counts one log line.
pub(crate) fn record_log_line(level: tracing::Level) {
    let label = match level {
        tracing::Level::ERROR => "error",
        tracing::Level::WARN => "warn",
        tracing::Level::INFO => "info",
        // Not counted: the counter would depend on the log level.
        tracing::Level::DEBUG | tracing::Level::TRACE => return,
    };
    counter!("block_log_messages_total", "level" => label).increment(1);
}

/// Observes the load of a span: `seconds` in all for `blocks` blocks.
pub(crate) fn record_load(blocks: usize, seconds: f64, is_local: bool) {
    let source = if is_local { "cache" } else { "download" };
    for _ in 0..blocks {
        histogram!("block_server_block_load_duration_seconds", "source" => source)
            .record(seconds / blocks as f64);
    }
}

/// Sets the memory held for weights and KV cache.
pub(crate) fn record_memory(device: &str, weight_bytes: u64, cache_bytes: u64) {
    for (pool, bytes) in [("weights", weight_bytes), ("kv_cache", cache_bytes)] {
        gauge!("block_server_memory_bytes", "device" => device.to_owned(), "pool" => pool)
            .set(bytes as f64);
    }
}

/// Counts an announcement that ended; `unix_time` in seconds.
pub(crate) fn record_announce(is_stored: bool, unix_time: f64) {
    let outcome = if is_stored { "ok" } else { "error" };
    counter!("swarm_dht_announces_total", "outcome" => outcome).increment(1);
    if is_stored {
        gauge!("swarm_dht_last_announce_timestamp_seconds").set(unix_time);
    }
}

/// Observes a ping to another server, seconds.
pub(crate) fn record_ping(seconds: f64) {
    histogram!("swarm_p2p_ping_duration_seconds").record(seconds);
}

/// How others can reach this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reachability {
    /// Peers connect to an announced address.
    Direct,
    /// Peers were asked and could not.
    Unreachable,
    /// Not asked, or nobody answered.
    Unknown,
}

/// Sets the reachability.
pub(crate) fn record_reachability(now: Reachability) {
    let current = match now {
        Reachability::Direct => "direct",
        Reachability::Unreachable => "unreachable",
        Reachability::Unknown => "unknown",
    };
    for state in ["direct", "relay", "unreachable", "unknown"] {
        gauge!("swarm_p2p_reachability", "state" => state).set(if state == current {
            1.0
        } else {
            0.0
        });
    }
}
