//! What is known of one server, as costs.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use block_network::PeerId;

/// An online server as the router sees it. Times are seconds.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// Who it is.
    pub peer: PeerId,
    /// The blocks that it offers, inside the model.
    pub blocks: Range<usize>,
    /// How fast it is.
    pub pace: Pace,
    /// Round trip from here; infinite for a server that does not answer, `None` if unknown.
    pub round_trip: Option<f64>,
    /// Its own round trips to servers that may come next; infinite as above.
    pub next_round_trips: Arc<HashMap<PeerId, f64>>,
    /// Whether it hands steps on to the next server.
    pub pushes: bool,
    /// Free cache: tokens of one block, keys and values counted apart; `None` if unknown.
    pub cache_tokens_left: Option<u64>,
    /// Consecutive failures, if it is banned.
    pub ban: Option<u32>,
}

/// How fast a server is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pace {
    /// By its own claim: one-token steps per second through one block; `None` if it claims nothing.
    Announced(Option<f64>),
    /// As measured: a one-token step takes this long per block, all work at the server included.
    Measured(Duration),
}

/// One way to a server that was never pinged. Petals' figure.
const UNKNOWN_DELAY: f64 = 0.15;
/// One way to a server that does not answer: bad, but better than no route. Petals' figure.
const LONGEST_DELAY: f64 = 5.0;
/// Packing, unpacking and queueing at one hop where nothing was measured. Petals' figure.
const HOP_OVERHEAD: f64 = 0.018;
/// Steps per second through one block of a server that claims nothing. Petals' figure.
const UNKNOWN_RATE: f64 = 300.0;
/// Claims outside this range count as its ends: a zero must not divide, and nobody is faster than a microsecond.
const CREDIBLE_RATES: (f64, f64) = (0.01, 1e6);
/// Costs of a server without enough free cache: it will refuse, or make us wait. Petals' figure.
const CACHE_SHORTAGE: f64 = 10.0;

impl Candidate {
    /// One way between here and the server.
    pub(super) fn delay(&self) -> f64 {
        delay(self.round_trip)
    }

    /// One way from this server to `next`, as it measured it.
    pub(super) fn delay_to(&self, next: &PeerId) -> Option<f64> {
        let round_trip = *self.next_round_trips.get(next)?;
        Some(delay(Some(round_trip)))
    }

    /// What entering costs, the way there aside, for a session that needs `cache_tokens` per block and runs `blocks`
    /// blocks. Petals counts the whole span, which a route may use in part only.
    pub(super) fn entry_cost(&self, cache_tokens: u64, blocks: usize) -> f64 {
        let overhead = match self.pace {
            Pace::Announced(_) => HOP_OVERHEAD,
            Pace::Measured(_) => 0.0,
        };
        let needed = cache_tokens.saturating_mul(blocks as u64);
        let is_short = self.cache_tokens_left.is_some_and(|left| needed > left);
        overhead + if is_short { CACHE_SHORTAGE } else { 0.0 }
    }

    /// A one-token step through one block.
    pub(super) fn block_cost(&self) -> f64 {
        match self.pace {
            Pace::Announced(rate) => {
                let rate = rate.filter(|rate| !rate.is_nan()).unwrap_or(UNKNOWN_RATE);
                1.0 / rate.clamp(CREDIBLE_RATES.0, CREDIBLE_RATES.1)
            }
            Pace::Measured(per_block) => per_block.as_secs_f64(),
        }
    }
}

/// One way to a server that nothing is known of.
pub(super) const fn unknown_delay() -> f64 {
    UNKNOWN_DELAY
}

fn delay(round_trip: Option<f64>) -> f64 {
    match round_trip.filter(|seconds| *seconds >= 0.0) {
        None => UNKNOWN_DELAY,
        Some(seconds) => (seconds / 2.0).min(LONGEST_DELAY),
    }
}
