//! Metrics in the Prometheus text format.
//!
//! A histogram without buckets would come out as a summary, which cannot be added
//! up over servers; so every histogram has buckets here, by name or by default.

use std::sync::{Mutex, PoisonError};

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use metrics_process::Collector;

use crate::error_report::{Exit, Failure};
use crate::{metrics as catalogue, swarm_metrics};

/// Turns the process's metrics into text.
#[derive(Debug, Clone)]
pub(crate) struct Exporter {
    handle: PrometheusHandle,
    process: Collector,
}

impl Exporter {
    /// The exporter of this process; the first call makes its recorder the one that all metrics go to.
    ///
    /// # Errors
    /// A recorder that is not ours is installed (exit 70).
    pub(crate) fn of_process() -> Result<Self, Failure> {
        static INSTALLED: Mutex<Option<Exporter>> = Mutex::new(None);
        let mut installed = INSTALLED.lock().unwrap_or_else(PoisonError::into_inner);
        match &*installed {
            Some(exporter) => Ok(exporter.clone()),
            None => Ok(installed.insert(Self::install()?).clone()),
        }
    }

    fn install() -> Result<Self, Failure> {
        let internal = |error: &BuildError| {
            Failure::new(Exit::Software, "the metrics exporter cannot be built").caused_by(error)
        };
        let recorder = builder()
            .map_err(|error| internal(&error))?
            .build_recorder();
        let handle = recorder.handle();
        metrics::set_global_recorder(recorder)
            .map_err(|_| Failure::new(Exit::Software, "a metrics recorder is installed already"))?;
        let process = Collector::default();
        process.describe();
        catalogue::describe_all();
        swarm_metrics::describe();
        catalogue::record_build(env!("CARGO_PKG_VERSION"), "release", "cpu");
        Ok(Self { handle, process })
    }

    /// An exporter whose recorder nothing writes to.
    #[cfg(test)]
    pub(crate) fn for_test() -> Self {
        let handle = builder().unwrap().build_recorder().handle();
        Self {
            handle,
            process: Collector::default(),
        }
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

fn builder() -> Result<PrometheusBuilder, BuildError> {
    // What neither table names is taken for a duration.
    let mut builder = PrometheusBuilder::new().set_buckets(swarm_metrics::RPC_SECONDS)?;
    let tables = catalogue::histogram_buckets().chain(swarm_metrics::histogram_buckets());
    for (name, bounds) in tables {
        builder = builder.set_buckets_for_metric(Matcher::Full(name.to_owned()), bounds)?;
    }
    Ok(builder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_histogram_has_buckets_and_none_is_a_summary() {
        let largest = [
            ("block_server_block_load_duration_seconds", "3600"),
            ("block_server_session_tokens", "65536"),
            ("block_server_rpc_duration_seconds", "180"),
            ("block_server_step_stage_duration_seconds", "10"),
            ("swarm_p2p_ping_duration_seconds", "180"),
            ("something_of_a_later_version", "180"),
        ];
        let recorder = builder().unwrap().build_recorder();
        let handle = recorder.handle();
        metrics::with_local_recorder(&recorder, || {
            for (name, _) in largest {
                metrics::histogram!(name).record(0.3);
            }
        });
        handle.run_upkeep();
        let text = handle.render();
        assert!(!text.contains(" summary"), "{text}");
        for (name, bound) in largest {
            assert!(
                text.contains(&format!("# TYPE {name} histogram")),
                "{name} in\n{text}"
            );
            assert!(
                text.contains(&format!("{name}_bucket{{le=\"{bound}\"}} 1")),
                "{name} in\n{text}"
            );
        }
    }

    #[test]
    fn closed_label_sets_and_help_exist_from_the_start() {
        let recorder = builder().unwrap().build_recorder();
        let handle = recorder.handle();
        metrics::with_local_recorder(&recorder, || {
            catalogue::describe_all();
            swarm_metrics::describe();
        });
        let text = handle.render();
        for line in [
            "block_log_messages_total{level=\"error\"} 0",
            "swarm_dht_announces_total{outcome=\"ok\"} 0",
            "swarm_p2p_reachability{state=\"unknown\"} 1",
            "# HELP swarm_dht_announces_total Block announcements finished.",
        ] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
    }
}
