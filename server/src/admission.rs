//! Who may have how many bytes of the KV cache: a byte budget with waiters served first come, first served. Pure.
//!
//! Invariants: granted bytes never exceed the total; while anybody waits, nobody who came later is granted, so a
//! large session cannot be starved by small ones.

use std::collections::VecDeque;

/// Names a waiter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(u64);

/// The answer to a request for bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// The bytes are the caller's, to be given back with [`Budget::release`].
    Granted,
    /// The caller stands in line.
    Waiting(Ticket),
    /// Not now, and the caller does not want to wait (or the line is full).
    Full,
    /// Never: more than the whole budget.
    TooLarge,
}

/// The byte budget of one server's KV cache.
#[derive(Debug)]
pub struct Budget {
    total_bytes: u64,
    used_bytes: u64,
    waiting: VecDeque<(Ticket, u64)>,
    max_waiting: usize,
    next_ticket: u64,
}

impl Budget {
    /// A free budget of `total_bytes` with room for `max_waiting` waiters.
    #[must_use]
    pub fn new(total_bytes: u64, max_waiting: usize) -> Self {
        Self {
            total_bytes,
            used_bytes: 0,
            waiting: VecDeque::new(),
            max_waiting,
            next_ticket: 0,
        }
    }

    /// Asks for `bytes`; `may_wait` says whether the caller would stand in line.
    pub fn request(&mut self, bytes: u64, may_wait: bool) -> Admission {
        if bytes > self.total_bytes {
            return Admission::TooLarge;
        }
        if self.waiting.is_empty() && bytes <= self.free_bytes() {
            self.used_bytes += bytes;
            return Admission::Granted;
        }
        if !may_wait || self.waiting.len() >= self.max_waiting {
            return Admission::Full;
        }
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        self.waiting.push_back((ticket, bytes));
        Admission::Waiting(ticket)
    }

    /// Takes `bytes` back and returns the waiters that are granted now, in order, with their bytes.
    pub fn release(&mut self, bytes: u64) -> Vec<(Ticket, u64)> {
        self.used_bytes = self.used_bytes.saturating_sub(bytes);
        self.grant_waiters()
    }

    /// Takes a waiter out of the line and returns those that are granted now, as [`Budget::release`] does. A ticket
    /// that is no longer waiting changes nothing.
    pub fn cancel(&mut self, ticket: Ticket) -> Vec<(Ticket, u64)> {
        self.waiting.retain(|(waiting, _)| *waiting != ticket);
        self.grant_waiters()
    }

    fn grant_waiters(&mut self) -> Vec<(Ticket, u64)> {
        let mut granted = Vec::new();
        while let Some(&(ticket, bytes)) = self.waiting.front()
            && bytes <= self.free_bytes()
        {
            self.waiting.pop_front();
            self.used_bytes += bytes;
            granted.push((ticket, bytes));
        }
        granted
    }

    /// Bytes that nobody holds.
    #[must_use]
    pub fn free_bytes(&self) -> u64 {
        self.total_bytes - self.used_bytes
    }

    /// Bytes that sessions hold.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.used_bytes
    }

    /// Bytes of the whole cache.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        self.total_bytes
    }

    /// Waiters in line.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn grants_in_order_and_never_past_the_line() {
        let mut budget = Budget::new(100, 8);
        assert_eq!(budget.request(60, false), Admission::Granted);
        let Admission::Waiting(large) = budget.request(50, true) else {
            panic!("must wait")
        };
        let Admission::Waiting(small) = budget.request(10, true) else {
            panic!("must wait")
        };
        assert_eq!(budget.request(10, false), Admission::Full);
        assert_eq!(budget.release(60), vec![(large, 50), (small, 10)]);
        assert_eq!(budget.used_bytes(), 60);
    }

    #[test]
    fn leaving_the_line_lets_the_next_one_in() {
        let mut budget = Budget::new(100, 8);
        assert_eq!(budget.request(60, false), Admission::Granted);
        let Admission::Waiting(large) = budget.request(50, true) else {
            panic!("must wait")
        };
        let Admission::Waiting(small) = budget.request(10, true) else {
            panic!("must wait")
        };
        assert_eq!(budget.cancel(large), vec![(small, 10)]);
        assert_eq!(budget.cancel(large), vec![]);
        assert_eq!(budget.free_bytes(), 30);
    }

    #[test]
    fn impossible_requests_and_a_full_line_are_refused_at_once() {
        let mut budget = Budget::new(100, 1);
        assert_eq!(budget.request(101, true), Admission::TooLarge);
        assert_eq!(budget.request(100, true), Admission::Granted);
        assert!(matches!(budget.request(1, true), Admission::Waiting(_)));
        assert_eq!(budget.request(1, true), Admission::Full);
    }

    #[derive(Debug, Clone)]
    enum Move {
        Request { bytes: u64, may_wait: bool },
        Release(usize),
        Cancel(usize),
    }

    fn moves() -> impl Strategy<Value = Vec<Move>> {
        let one = prop_oneof![
            (0u64..120, any::<bool>())
                .prop_map(|(bytes, may_wait)| Move::Request { bytes, may_wait }),
            any::<usize>().prop_map(Move::Release),
            any::<usize>().prop_map(Move::Cancel),
        ];
        proptest::collection::vec(one, 1..200)
    }

    proptest! {
        #[test]
        fn never_exceeded_first_come_first_served_and_all_returned(moves in moves()) {
            let mut budget = Budget::new(100, 4);
            let mut held: Vec<u64> = Vec::new();
            let mut line: VecDeque<Ticket> = VecDeque::new();
            for one in moves {
                let granted = match one {
                    Move::Request { bytes, may_wait } => {
                        match budget.request(bytes, may_wait) {
                            Admission::Granted => held.push(bytes),
                            Admission::Waiting(ticket) => line.push_back(ticket),
                            Admission::Full | Admission::TooLarge => {}
                        }
                        vec![]
                    }
                    Move::Release(which) if !held.is_empty() => {
                        let bytes = held.swap_remove(which % held.len());
                        budget.release(bytes)
                    }
                    Move::Cancel(which) if !line.is_empty() => {
                        let ticket = line.remove(which % line.len()).unwrap();
                        budget.cancel(ticket)
                    }
                    Move::Release(_) | Move::Cancel(_) => vec![],
                };
                for (ticket, bytes) in granted {
                    prop_assert_eq!(line.pop_front(), Some(ticket));
                    held.push(bytes);
                }
                prop_assert_eq!(budget.used_bytes(), held.iter().sum::<u64>());
                prop_assert!(budget.used_bytes() <= budget.total_bytes());
            }
            while let Some(bytes) = held.pop() {
                held.extend(budget.release(bytes).into_iter().map(|(_, bytes)| bytes));
            }
            prop_assert_eq!(budget.free_bytes(), 100);
            prop_assert_eq!(budget.waiting(), 0);
        }
    }
}
