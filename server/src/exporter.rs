//! Metrics in the Prometheus text format.
//!
//! A histogram without buckets would come out as a summary, which cannot be added
//! up over servers; so every histogram has buckets here, by name or by default.

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use metrics_process::Collector;

use crate::error_report::{Exit, Failure};
use crate::process_metrics;

/// Turns the process's metrics into text.
#[derive(Debug, Clone)]
pub(crate) struct Exporter {
    handle: PrometheusHandle,
    process: Collector,
}

impl Exporter {
    /// Makes this process's recorder the one that all metrics go to.
    ///
    /// # Errors
    /// Another recorder is installed (exit 70).
    pub(crate) fn install() -> Result<Self, Failure> {
        let recorder = builder().map_err(|error| internal(&error))?.build_recorder();
        let handle = recorder.handle();
        metrics::set_global_recorder(recorder)
            .map_err(|_| Failure::new(Exit::Software, "a metrics recorder is installed already"))?;
        let process = Collector::default();
        process.describe();
        process_metrics::describe();
        crate::metrics::describe();
        Ok(Self { handle, process })
    }

    /// Every metric as text.
    pub(crate) fn render(&self) -> String {
        self.process.collect();
        self.handle.render()
    }

    /// Moves recorded samples into their buckets; to be called every few seconds.
    pub(crate) fn upkeep(&self) {
        self.handle.run_upkeep();
    }
}

fn internal(error: &BuildError) -> Failure {
    Failure::new(Exit::Software, "the metrics exporter cannot be built").caused_by(error)
}

fn builder() -> Result<PrometheusBuilder, BuildError> {
    // What no rule below names is a duration.
    let mut builder = PrometheusBuilder::new().set_buckets(RPC_SECONDS)?;
    for (suffix, buckets) in SUFFIXES {
        builder = builder.set_buckets_for_metric(Matcher::Suffix((*suffix).to_owned()), buckets)?;
    }
    for (name, buckets) in NAMES {
        builder = builder.set_buckets_for_metric(Matcher::Full((*name).to_owned()), buckets)?;
    }
    Ok(builder)
}

/// Parts of a step, seconds.
const STAGE_SECONDS: &[f64] =
    &[0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];
/// RPCs, pings, waits, seconds.
const RPC_SECONDS: &[f64] =
    &[0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 180.0];
/// Sessions and loading, seconds.
const LONG_SECONDS: &[f64] =
    &[0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0];
/// Token counts: powers of four, as in OpenTelemetry's token histogram.
const TOKENS: &[f64] = &[1.0, 4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0, 16384.0, 65536.0];

const SUFFIXES: &[(&str, &[f64])] = &[("_seconds", RPC_SECONDS), ("_tokens", TOKENS)];

const NAMES: &[(&str, &[f64])] = &[
    ("block_server_step_stage_duration_seconds", STAGE_SECONDS),
    ("block_server_session_duration_seconds", LONG_SECONDS),
    ("block_server_block_load_duration_seconds", LONG_SECONDS),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// Every histogram of a server in the metrics catalogue, with its largest bucket.
    const HISTOGRAMS: &[(&str, &str)] = &[
        ("block_server_block_load_duration_seconds", "3600"),
        ("block_server_kv_cache_alloc_wait_seconds", "180"),
        ("block_server_session_duration_seconds", "3600"),
        ("block_server_session_tokens", "65536"),
        ("block_server_rpc_duration_seconds", "180"),
        ("block_server_step_stage_duration_seconds", "10"),
        ("block_server_batch_tokens", "65536"),
        ("swarm_p2p_ping_duration_seconds", "180"),
        ("swarm_dht_request_duration_seconds", "180"),
        ("something_of_a_later_version", "180"),
    ];

    #[test]
    fn every_histogram_has_buckets_and_none_is_a_summary() {
        let recorder = builder().unwrap().build_recorder();
        let handle = recorder.handle();
        metrics::with_local_recorder(&recorder, || {
            for (name, _) in HISTOGRAMS {
                metrics::histogram!(*name).record(0.3);
            }
        });
        handle.run_upkeep();
        let text = handle.render();
        assert!(!text.contains(" summary"), "{text}");
        for (name, largest) in HISTOGRAMS {
            assert!(text.contains(&format!("# TYPE {name} histogram")), "{name} in\n{text}");
            assert!(text.contains(&format!("{name}_bucket{{le=\"{largest}\"}} 1")), "{name} in\n{text}");
        }
    }
}
