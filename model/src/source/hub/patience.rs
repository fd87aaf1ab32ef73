//! How long to go on with a hub that refuses, cuts connections or says nothing.
//!
//! Only time without progress counts: a download of hours survives many short failures, and a hub that
//! is gone is given up after [`HubOptions::patience`](crate::HubOptions::patience).

use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

/// Whether a request that failed may succeed if it is made again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Again {
    /// The same answer would come.
    Never,
    /// After a pause that grows from failure to failure.
    Soon,
    /// After the pause that the hub asks for.
    After(Duration),
}

/// The patience left for one request and its repetitions.
#[derive(Debug)]
pub(super) struct Patience {
    limit: Duration,
    since: Instant,
    failures: u32,
    pauses_asked: u32,
}

impl Patience {
    /// Starts counting at `now`.
    pub(super) fn new(limit: Duration, now: Instant) -> Self {
        Self {
            limit,
            since: now,
            failures: 0,
            pauses_asked: 0,
        }
    }

    /// Bytes came: counting starts anew.
    pub(super) fn progressed(&mut self, now: Instant) {
        *self = Self::new(self.limit, now);
    }

    /// How long to pause before the request is made again; `None` if it should not be.
    pub(super) fn pause(&mut self, again: Again, now: Instant) -> Option<Duration> {
        match again {
            Again::Never => None,
            Again::After(asked) => {
                self.pauses_asked += 1;
                if asked > LONGEST_ASKED_PAUSE || self.pauses_asked > MAX_ASKED_PAUSES {
                    return None;
                }
                // What the hub asks for is not held against it.
                self.since = now + asked;
                Some(asked.max(FIRST_PAUSE))
            }
            Again::Soon => {
                let doubled = FIRST_PAUSE.saturating_mul(1 << self.failures.min(MAX_DOUBLINGS));
                self.failures += 1;
                let pause = doubled.min(LONGEST_PAUSE).mul_f64(0.5 + 0.5 * chance());
                let waited = now.saturating_duration_since(self.since);
                (waited + pause <= self.limit).then_some(pause)
            }
        }
    }
}

/// A number in `[0, 1)`: many servers that lose the same hub must not all come back at once.
fn chance() -> f64 {
    let random = RandomState::new().hash_one(()) >> 11;
    random as f64 / (1u64 << 53) as f64
}

/// A hub that stumbles is well again within a second or two.
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// Longer pauses would only be noticed as a slow start.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Enough to pass [`LONGEST_PAUSE`].
const MAX_DOUBLINGS: u32 = 8;

/// The public hub counts requests in windows of five minutes.
pub(super) const LONGEST_ASKED_PAUSE: Duration = Duration::from_secs(300);

/// A hub that asks for more pauses in a row than this means no.
const MAX_ASKED_PAUSES: u32 = 5;

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{Again, FIRST_PAUSE, LONGEST_ASKED_PAUSE, MAX_ASKED_PAUSES, Patience};

    const LIMIT: Duration = Duration::from_secs(60);

    /// The pauses until patience ends, as if each failed at once.
    fn pauses(again: Again) -> Vec<Duration> {
        let start = Instant::now();
        let mut now = start;
        let mut patience = Patience::new(LIMIT, start);
        let mut pauses = Vec::new();
        while let Some(pause) = patience.pause(again, now) {
            pauses.push(pause);
            now += pause;
        }
        pauses
    }

    #[test]
    fn pauses_grow_and_end_with_patience() {
        let pauses = pauses(Again::Soon);
        let total: Duration = pauses.iter().sum();
        assert!(total <= LIMIT && total > LIMIT / 2, "{total:?}");
        assert!((8..20).contains(&pauses.len()), "{pauses:?}");
        assert!(
            pauses[0] <= FIRST_PAUSE && pauses[4] > pauses[0],
            "{pauses:?}"
        );
    }

    #[test]
    fn what_cannot_succeed_is_not_tried_again() {
        assert!(pauses(Again::Never).is_empty());
    }

    #[test]
    fn the_hub_may_ask_for_pauses_within_bounds() {
        let asked = Duration::from_secs(40);
        assert_eq!(
            pauses(Again::After(asked)),
            vec![asked; MAX_ASKED_PAUSES as usize]
        );
        assert!(pauses(Again::After(LONGEST_ASKED_PAUSE * 2)).is_empty());
        assert!(pauses(Again::After(Duration::ZERO))[0] >= FIRST_PAUSE);
    }

    #[test]
    fn progress_renews_patience() {
        let start = Instant::now();
        let late = start + LIMIT;
        let mut patience = Patience::new(LIMIT, start);
        assert_eq!(patience.pause(Again::Soon, late), None);
        patience.progressed(late);
        assert!(patience.pause(Again::Soon, late).is_some());
    }
}
