//! Whether one session has the server to itself, with steps so short that handing them to another thread would show.

use std::time::Duration;

use block_model::CacheHandle;

/// Longest turns, on average, that may run where their steps arrive. Handing a step to the compute thread and back wakes
/// two threads, which takes 50 to 100 us: of longer turns no more than a tenth, and the other tasks of a network thread
/// are to wait for about this time at most.
pub(super) const MAX_MEAN_TURN: Duration = Duration::from_millis(1);

/// Turns in a row that one session must have had: a second session shows within fewer.
pub(super) const MIN_TURNS: u32 = 8;

/// Part of the newest turn in the mean: one that the system interrupted changes little.
const NEWEST: u32 = 8;

/// What the last turns had in common.
#[derive(Debug, Default)]
pub(super) struct LoneSession {
    cache: Option<CacheHandle>,
    /// Turns in a row of `cache` alone.
    turns: u32,
    /// The most tokens that one of them had: a step with more may take longer.
    tokens: usize,
    /// Moving average of those.
    mean: Duration,
}

impl LoneSession {
    /// Counts a turn of `tokens`. `cache` is that of its only step if that was a short one, and `None` for every other turn.
    pub(super) fn on_turn(&mut self, cache: Option<CacheHandle>, tokens: usize, took: Duration) {
        if cache.is_none() || cache != self.cache {
            *self = Self {
                cache,
                turns: 0,
                tokens,
                mean: took,
            };
        }
        self.tokens = self.tokens.max(tokens);
        self.turns = self.turns.saturating_add(1);
        self.mean = self.mean - self.mean / NEWEST + took / NEWEST;
    }

    /// Whether the next step of `cache`, with `tokens`, may run where it arrives.
    pub(super) fn is(&self, cache: CacheHandle, tokens: usize) -> bool {
        self.cache == Some(cache)
            && self.turns >= MIN_TURNS
            && tokens <= self.tokens
            && self.mean <= MAX_MEAN_TURN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUICK: Duration = Duration::from_micros(100);
    const LONG: Duration = Duration::from_millis(2);

    fn cache(number: u64) -> CacheHandle {
        CacheHandle::new(number)
    }

    /// As many turns of the first cache as it takes.
    fn lone() -> LoneSession {
        let mut lone = LoneSession::default();
        for _ in 0..MIN_TURNS {
            assert!(!lone.is(cache(1), 2));
            lone.on_turn(Some(cache(1)), 2, QUICK);
        }
        lone
    }

    #[test]
    fn a_session_is_alone_after_some_turns() {
        let lone = lone();
        assert!(lone.is(cache(1), 2));
        assert!(!lone.is(cache(2), 2));
        assert!(!lone.is(cache(1), 3));
    }

    #[test]
    fn others_and_other_work_end_it() {
        for other in [Some(cache(2)), None] {
            let mut lone = lone();
            lone.on_turn(other, 2, QUICK);
            assert!(!lone.is(cache(1), 2));
            assert!(!lone.is(cache(2), 2));
            lone.on_turn(Some(cache(1)), 2, QUICK);
            assert!(!lone.is(cache(1), 2));
        }
    }

    #[test]
    fn long_turns_end_it_and_one_interrupted_turn_does_not() {
        let mut lone = lone();
        lone.on_turn(Some(cache(1)), 2, LONG);
        assert!(lone.is(cache(1), 2));
        for _ in 0..2 * NEWEST {
            lone.on_turn(Some(cache(1)), 2, LONG);
        }
        assert!(!lone.is(cache(1), 2));
        for _ in 0..2 * NEWEST {
            lone.on_turn(Some(cache(1)), 2, QUICK);
        }
        assert!(lone.is(cache(1), 2));
    }
}
