//! What is counted of one generation: a choice of an answer.

use std::time::Duration;

use metrics::{Histogram, counter, gauge, histogram};
use tokio::time::Instant;

/// How a generation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Stop,
    Length,
    Cancelled,
    Error,
}

impl Outcome {
    pub(crate) const TEXTS: &[&str] = &["stop", "length", "cancelled", "error"];

    /// That of a finish reason.
    pub(crate) fn of(reason: &str) -> Self {
        match reason {
            "stop" => Self::Stop,
            _ => Self::Length,
        }
    }

    fn label(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::Cancelled => "cancelled",
            Self::Error => "error",
        }
    }
}

/// Values of the label `state` of a generation.
pub(super) const STATES: &[&str] = &[WAITING, RUNNING];
const WAITING: &str = "waiting";
const RUNNING: &str = "running";

/// One generation, counted while it lives; dropping it counts a cancelled one.
#[derive(Debug)]
pub(crate) struct GenerationRecord {
    model: String,
    arrived: Instant,
    state: &'static str,
    outcome: Outcome,
    tokens: usize,
    /// Times between tokens: looked up once, not for each token.
    gaps: Option<Histogram>,
}

impl GenerationRecord {
    /// Counts a generation that waits for its session. The request came at `arrived`.
    pub(crate) fn begin(model: &str, arrived: Instant) -> Self {
        let record = Self {
            model: model.to_owned(),
            arrived,
            state: WAITING,
            outcome: Outcome::Cancelled,
            tokens: 0,
            gaps: None,
        };
        record.move_gauge(1.0);
        record
    }

    /// Its session is open.
    pub(crate) fn opened(&mut self) {
        self.move_gauge(-1.0);
        self.state = RUNNING;
        self.move_gauge(1.0);
    }

    /// A token came, `took` after the one before.
    pub(crate) fn token(&mut self, took: Duration) {
        let model = || self.model.clone();
        if self.tokens == 0 {
            histogram!("block_gateway_time_to_first_token_seconds", "model" => model())
                .record(self.arrived.elapsed().as_secs_f64());
        } else {
            let gaps = self.gaps.get_or_insert_with(
                || histogram!("block_gateway_inter_token_latency_seconds", "model" => model()),
            );
            gaps.record(took.as_secs_f64());
        }
        self.tokens += 1;
    }

    /// Whether no token has come yet.
    pub(crate) fn is_silent(&self) -> bool {
        self.tokens == 0
    }

    /// It has ended.
    pub(crate) fn end(mut self, outcome: Outcome) {
        self.outcome = outcome;
    }

    fn move_gauge(&self, by: f64) {
        gauge!("block_gateway_generations", "model" => self.model.clone(), "state" => self.state)
            .increment(by);
    }
}

impl Drop for GenerationRecord {
    fn drop(&mut self) {
        self.move_gauge(-1.0);
        let model = || self.model.clone();
        counter!(
            "block_gateway_generations_total",
            "model" => model(), "finish_reason" => self.outcome.label()
        )
        .increment(1);
        counter!("block_gateway_generated_tokens_total", "model" => model())
            .increment(self.tokens as u64);
        histogram!("block_gateway_request_generated_tokens", "model" => model())
            .record(self.tokens as f64);
        histogram!("block_gateway_generation_duration_seconds", "model" => model())
            .record(self.arrived.elapsed().as_secs_f64());
    }
}
