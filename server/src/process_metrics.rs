//! Metrics of the process as a whole: build, state, announcements, load.
//!
//! Names, labels and help as in the metrics catalogue of the documentation; the
//! metrics of sessions and steps are in [`crate::metrics`].

use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

use crate::status_board::{Phase, StatusReport};

/// Says what each metric means, and exports every closed label set as 0.
pub(crate) fn describe() {
    describe_gauge!("block_build_info", "Build metadata, always 1.");
    describe_counter!("block_log_messages_total", "Log lines written, by level.");
    describe_gauge!("block_server_info", "Static facts about what this server serves, always 1.");
    describe_gauge!("block_server_state", "State set: 1 for the current announced state, 0 for the others.");
    describe_gauge!("block_server_start_block", "First served block index (inclusive).");
    describe_gauge!("block_server_end_block", "End of the served block range (exclusive).");
    describe_histogram!("block_server_block_load_duration_seconds", "Time to make one block ready.");
    describe_gauge!("block_server_memory_bytes", "Memory held per device and purpose.");
    describe_gauge!(
        "block_server_announced_tokens_per_second",
        "Throughput figures as announced to the DHT."
    );
    describe_gauge!("swarm_p2p_reachability", "State set of this node's reachability.");
    describe_histogram!("swarm_p2p_ping_duration_seconds", "Round-trip time to candidate servers.");
    describe_counter!("swarm_dht_announces_total", "Block announcements finished.");
    describe_gauge!(
        "swarm_dht_last_announce_timestamp_seconds",
        "Unix time of the last successful announcement."
    );
    gauge!("block_build_info", "version" => env!("CARGO_PKG_VERSION"), "revision" => "release",
        "component" => "server", "backend" => "cpu")
    .set(1.0);
    for level in LEVELS {
        counter!("block_log_messages_total", "level" => *level).absolute(0);
    }
    for outcome in ["ok", "error"] {
        counter!("swarm_dht_announces_total", "outcome" => outcome).absolute(0);
    }
    phase(Phase::Offline);
    reachability(Reachability::Unknown);
}

/// One log line was written.
pub(crate) fn log_line(level: tracing::Level) {
    let label = match level {
        tracing::Level::ERROR => "error",
        tracing::Level::WARN => "warn",
        tracing::Level::INFO => "info",
        // Debugging output is not counted: it would make the counter depend on the log level.
        tracing::Level::DEBUG | tracing::Level::TRACE => return,
    };
    counter!("block_log_messages_total", "level" => label).increment(1);
}

/// The announced state changed.
pub(crate) fn phase(now: Phase) {
    for phase in Phase::ALL {
        gauge!("block_server_state", "state" => phase.name()).set(if phase == now { 1.0 } else { 0.0 });
    }
}

/// What is served became known.
pub(crate) fn served(report: &StatusReport, device: &str) {
    gauge!(
        "block_server_info",
        "model" => report.model.clone(),
        "dht_prefix" => report.dht_prefix.clone(),
        "peer_id" => report.peer_id.clone(),
        "dtype" => report.dtype.clone(),
        "quant_type" => report.quant_type.clone(),
        "device" => device.to_owned()
    )
    .set(1.0);
    gauge!("block_server_start_block").set(report.start_block as f64);
    gauge!("block_server_end_block").set(report.end_block as f64);
}

/// The span was loaded: `seconds` in all for `blocks` blocks.
pub(crate) fn loaded(blocks: usize, seconds: f64, is_local: bool, weight_bytes: u64, cache_bytes: u64, device: &str) {
    let source = if is_local { "cache" } else { "download" };
    for _ in 0..blocks {
        histogram!("block_server_block_load_duration_seconds", "source" => source).record(seconds / blocks as f64);
    }
    for (pool, bytes) in [("weights", weight_bytes), ("kv_cache", cache_bytes)] {
        gauge!("block_server_memory_bytes", "device" => device.to_owned(), "pool" => pool).set(bytes as f64);
    }
}

/// A throughput figure, tokens per second, as announced; `kind` is throughput, inference, forward or network.
pub(crate) fn announced_speed(kind: &'static str, tokens_per_second: f64) {
    gauge!("block_server_announced_tokens_per_second", "kind" => kind).set(tokens_per_second);
}

/// An announcement ended.
pub(crate) fn announced(is_stored: bool, unix_time: f64) {
    let outcome = if is_stored { "ok" } else { "error" };
    counter!("swarm_dht_announces_total", "outcome" => outcome).increment(1);
    if is_stored {
        gauge!("swarm_dht_last_announce_timestamp_seconds").set(unix_time);
    }
}

/// A ping to another server ended well.
pub(crate) fn pinged(seconds: f64) {
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

/// The reachability became known.
pub(crate) fn reachability(now: Reachability) {
    let current = match now {
        Reachability::Direct => "direct",
        Reachability::Unreachable => "unreachable",
        Reachability::Unknown => "unknown",
    };
    for state in ["direct", "relay", "unreachable", "unknown"] {
        gauge!("swarm_p2p_reachability", "state" => state).set(if state == current { 1.0 } else { 0.0 });
    }
}

const LEVELS: &[&str] = &["error", "warn", "info"];
