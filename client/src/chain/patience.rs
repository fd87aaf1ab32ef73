//! How long a hop's answer may take, from what is known of the server. Pure.

use std::time::Duration;

use crate::speed::StepEstimate;

/// Shortest time after which a silent server is asked whether it lives.
const MIN_SOFT: Duration = Duration::from_millis(300);

/// The same for a server of which no speed is known. The question costs little, and with it a silent server is left within
/// two seconds.
const UNKNOWN_SOFT: Duration = Duration::from_secs(1);

/// A server that is busy but alive is waited for at least and at most this long. The latter is the reference's
/// `request_timeout`.
const MIN_HARD: Duration = Duration::from_secs(20);
const MAX_HARD: Duration = Duration::from_secs(180);

/// Shortest wait for a pushed step before the client sends its own copy.
const MIN_HEDGE: Duration = Duration::from_millis(50);

/// The same for a server of which no speed is known: a copy costs bandwidth only, but most of it where steps are slow.
const UNKNOWN_HEDGE: Duration = Duration::from_millis(500);

/// How long the question whether a server lives may take.
pub(super) const PROBE_TIME: Duration = Duration::from_secs(1);

/// A server that answered is asked again after this, or after the soft limit if that is longer.
pub(super) const PROBE_PERIOD: Duration = Duration::from_secs(1);

/// What a step counts as in measured speeds: its new tokens over all rows, but one for a decode step however many rows
/// it has, since reading the weights takes most of its time.
pub(super) fn counted_tokens(batch: usize, seq: usize) -> usize {
    match seq {
        0 | 1 => seq,
        _ => batch.saturating_mul(seq),
    }
}

/// Limits for one answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Patience {
    /// After this the client sends its own copy of a step that was to be pushed.
    pub(super) hedge: Duration,
    /// After this the server is asked whether it lives.
    pub(super) soft: Duration,
    /// After this it is left even if it lives.
    pub(super) hard: Duration,
}

impl Patience {
    /// Limits for a step that is estimated so.
    pub(super) fn new(estimate: Option<StepEstimate>) -> Self {
        let Some(StepEstimate { typical, tail }) = estimate else {
            return Self {
                hedge: UNKNOWN_HEDGE,
                soft: UNKNOWN_SOFT,
                hard: MAX_HARD,
            };
        };
        let soft = tail.saturating_mul(4).clamp(MIN_SOFT, MAX_HARD);
        Self {
            hedge: typical.saturating_mul(3).max(MIN_HEDGE),
            soft,
            hard: tail.saturating_mul(20).clamp(MIN_HARD, MAX_HARD).max(soft),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decode_step_of_many_rows_is_one() {
        assert_eq!(counted_tokens(8, 0), 0);
        assert_eq!(counted_tokens(8, 1), 1);
        assert_eq!(counted_tokens(8, 5), 40);
    }

    #[test]
    fn limits_follow_what_was_measured() {
        let estimate = |typical, tail| {
            Patience::new(Some(StepEstimate {
                typical: Duration::from_millis(typical),
                tail: Duration::from_millis(tail),
            }))
        };
        let quick = estimate(2, 5);
        assert_eq!(
            (quick.hedge, quick.soft, quick.hard),
            (MIN_HEDGE, MIN_SOFT, MIN_HARD)
        );
        let slow = estimate(1_000, 2_000);
        assert_eq!(slow.hedge, Duration::from_secs(3));
        assert_eq!(slow.soft, Duration::from_secs(8));
        assert_eq!(slow.hard, Duration::from_secs(40));
        let absurd = estimate(u64::MAX, u64::MAX);
        assert_eq!((absurd.soft, absurd.hard), (MAX_HARD, MAX_HARD));
        assert_eq!(Patience::new(None).soft, UNKNOWN_SOFT);
    }
}
