//! Pieces that follow each other quickly travel together.
//!
//! Sending wakes the reader, and costs a write and a read of a socket: as much as a token of a small model. So after
//! something was sent, what comes within [`PERIOD`] waits for the rest of it. A token that takes longer than that, as those of
//! most models do, never waits, and neither does the first one. At most [`MAX_TOGETHER`] travel together, so that a reader who
//! has fallen behind keeps no more of them in memory.

use std::mem;
use std::time::Duration;

use tokio::time::Instant;

use super::Piece;

/// What a choice holds back.
#[derive(Debug, Default)]
pub(super) struct Pace {
    held: Vec<Piece>,
    /// When the next pieces may leave; `None`: at once.
    next: Option<Instant>,
}

impl Pace {
    /// Takes `piece`. Returns what is to be sent now.
    pub(super) fn push(&mut self, piece: Piece, now: Instant) -> Option<Vec<Piece>> {
        self.held.push(piece);
        let may_leave = self.held.len() >= MAX_TOGETHER || self.next.is_none_or(|next| next <= now);
        may_leave.then(|| self.take(now))
    }

    /// When what is held must leave, if nothing else comes; `None` if nothing is held.
    pub(super) fn due(&self) -> Option<Instant> {
        self.next.filter(|_| !self.held.is_empty())
    }

    /// All that is held, in order.
    pub(super) fn take(&mut self, now: Instant) -> Vec<Piece> {
        self.next = Some(now + PERIOD);
        mem::take(&mut self.held)
    }
}

/// Each write costs an eighth then.
pub(super) const MAX_TOGETHER: usize = 8;
/// Shorter than a display shows one picture (17 ms), so that nobody sees it.
const PERIOD: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(text: &str) -> Piece {
        Piece {
            choice: 0,
            text: text.to_owned(),
            logprobs: Vec::new(),
        }
    }

    fn texts(pieces: &[Piece]) -> Vec<&str> {
        pieces.iter().map(|piece| piece.text.as_str()).collect()
    }

    #[test]
    fn the_first_piece_leaves_at_once() {
        let mut pace = Pace::default();
        let sent = pace.push(piece("a"), Instant::now()).unwrap();
        assert_eq!(texts(&sent), ["a"]);
        assert_eq!(pace.due(), None);
    }

    #[test]
    fn quick_pieces_leave_together_when_the_period_is_over() {
        let mut pace = Pace::default();
        let start = Instant::now();
        pace.push(piece("a"), start);
        let step = PERIOD / 4;
        assert!(pace.push(piece("b"), start + step).is_none());
        assert!(pace.push(piece("c"), start + 2 * step).is_none());
        assert_eq!(pace.due(), Some(start + PERIOD));
        assert_eq!(texts(&pace.take(start + PERIOD)), ["b", "c"]);
        assert_eq!(pace.due(), None);
        // It counts from when they left.
        assert!(pace.push(piece("d"), start + PERIOD + step).is_none());
        assert_eq!(pace.due(), Some(start + 2 * PERIOD));
    }

    #[test]
    fn many_pieces_leave_before_the_period_is_over() {
        let mut pace = Pace::default();
        let now = Instant::now();
        pace.push(piece("a"), now);
        let sent: Vec<usize> = (0..3 * MAX_TOGETHER)
            .filter_map(|_| pace.push(piece("b"), now))
            .map(|pieces| pieces.len())
            .collect();
        assert_eq!(sent, [MAX_TOGETHER; 3]);
    }

    #[test]
    fn slow_pieces_never_wait() {
        let mut pace = Pace::default();
        let mut now = Instant::now();
        for text in ["a", "b", "c"] {
            assert_eq!(texts(&pace.push(piece(text), now).unwrap()), [text]);
            now += PERIOD;
        }
    }

    #[test]
    fn a_piece_that_comes_when_others_are_due_leaves_behind_them() {
        let mut pace = Pace::default();
        let start = Instant::now();
        pace.push(piece("a"), start);
        assert!(pace.push(piece("b"), start + PERIOD / 2).is_none());
        let sent = pace.push(piece("c"), start + PERIOD).unwrap();
        assert_eq!(texts(&sent), ["b", "c"]);
    }
}
