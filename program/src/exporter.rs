//! Metrics in the Prometheus text format.
//!
//! A histogram without buckets would come out as a summary, which cannot be added
//! up over servers; so every histogram has buckets here, by name or by default.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use metrics_exporter_prometheus::{
    BuildError, Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder,
};
use metrics_process::Collector;

use crate::error_report::{Exit, Failure};
use crate::swarm_metrics;

/// One crate's metrics, as the exporter needs them.
#[derive(Debug, Clone, Copy)]
pub struct MetricsTable {
    /// Describes every metric, and creates the series of closed label sets at zero.
    pub describe: fn(),
    /// Bucket bounds of every histogram, by its name.
    pub buckets: fn() -> Vec<(&'static str, &'static [f64])>,
}

/// Turns the process's metrics into text.
#[derive(Debug, Clone)]
pub struct Exporter {
    handle: PrometheusHandle,
    process: Collector,
}

impl Exporter {
    /// The exporter of this process; the first call makes its recorder the one that all metrics go to.
    ///
    /// `component` is the program's name in `block_build_info`; `tables` come on top of [`swarm_metrics`].
    ///
    /// # Errors
    /// A recorder that is not ours is installed (exit 70).
    pub fn of_process(component: &'static str, tables: &[MetricsTable]) -> Result<Self, Failure> {
        static INSTALLED: Mutex<Option<Exporter>> = Mutex::new(None);
        let mut installed = INSTALLED.lock().unwrap_or_else(PoisonError::into_inner);
        match &*installed {
            Some(exporter) => Ok(exporter.clone()),
            None => Ok(installed.insert(Self::install(component, tables)?).clone()),
        }
    }

    fn install(component: &'static str, tables: &[MetricsTable]) -> Result<Self, Failure> {
        let recorder = recorder(tables)?;
        let handle = recorder.handle();
        metrics::set_global_recorder(recorder)
            .map_err(|_| Failure::new(Exit::Software, "a metrics recorder is installed already"))?;
        let process = Collector::default();
        process.describe();
        for table in all(tables) {
            (table.describe)();
        }
        swarm_metrics::record_build(component);
        Ok(Self { handle, process })
    }

    /// An exporter whose recorder nothing writes to, for tests of what serves its text.
    ///
    /// # Errors
    /// As [`Exporter::of_process`].
    pub fn detached() -> Result<Self, Failure> {
        Ok(Self {
            handle: recorder(&[])?.handle(),
            process: Collector::default(),
        })
    }

    /// Every metric as text.
    pub fn render(&self) -> String {
        self.process.collect();
        self.handle.render()
    }

    /// Moves recorded samples into their buckets every few seconds, for ever: to be polled as long as the process exports.
    pub async fn keep_up(&self) {
        let mut ticks = tokio::time::interval(UPKEEP_PERIOD);
        loop {
            ticks.tick().await;
            self.handle.run_upkeep();
        }
    }
}

/// How often samples are moved into buckets; the exporter crate's own default.
const UPKEEP_PERIOD: Duration = Duration::from_secs(5);

fn all(tables: &[MetricsTable]) -> impl Iterator<Item = &MetricsTable> {
    [&swarm_metrics::TABLE].into_iter().chain(tables)
}

fn recorder(tables: &[MetricsTable]) -> Result<PrometheusRecorder, Failure> {
    let build = || -> Result<PrometheusRecorder, BuildError> {
        // What no table names is taken for a duration.
        let mut builder = PrometheusBuilder::new().set_buckets(swarm_metrics::RPC_SECONDS)?;
        for (name, bounds) in all(tables).flat_map(|table| (table.buckets)()) {
            builder = builder.set_buckets_for_metric(Matcher::Full(name.to_owned()), bounds)?;
        }
        Ok(builder.build_recorder())
    };
    build().map_err(|error| {
        Failure::new(Exit::Software, "the metrics exporter cannot be built").caused_by(&error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEPS: MetricsTable = MetricsTable {
        describe: || metrics::describe_histogram!("a_step_seconds", "Time of a step."),
        buckets: || vec![("a_step_seconds", &[0.5, 3600.0])],
    };

    #[test]
    fn every_histogram_has_buckets_and_none_is_a_summary() {
        let largest = [
            ("a_step_seconds", "3600"),
            ("swarm_p2p_ping_duration_seconds", "180"),
            ("something_of_a_later_version", "180"),
        ];
        let recorder = recorder(&[STEPS]).unwrap();
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
        let recorder = recorder(&[STEPS]).unwrap();
        let handle = recorder.handle();
        metrics::with_local_recorder(&recorder, || {
            for table in all(&[STEPS]) {
                (table.describe)();
            }
            swarm_metrics::record_build("a-program");
        });
        let text = handle.render();
        for line in [
            "block_log_messages_total{level=\"error\"} 0",
            "swarm_dht_announces_total{outcome=\"ok\"} 0",
            "swarm_p2p_reachability{state=\"unknown\"} 1",
            "swarm_dht_request_duration_seconds_count{rpc=\"ping\"} 0",
            "# HELP swarm_dht_announces_total Block announcements finished.",
            "component=\"a-program\"",
        ] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
    }
}
