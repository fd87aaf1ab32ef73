//! Every metric of the client: names, helps, labels and buckets in [`CATALOGUE`], and one typed function per event.
//! Nothing else in this crate names a metric.
//!
//! Rules: base units in the name, `_total` on counters, closed label sets, no peer and no prompt in a label, sessions
//! and steps counted when they end, durations by monotonic clocks. A program that exports metrics installs a recorder,
//! sets its buckets by [`histogram_buckets`] and calls [`describe_all`]; without a recorder all of this does nothing.

mod catalogue;
mod labels;
mod view_series;

#[cfg(test)]
mod tests;

use std::time::Duration;

use block_network::unix_time;
use metrics::{counter, gauge, histogram};

pub use catalogue::{
    CATALOGUE, Kind, Metric, buckets_of, describe, describe_all, histogram_buckets,
};
pub use labels::{
    Failover, HopFailure, Label, Phase, RateKind, RefreshOutcome, RouteFor, RouteOutcome,
    SeenState, SessionOutcome,
};
pub use view_series::{ViewFigures, ViewSeries};

/// An open session, counted while it lives. Dropping it counts a cancelled one.
#[derive(Debug)]
pub struct OpenSession {
    outcome: SessionOutcome,
}

impl OpenSession {
    /// Counts a session as open.
    #[must_use]
    pub fn begin() -> Self {
        gauge!("block_client_sessions_active").increment(1.0);
        Self {
            outcome: SessionOutcome::Cancelled,
        }
    }

    /// Counts the session as ended.
    pub fn end(mut self, outcome: SessionOutcome) {
        self.outcome = outcome;
    }
}

impl Drop for OpenSession {
    fn drop(&mut self) {
        gauge!("block_client_sessions_active").decrement(1.0);
        counter!("block_client_sessions_total", "outcome" => self.outcome.label()).increment(1);
    }
}

/// Counts a computed route: its servers, or `None` if there was none.
pub fn record_route(purpose: RouteFor, hops: Option<usize>, took: Duration) {
    let outcome = match hops {
        Some(_) => RouteOutcome::Ok,
        None => RouteOutcome::NoRoute,
    };
    counter!(
        "block_client_route_builds_total",
        "mode" => purpose.label(), "outcome" => outcome.label()
    )
    .increment(1);
    histogram!("block_client_route_build_duration_seconds").record(took.as_secs_f64());
    if let Some(hops) = hops {
        histogram!("block_client_route_hops").record(hops as f64);
    }
}

/// Observes a step through the whole chain, repairs included.
pub fn record_step(phase: Phase, took: Duration) {
    histogram!("block_client_step_duration_seconds", "phase" => phase.label())
        .record(took.as_secs_f64());
}

/// Observes one hop of a step, from its input's leaving (or the last hop's answer) to its answer.
pub fn record_hop(phase: Phase, took: Duration) {
    histogram!("block_client_hop_duration_seconds", "phase" => phase.label())
        .record(took.as_secs_f64());
}

/// Counts a hop that failed.
pub fn record_hop_failure(reason: HopFailure) {
    counter!("block_client_hop_failures_total", "reason" => reason.label()).increment(1);
}

/// Counts a repair that has ended.
pub fn record_failover(outcome: Failover) {
    counter!("block_client_failovers_total", "outcome" => outcome.label()).increment(1);
}

/// Counts tokens that were sent again to fill a new server's cache: tokens per sequence, once per hop that gets them.
pub fn record_replayed(tokens: usize) {
    counter!("block_client_replayed_tokens_total").increment(tokens as u64);
}

/// Counts a refresh of a swarm view.
pub fn record_refresh(outcome: RefreshOutcome, took: Duration) {
    counter!("swarm_refreshes_total", "outcome" => outcome.label()).increment(1);
    histogram!("swarm_refresh_duration_seconds").record(took.as_secs_f64());
    if outcome == RefreshOutcome::Ok {
        gauge!("swarm_last_refresh_timestamp_seconds").set(unix_time());
    }
}

/// Observes the round trip of an answered ping. The figure is one of the network's (`swarm_p2p_*`), so the program that
/// exports describes it.
pub fn record_ping(round_trip: Duration) {
    histogram!("swarm_p2p_ping_duration_seconds").record(round_trip.as_secs_f64());
}
