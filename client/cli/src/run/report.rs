//! What is reported of an answer, as JSON and in words.
//!
//! | field               | meaning                                                                  |
//! |---------------------|--------------------------------------------------------------------------|
//! | `route`             | `{"peer": PEER_ID, "blocks": [START, END]}` for each server, in order    |
//! | `ttft_ms`           | from opening the session to the first token; `null` without one          |
//! | `tokens_per_second` | of the tokens after the first; `null` with fewer than two                |
//! | `max_stall_ms`      | the longest step after the first                                         |
//! | `finish_reason`     | `stop`, `length`, `cancelled` (Ctrl-C) or `error`                        |

use std::time::Duration;

use block_client::{ChainStats, Finished, RouteStop, Token};
use block_program::amounts::{bytes, rate};
use serde::Serialize;

/// One token, for `--stream --json`.
#[derive(Debug, Serialize)]
pub(crate) struct TokenLine<'a> {
    index: usize,
    id: u32,
    text: &'a str,
    ms: f64,
}

impl<'a> TokenLine<'a> {
    /// The line of a token; `ms` is the time since the one before.
    pub(crate) fn new(token: &'a Token) -> Self {
        Self {
            index: token.index,
            id: token.id,
            text: &token.text,
            ms: milliseconds(token.took),
        }
    }
}

/// The whole answer.
#[derive(Debug, Serialize)]
pub(crate) struct Answer<'a> {
    prompt_ids: &'a [u32],
    ids: &'a [u32],
    text: &'a str,
    finish_reason: &'static str,
    route: Vec<StopLine>,
    ttft_ms: Option<f64>,
    tokens_per_second: Option<f64>,
    steps: u64,
    failovers: u64,
    replayed_tokens: u64,
    max_stall_ms: f64,
    activation_codec: &'static str,
    bytes_sent: u64,
    bytes_received: u64,
}

/// One server of a route.
#[derive(Debug, Serialize)]
struct StopLine {
    peer: String,
    blocks: [usize; 2],
}

impl<'a> Answer<'a> {
    /// What is reported of `finished`, whose first token came after `first_after`.
    pub(crate) fn new(
        finished: &'a Finished,
        first_after: Option<Duration>,
        stats: &ChainStats,
    ) -> Self {
        Self {
            prompt_ids: &finished.prompt_ids,
            ids: &finished.ids,
            text: &finished.text,
            finish_reason: finished.reason.as_str(),
            route: stats.route.iter().map(StopLine::new).collect(),
            ttft_ms: first_after.map(milliseconds),
            tokens_per_second: finished.tokens_per_second(),
            steps: stats.steps,
            failovers: stats.failovers,
            replayed_tokens: stats.replayed_tokens,
            max_stall_ms: milliseconds(stats.max_stall),
            activation_codec: stats.codec.name(),
            bytes_sent: stats.bytes_sent,
            bytes_received: stats.bytes_received,
        }
    }

    /// For `--stats`.
    pub(crate) fn in_words(&self) -> String {
        let route: Vec<String> = self.route.iter().map(StopLine::in_words).collect();
        let speed = self
            .tokens_per_second
            .map_or_else(String::new, |speed| format!(", {} tok/s", rate(speed)));
        let first = self.ttft_ms.map_or_else(
            || "no token".to_owned(),
            |first| format!("first token after {:.2} s", first / 1e3),
        );
        let mut lines = vec![
            format!("route    {}", route.join(" → ")),
            format!("speed    {first}{speed}, {} tokens", self.ids.len()),
            format!(
                "bytes    {} sent, {} received, activations {}",
                bytes(self.bytes_sent),
                bytes(self.bytes_received),
                self.activation_codec
            ),
        ];
        if self.failovers > 0 {
            lines.push(format!(
                "repairs  {}, {} tokens sent again, longest step {:.2} s",
                self.failovers,
                self.replayed_tokens,
                self.max_stall_ms / 1e3
            ));
        }
        lines.join("\n")
    }
}

impl StopLine {
    fn new(stop: &RouteStop) -> Self {
        Self {
            peer: stop.peer.to_string(),
            blocks: [stop.blocks.start, stop.blocks.end],
        }
    }

    fn in_words(&self) -> String {
        let [start, end] = self.blocks;
        format!("{start}:{end} {}", self.peer)
    }
}

/// With a microsecond's precision: more is noise.
fn milliseconds(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1e3
}
