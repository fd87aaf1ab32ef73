//! The table of metrics: one line each.

use block_program::MetricsTable;
use metrics::{
    Label as Pair, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};

use super::labels::{
    AllocFailure, AnnouncedRate, Code, Method, Phase, Pool, PushOutcome, Rejection, SessionOutcome,
    Stage, State,
};

/// How a metric behaves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Observations counted in these buckets (upper bounds; infinity is implied).
    Histogram(&'static [f64]),
}

/// One line of the catalogue.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// Name on the wire, unit included.
    pub name: &'static str,
    /// How it behaves.
    pub kind: Kind,
    /// Help text.
    pub help: &'static str,
    /// Labels with closed value sets. Empty for plain metrics and for info series with open ones.
    pub labels: &'static [(&'static str, &'static [&'static str])],
    /// Whether its series exist from the start. Those with open labels (facts, devices) do not.
    pub zeroed: bool,
}

/// Bounds for parts of a step, seconds.
const STAGE: &[f64] = &[
    0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0,
];
/// Bounds for RPCs, pings and waits, seconds.
const RPC: &[f64] = &[
    0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 180.0,
];
/// Bounds for loading and for lives of sessions, seconds.
const LONG: &[f64] = &[
    0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0,
];
/// Bounds for counts of tokens: powers of four.
const TOKENS: &[f64] = &[
    1.0, 4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0, 16384.0, 65536.0,
];

const METHOD: (&str, &[&str]) = ("method", Method::TEXTS);
const PHASE: (&str, &[&str]) = ("phase", Phase::TEXTS);

const fn metric(name: &'static str, kind: Kind, help: &'static str) -> Metric {
    Metric {
        name,
        kind,
        help,
        labels: &[],
        zeroed: true,
    }
}

/// A gauge with open labels.
const fn info(name: &'static str, help: &'static str) -> Metric {
    Metric {
        zeroed: false,
        ..metric(name, Kind::Gauge, help)
    }
}

impl Metric {
    const fn by(self, labels: &'static [(&'static str, &'static [&'static str])]) -> Self {
        Self { labels, ..self }
    }
}

/// Every metric that this crate records.
#[rustfmt::skip]
pub const CATALOGUE: &[Metric] = &[
    info("block_server_info", "Static facts about what this server serves, always 1."),
    metric("block_server_state", Kind::Gauge, "State set: 1 for the current announced state, 0 for the others.")
        .by(&[("state", State::TEXTS)]),
    metric("block_server_start_block", Kind::Gauge, "First served block index (inclusive)."),
    metric("block_server_end_block", Kind::Gauge, "End of the served block range (exclusive)."),
    metric("block_server_announced_tokens_per_second", Kind::Gauge, "Throughput figures as announced to the DHT.")
        .by(&[("kind", AnnouncedRate::TEXTS)]),
    info("block_server_memory_bytes", "Memory held per device and purpose."),
    metric("block_server_block_load_duration_seconds", Kind::Histogram(LONG), "Time to make one block ready.")
        .by(&[("source", &["cache", "download"])]),
    metric("block_server_kv_cache_tokens", Kind::Gauge,
        "KV-cache budget in tokens x blocks; used+free is the budget.")
        .by(&[("state", &["used", "free"])]),
    metric("block_server_kv_cache_alloc_wait_seconds", Kind::Histogram(RPC),
        "Time a session waited for KV-cache memory."),
    metric("block_server_kv_cache_alloc_failures_total", Kind::Counter,
        "KV-cache allocations refused, or taken back from sessions that grow.")
        .by(&[("reason", AllocFailure::TEXTS)]),
    metric("block_server_sessions_active", Kind::Gauge, "Open inference sessions."),
    metric("block_server_sessions_total", Kind::Counter, "Inference sessions ended.")
        .by(&[("outcome", SessionOutcome::TEXTS)]),
    metric("block_server_session_duration_seconds", Kind::Histogram(LONG), "Lifetime of an inference session."),
    metric("block_server_session_tokens", Kind::Histogram(TOKENS), "Tokens processed in one session."),
    metric("block_server_rpc_requests_total", Kind::Counter,
        "Finished RPCs (inference counts one per session step).")
        .by(&[METHOD, ("code", Code::TEXTS)]),
    metric("block_server_rpc_duration_seconds", Kind::Histogram(RPC), "Server-side time of one RPC or session step.")
        .by(&[METHOD]),
    metric("block_server_rpc_in_flight", Kind::Gauge, "RPCs being served now.").by(&[METHOD]),
    metric("block_server_rpc_received_bytes_total", Kind::Counter, "Payload bytes received.").by(&[METHOD]),
    metric("block_server_rpc_sent_bytes_total", Kind::Counter, "Payload bytes sent.").by(&[METHOD]),
    metric("block_server_step_stage_duration_seconds", Kind::Histogram(STAGE), "Where a step's time goes.")
        .by(&[PHASE, ("stage", Stage::TEXTS)]),
    metric("block_server_tokens_total", Kind::Counter, "Tokens run through this server's blocks.").by(&[PHASE]),
    metric("block_server_batch_tokens", Kind::Histogram(TOKENS), "Tokens in one executed batch.").by(&[PHASE]),
    metric("block_server_queue_depth", Kind::Gauge, "Tasks waiting for the device.").by(&[("pool", Pool::TEXTS)]),
    metric("block_server_rejected_total", Kind::Counter, "Requests refused before work began.")
        .by(&[("reason", Rejection::TEXTS)]),
    metric("block_server_peer_pushes_total", Kind::Counter, "Direct server-to-server activation pushes.")
        .by(&[("outcome", PushOutcome::TEXTS)]),
    metric("block_server_last_step_timestamp_seconds", Kind::Gauge, "Unix time the last step finished."),
];

/// These metrics, for the exporter.
pub const TABLE: MetricsTable = MetricsTable {
    describe: describe_all,
    buckets: || histogram_buckets().collect(),
};

/// Describes every metric to the installed recorder and creates the series of closed label sets at zero.
pub fn describe_all() {
    for metric in CATALOGUE {
        match metric.kind {
            Kind::Counter => describe_counter!(metric.name, metric.help),
            Kind::Gauge => describe_gauge!(metric.name, metric.help),
            Kind::Histogram(_) => describe_histogram!(metric.name, metric.help),
        }
        if metric.zeroed {
            for labels in label_sets(metric.labels) {
                create_series(metric, labels);
            }
        }
    }
}

fn create_series(metric: &Metric, labels: Vec<Pair>) {
    match metric.kind {
        Kind::Counter => counter!(metric.name, labels).increment(0),
        Kind::Gauge => gauge!(metric.name, labels).increment(0.0),
        // A histogram handle alone registers the series; an observation would be a lie.
        Kind::Histogram(_) => drop(histogram!(metric.name, labels)),
    }
}

/// Every combination of the labels' values.
fn label_sets(labels: &[(&'static str, &'static [&'static str])]) -> Vec<Vec<Pair>> {
    labels.iter().fold(vec![vec![]], |sets, (key, values)| {
        sets.iter()
            .flat_map(|set| {
                values.iter().map(move |value| {
                    let mut longer = set.clone();
                    longer.push(Pair::from_static_parts(key, value));
                    longer
                })
            })
            .collect()
    })
}

/// Bucket bounds by metric name, for the exporter: without them a histogram would be exported as a summary.
pub fn histogram_buckets() -> impl Iterator<Item = (&'static str, &'static [f64])> {
    CATALOGUE.iter().filter_map(|metric| match metric.kind {
        Kind::Histogram(bounds) => Some((metric.name, bounds)),
        Kind::Counter | Kind::Gauge => None,
    })
}

#[cfg(test)]
mod tests {
    use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};

    use super::*;

    #[test]
    fn names_are_unique_and_carry_their_kind() {
        for (number, metric) in CATALOGUE.iter().enumerate() {
            assert!(
                CATALOGUE[..number]
                    .iter()
                    .all(|other| other.name != metric.name)
            );
            assert_eq!(
                metric.kind == Kind::Counter,
                metric.name.ends_with("_total"),
                "{}",
                metric.name
            );
            assert!(metric.help.ends_with('.'), "{}", metric.name);
        }
    }

    #[test]
    fn every_closed_series_exists_from_the_start_and_no_summary_does() {
        let mut builder = PrometheusBuilder::new();
        for (name, bounds) in histogram_buckets() {
            builder = builder
                .set_buckets_for_metric(Matcher::Full(name.to_owned()), bounds)
                .unwrap();
        }
        let recorder = builder.build_recorder();
        let text = metrics::with_local_recorder(&recorder, || {
            describe_all();
            recorder.handle().render()
        });
        assert!(!text.contains("summary"));
        assert!(text.contains(r#"block_server_rejected_total{reason="cache_full"} 0"#));
        assert!(
            text.contains(r#"block_server_rpc_requests_total{method="rpc_push",code="timeout"} 0"#)
        );
        for metric in CATALOGUE.iter().filter(|metric| metric.zeroed) {
            assert!(
                text.contains(&format!("# HELP {} ", metric.name)),
                "{}",
                metric.name
            );
        }
    }
}
