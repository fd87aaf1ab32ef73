//! What is reported of a measurement, as JSON and in words.
//!
//! | field               | meaning                                                                    |
//! |---------------------|----------------------------------------------------------------------------|
//! | `ttft_ms`           | from sending a request to its first text, opening of a session included    |
//! | `itl_ms`            | between one piece of text and the next, over all requests                  |
//! | `tokens_per_second` | of all answers together, over the whole time                               |
//! | `per_request`       | tokens per second after the first text, of one request                     |

use std::time::Duration;

use block_program::amounts::rate;
use serde::Serialize;

use super::distribution::Distribution;
use super::host::Host;
use super::sample::Sample;
use crate::cli::BenchFlags;

/// A measurement.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    model: String,
    /// Address of the API; `null` for the swarm itself.
    url: Option<String>,
    concurrency: u32,
    requests: u32,
    max_tokens: usize,
    failed: usize,
    /// Different reasons of failures, some at most.
    failures: Vec<String>,
    seconds: f64,
    prompt_tokens: u64,
    tokens: u64,
    tokens_per_second: f64,
    requests_per_second: f64,
    ttft_ms: Distribution,
    itl_ms: Distribution,
    per_request: Distribution,
    host: Host,
}

impl Report {
    /// Of all requests, which took `took` together.
    pub(super) fn new(
        flags: &BenchFlags,
        answers: Vec<Result<Sample, String>>,
        took: Duration,
    ) -> Self {
        let mut failures = Vec::new();
        let mut samples = Vec::new();
        let mut failed = 0;
        for answer in answers {
            match answer {
                Ok(sample) => samples.push(sample),
                Err(reason) => {
                    failed += 1;
                    if failures.len() < MAX_FAILURES && !failures.contains(&reason) {
                        failures.push(reason);
                    }
                }
            }
        }
        let seconds = took.as_secs_f64();
        let per_second = |count: f64| if seconds > 0.0 { count / seconds } else { 0.0 };
        let tokens = samples.iter().map(|sample| sample.tokens).sum();
        let first = samples.iter().filter_map(|sample| sample.first);
        let gaps = samples.iter().flat_map(|sample| &sample.gaps);
        Self {
            model: flags.model.model.clone(),
            url: flags.url.clone(),
            concurrency: flags.concurrency,
            requests: flags.requests,
            max_tokens: flags.max_tokens,
            failed,
            failures,
            seconds,
            prompt_tokens: samples
                .iter()
                .filter_map(|sample| sample.prompt_tokens)
                .sum(),
            tokens,
            tokens_per_second: per_second(tokens as f64),
            requests_per_second: per_second(samples.len() as f64),
            ttft_ms: Distribution::of(first.map(milliseconds)),
            itl_ms: Distribution::of(gaps.map(|gap| milliseconds(*gap))),
            per_request: Distribution::of(samples.iter().filter_map(speed)),
            host: Host::here(),
        }
    }

    /// Reasons, if no request was answered.
    pub(super) fn all_failed(&self) -> Option<&[String]> {
        let is_any_answered = self.failed < self.requests as usize;
        (!is_any_answered).then_some(&self.failures)
    }

    /// For people.
    pub(super) fn in_words(&self) -> String {
        let spread = |name: &str, of: &Distribution, unit: &str| {
            format!(
                "{name:<14} mean {}  p50 {}  p90 {}  p99 {}  max {} {unit}\n",
                rate(of.mean),
                rate(of.p50),
                rate(of.p90),
                rate(of.p99),
                rate(of.max)
            )
        };
        let mut text = format!(
            "requests       {} of {} answered, {} at a time, {:.2} s\n",
            self.requests as usize - self.failed,
            self.requests,
            self.concurrency,
            self.seconds
        );
        text.push_str(&format!(
            "tokens         {} prompt, {} answer, {} tok/s in all\n",
            self.prompt_tokens,
            self.tokens,
            rate(self.tokens_per_second)
        ));
        text.push_str(&spread("first token", &self.ttft_ms, "ms"));
        text.push_str(&spread("between tokens", &self.itl_ms, "ms"));
        text.push_str(&spread("per request", &self.per_request, "tok/s"));
        for failure in &self.failures {
            text.push_str(&format!("failed         {failure}\n"));
        }
        text
    }
}

/// Tokens per second after the first text; `None` with fewer than two.
fn speed(sample: &Sample) -> Option<f64> {
    let after = sample.took.checked_sub(sample.first?)?.as_secs_f64();
    let tokens = sample.tokens.checked_sub(1).filter(|tokens| *tokens > 0)?;
    (after > 0.0).then(|| tokens as f64 / after)
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1e3
}

/// Reasons that are reported: more would say no more.
const MAX_FAILURES: usize = 8;
