//! The table of metrics: one line each.

use metrics::{
    Label as Pair, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};

use super::labels::{
    Failover, HopFailure, Phase, RefreshOutcome, RouteFor, RouteOutcome, SessionOutcome,
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
    /// Labels with closed value sets. Empty for plain metrics and for series with open ones.
    pub labels: &'static [(&'static str, &'static [&'static str])],
    /// Whether its series exist from the start. Those with open labels (models, versions) do not.
    pub zeroed: bool,
}

/// Bounds for parts of a step, seconds.
const STAGE: &[f64] = &[
    0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0,
];
/// Bounds for refreshes, seconds.
const RPC: &[f64] = &[
    0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 180.0,
];
/// Bounds for steps and hops over a wide-area network, seconds.
const STEP: &[f64] = &[
    0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];
/// Bounds for servers in a route.
const HOPS: &[f64] = &[1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 32.0];

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
const fn open(name: &'static str, help: &'static str) -> Metric {
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
    metric("block_client_sessions_active", Kind::Gauge, "Client sessions open across the swarm."),
    metric("block_client_sessions_total", Kind::Counter, "Client sessions ended.")
        .by(&[("outcome", SessionOutcome::TEXTS)]),
    metric("block_client_route_builds_total", Kind::Counter, "Routes computed.")
        .by(&[("mode", RouteFor::TEXTS), ("outcome", RouteOutcome::TEXTS)]),
    metric("block_client_route_build_duration_seconds", Kind::Histogram(STAGE), "Time to compute a route."),
    metric("block_client_route_hops", Kind::Histogram(HOPS), "Servers in a chosen route."),
    metric("block_client_step_duration_seconds", Kind::Histogram(STEP), "One step through the whole chain.")
        .by(&[PHASE]),
    metric("block_client_hop_duration_seconds", Kind::Histogram(STEP), "One hop of a step.").by(&[PHASE]),
    metric("block_client_hop_failures_total", Kind::Counter, "Failed hops.").by(&[("reason", HopFailure::TEXTS)]),
    metric("block_client_failovers_total", Kind::Counter, "Route repairs inside a session.")
        .by(&[("outcome", Failover::TEXTS)]),
    metric("block_client_replayed_tokens_total", Kind::Counter, "Tokens resent to rebuild a lost cache."),
    metric("block_client_banned_peers", Kind::Gauge, "Peers in temporary ban."),
    open("swarm_servers", "Servers seen in the DHT."),
    open("swarm_model_blocks", "Blocks in the model."),
    open("swarm_model_blocks_covered", "Blocks with at least one online server."),
    open("swarm_model_block_replicas_min", "Online servers on the worst-covered block."),
    open("swarm_model_bottleneck_tokens_per_second", "Summed announced throughput on the weakest block."),
    open("swarm_servers_by_version", "Servers per announced version."),
    metric("swarm_refreshes_total", Kind::Counter, "Swarm view refreshes.")
        .by(&[("outcome", RefreshOutcome::TEXTS)]),
    metric("swarm_refresh_duration_seconds", Kind::Histogram(RPC), "Time of one swarm view refresh."),
    metric("swarm_last_refresh_timestamp_seconds", Kind::Gauge, "Unix time of the last good refresh."),
];

/// Describes every metric to the installed recorder and creates the series of closed label sets at zero.
pub fn describe_all() {
    describe(CATALOGUE);
}

/// What [`describe_all`] does, for the metrics of a crate on top of this one.
pub fn describe(catalogue: &[Metric]) {
    for metric in catalogue {
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
    buckets_of(CATALOGUE)
}

/// What [`histogram_buckets`] gives, for the metrics of a crate on top of this one.
pub fn buckets_of(
    catalogue: &'static [Metric],
) -> impl Iterator<Item = (&'static str, &'static [f64])> {
    catalogue.iter().filter_map(|metric| match metric.kind {
        Kind::Histogram(bounds) => Some((metric.name, bounds)),
        Kind::Counter | Kind::Gauge => None,
    })
}
