//! Metrics of every process of a swarm: its build, its log, its place in the swarm.
//!
//! What the network counts by itself (`swarm_p2p_*`, `swarm_dht_*`) is described here, where the exporter is.
//! Rules: base units in the name, `_total` on counters, closed label sets exported as zero from the start.

use metrics::{
    Label, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};

/// These metrics, for the exporter; [`crate::Exporter`] adds them to those of each program.
pub const TABLE: crate::MetricsTable = crate::MetricsTable {
    describe,
    buckets: histogram_buckets,
};

/// Says what each metric means, and exports every closed label set as 0.
fn describe() {
    for (name, help, labels) in COUNTERS {
        describe_counter!(*name, *help);
        for set in label_sets(labels) {
            counter!(*name, set).increment(0);
        }
    }
    for (name, help, labels) in GAUGES {
        describe_gauge!(*name, *help);
        for set in label_sets(labels) {
            gauge!(*name, set).increment(0.0);
        }
    }
    for (name, help, labels, _) in HISTOGRAMS {
        describe_histogram!(*name, *help);
        for set in label_sets(labels) {
            // The handle alone makes the series; an observation would be a lie.
            drop(histogram!(*name, set));
        }
    }
    describe_gauge!("block_build_info", "Build metadata, always 1.");
    // Nobody has been asked yet.
    gauge!("swarm_p2p_reachability", "state" => "unknown").set(1.0);
}

fn histogram_buckets() -> Vec<(&'static str, &'static [f64])> {
    HISTOGRAMS
        .iter()
        .map(|(name, _, _, bounds)| (*name, *bounds))
        .collect()
}

/// Sets the build series, always 1: all our crates have one version.
pub(crate) fn record_build(component: &'static str) {
    gauge!(
        "block_build_info",
        "version" => env!("CARGO_PKG_VERSION"), "revision" => "release", "component" => component, "backend" => "cpu"
    )
    .set(1.0);
}

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

/// Observes a ping to another server, seconds.
pub fn record_ping(seconds: f64) {
    histogram!("swarm_p2p_ping_duration_seconds").record(seconds);
}

/// Every combination of the labels' values; one empty set without labels.
fn label_sets(labels: Labels) -> Vec<Vec<Label>> {
    labels.iter().fold(vec![vec![]], |sets, (key, values)| {
        let longer = |set: &Vec<Label>| {
            let set = set.clone();
            values.iter().map(move |value| {
                [set.as_slice(), &[Label::from_static_parts(key, value)]].concat()
            })
        };
        sets.iter().flat_map(longer).collect()
    })
}

/// Labels with all their values.
type Labels = &'static [(&'static str, &'static [&'static str])];

const PROTOCOL: Labels = &[("protocol", &["dht", "handler", "relay", "other"])];

#[rustfmt::skip]
const COUNTERS: &[(&str, &str, Labels)] = &[
    ("block_log_messages_total", "Log lines written, by level.", &[("level", &["error", "warn", "info"])]),
    ("swarm_p2p_dials_total", "Outbound dial attempts finished.",
        &[("outcome", &["ok", "timeout", "refused", "error"])]),
    ("swarm_p2p_received_bytes_total", "Bytes received per protocol family.", PROTOCOL),
    ("swarm_p2p_sent_bytes_total", "Bytes sent per protocol family.", PROTOCOL),
    ("swarm_dht_requests_total", "DHT RPCs finished.",
        &[("rpc", &["ping", "store", "find"]), ("direction", &["inbound", "outbound"]),
          ("code", &["ok", "timeout", "error"])]),
    ("swarm_dht_announces_total", "Block announcements finished.", &[("outcome", &["ok", "error"])]),
];

#[rustfmt::skip]
const GAUGES: &[(&str, &str, Labels)] = &[
    ("swarm_p2p_connections", "Open peer connections.",
        &[("direction", &["inbound", "outbound"]), ("path", &["direct", "relay"])]),
    ("swarm_p2p_reachability", "State set of this node's reachability.",
        &[("state", &["direct", "relay", "unreachable", "unknown"])]),
    ("swarm_dht_routing_table_peers", "Peers in the routing table.", &[]),
    ("swarm_dht_stored_keys", "Keys stored for others.", &[]),
    ("swarm_dht_last_announce_timestamp_seconds", "Unix time of the last successful announcement.", &[]),
];

#[rustfmt::skip]
const HISTOGRAMS: &[(&str, &str, Labels, &[f64])] = &[
    ("swarm_p2p_ping_duration_seconds", "Round-trip time to candidate servers.", &[], RPC_SECONDS),
    ("swarm_dht_request_duration_seconds", "Time of an outbound DHT RPC.",
        &[("rpc", &["ping", "store", "find"])], RPC_SECONDS),
];

/// Bounds for RPCs, pings and waits, seconds.
pub(crate) const RPC_SECONDS: &[f64] = &[
    0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 180.0,
];
