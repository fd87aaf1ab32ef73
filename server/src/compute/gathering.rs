//! Whether a turn should wait a moment for sessions that are about to come back.
//!
//! Sessions that step side by side fall apart into groups: while one group's turn runs the other waits in line, and its
//! turn starts before the first group's next steps are there. Two turns of eight take longer than one of sixteen, as each
//! reads all weights. So a turn waits for those of the last two turns, for a small part of a turn's time, and no longer
//! than they need: after some waits in which nobody came it does not wait for a while.

use std::time::{Duration, Instant};

use block_model::CacheHandle;

/// Part of the last turn's time for which the next one may wait.
const PART_OF_TURN: u32 = 16;

/// Longest wait: several times what a client on the same network needs to send its next step.
const MAX_WAIT: Duration = Duration::from_millis(1);

/// Waits shorter than this are left out: waking up from one takes about as long.
const MIN_WAIT: Duration = Duration::from_micros(100);

/// Rows that are worth no wait: with as many, arithmetic limits a turn, and one more costs its full share.
pub(super) const ENOUGH_ROWS: usize = 32;

/// Waits in a row for nobody after which there is none for [`REST_TURNS`].
const MAX_MISSES: u32 = 4;

/// Turns without a wait: those for nobody then cost a few thousandths of the time.
const REST_TURNS: u32 = 64;

/// Sessions of the last turns, and the wait that they are given.
#[derive(Debug, Default)]
pub(super) struct Gathering {
    last: Vec<CacheHandle>,
    before: Vec<CacheHandle>,
    /// The wait before the next turn, if there is to be one.
    wait: Option<Wait>,
    misses: u32,
    rest: u32,
}

#[derive(Debug)]
struct Wait {
    until: Instant,
    /// Steps that end it.
    expected: usize,
    /// Steps that were ready when it began; `None` before.
    ready_at_first: Option<usize>,
}

impl Gathering {
    /// Counts a turn of short steps that ended at `now`.
    pub(super) fn on_turn(
        &mut self,
        sessions: impl Iterator<Item = CacheHandle>,
        took: Duration,
        now: Instant,
    ) {
        std::mem::swap(&mut self.last, &mut self.before);
        self.last.clear();
        self.last.extend(sessions);
        let wait = (took / PART_OF_TURN).min(MAX_WAIT);
        self.wait = None;
        if self.rest > 0 {
            self.rest -= 1;
        } else if wait >= MIN_WAIT {
            self.wait = Some(Wait {
                until: now + wait,
                expected: self.company().min(ENOUGH_ROWS),
                ready_at_first: None,
            });
        }
    }

    /// How long to wait on before a turn, with `ready` short steps in line, and perhaps other work; `None` starts it.
    pub(super) fn wait(
        &mut self,
        ready: usize,
        has_others: bool,
        now: Instant,
    ) -> Option<Duration> {
        let wait = self.wait.as_mut()?;
        if ready == 0 && !has_others {
            // There is no turn to start, and what comes after the wait is not kept waiting.
            return None;
        }
        let left = wait.until.saturating_duration_since(now);
        if ready < wait.expected && !left.is_zero() {
            wait.ready_at_first.get_or_insert(ready);
            return Some(left);
        }
        match wait.ready_at_first {
            Some(at_first) if ready > at_first => self.misses = 0,
            Some(_) => self.misses += 1,
            None => {}
        }
        if self.misses >= MAX_MISSES {
            self.misses = 0;
            self.rest = REST_TURNS;
        }
        self.wait = None;
        None
    }

    /// Sessions of the last two turns.
    fn company(&self) -> usize {
        let earlier = self.before.iter();
        self.last.len()
            + earlier
                .filter(|session| !self.last.contains(session))
                .count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TURN: Duration = Duration::from_millis(8);
    const WAIT: Duration = Duration::from_micros(500);

    fn sessions(numbers: std::ops::Range<u64>) -> impl Iterator<Item = CacheHandle> {
        numbers.map(CacheHandle::new)
    }

    /// After turns of sessions 0 to 8 and 8 to 16.
    fn two_groups(now: Instant) -> Gathering {
        let mut gathering = Gathering::default();
        gathering.on_turn(sessions(0..8), TURN, now);
        gathering.on_turn(sessions(8..16), TURN, now);
        gathering
    }

    #[test]
    fn a_turn_waits_for_the_other_group_and_starts_when_it_is_there() {
        let now = Instant::now();
        let mut gathering = two_groups(now);
        assert_eq!(gathering.wait(8, false, now), Some(WAIT));
        assert_eq!(gathering.wait(15, false, now + WAIT / 2), Some(WAIT / 2));
        assert_eq!(gathering.wait(16, false, now + WAIT / 2), None);
        assert_eq!(gathering.misses, 0);
    }

    #[test]
    fn a_wait_ends_in_time_whoever_is_missing() {
        let now = Instant::now();
        let mut gathering = two_groups(now);
        assert_eq!(gathering.wait(8, false, now), Some(WAIT));
        assert_eq!(gathering.wait(12, false, now + WAIT), None);
        assert_eq!(gathering.misses, 0);
        // The turn has begun; its end starts the next wait.
        assert_eq!(gathering.wait(1, false, now), None);
    }

    #[test]
    fn nobody_waits_for_those_who_never_come() {
        let now = Instant::now();
        let mut gathering = two_groups(now);
        for _ in 0..MAX_MISSES {
            assert_eq!(gathering.wait(8, false, now), Some(WAIT));
            assert_eq!(gathering.wait(8, false, now + WAIT), None);
            gathering.on_turn(sessions(0..8), TURN, now);
            gathering.on_turn(sessions(8..16), TURN, now);
        }
        let turns_left = REST_TURNS - 2;
        for _ in 0..turns_left {
            assert_eq!(gathering.wait(8, false, now), None);
            gathering.on_turn(sessions(8..16), TURN, now);
        }
        gathering.on_turn(sessions(0..8), TURN, now);
        assert_eq!(gathering.wait(8, false, now), Some(WAIT));
    }

    #[test]
    fn other_work_waits_for_sessions_that_come_back() {
        let now = Instant::now();
        let mut gathering = two_groups(now);
        assert_eq!(gathering.wait(0, false, now), None);
        assert_eq!(gathering.wait(0, true, now), Some(WAIT));
        assert_eq!(gathering.wait(16, true, now), None);
        // Its turn had none of them.
        assert_eq!(gathering.wait(0, true, now), None);
    }

    #[test]
    fn one_session_quick_turns_and_enough_rows_wait_for_nobody() {
        let now = Instant::now();
        let mut gathering = Gathering::default();
        gathering.on_turn(sessions(0..1), TURN, now);
        gathering.on_turn(sessions(0..1), TURN, now);
        assert_eq!(gathering.wait(1, false, now), None);
        gathering.on_turn(sessions(0..8), MIN_WAIT, now);
        assert_eq!(gathering.wait(1, false, now), None);
        gathering.on_turn(sessions(0..64), TURN, now);
        assert_eq!(gathering.wait(ENOUGH_ROWS, false, now), None);
    }
}
