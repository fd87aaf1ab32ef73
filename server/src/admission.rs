//! Who may have how many bytes of the KV cache: a byte budget with waiters served first come, first served. Pure.
//!
//! Two kinds of claim:
//! - *fixed*: all that the session may ever need, reserved before it begins. It is never taken away.
//! - *growing*: what the session needs now; it asks for more as it goes on. If there is no more, the youngest growing
//!   claim ends, and the next youngest, until there is enough or the asking one has ended itself. Nobody waits for bytes
//!   while holding bytes.
//!
//! Invariants: granted bytes never exceed the total; fixed claims end only by their holder; a growing claim ends for
//! another only while no younger one lives; while anybody waits, nobody who came later is granted a first share, so a
//! large session cannot be starved by small ones. Growth goes before the line: who waits there holds nothing.

use std::collections::{BTreeMap, VecDeque};

/// Names a claim, from its request to its end. Later requests have larger tickets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(u64);

/// What kind of claim is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// All bytes at once.
    Fixed,
    /// Some bytes now and more later.
    Growing,
}

/// The answer to a request for bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// The bytes are the caller's, to be given back with [`Budget::release`].
    Granted(Ticket),
    /// The caller stands in line.
    Waiting(Ticket),
    /// Not now, and the caller does not want to wait (or the line is full).
    Full,
    /// Never: more than the whole budget.
    TooLarge,
}

/// What came of a request for growth.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Growth {
    /// Whether the claim has the bytes now; otherwise it has ended.
    pub is_granted: bool,
    /// Claims that have ended for it, youngest first; the asking one is the last of them if it was not granted.
    pub ended: Vec<Ticket>,
    /// Waiters that are granted now, in order.
    pub let_in: Vec<Ticket>,
}

/// The byte budget of one server's KV cache.
#[derive(Debug)]
pub struct Budget {
    total_bytes: u64,
    used_bytes: u64,
    held: BTreeMap<Ticket, (Claim, u64)>,
    waiting: VecDeque<(Ticket, Claim, u64)>,
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
            held: BTreeMap::new(),
            waiting: VecDeque::new(),
            max_waiting,
            next_ticket: 0,
        }
    }

    /// Asks for `bytes`; `may_wait` says whether the caller would stand in line.
    pub fn request(&mut self, claim: Claim, bytes: u64, may_wait: bool) -> Admission {
        if bytes > self.total_bytes {
            return Admission::TooLarge;
        }
        let ticket = Ticket(self.next_ticket);
        if self.waiting.is_empty() && bytes <= self.free_bytes() {
            self.next_ticket += 1;
            self.hold(ticket, claim, bytes);
            return Admission::Granted(ticket);
        }
        if !may_wait || self.waiting.len() >= self.max_waiting {
            return Admission::Full;
        }
        self.next_ticket += 1;
        self.waiting.push_back((ticket, claim, bytes));
        Admission::Waiting(ticket)
    }

    /// Makes the growing claim `ticket` one of `bytes` in all, if it has fewer. One that has ended is not granted.
    pub fn grow(&mut self, ticket: Ticket, bytes: u64) -> Growth {
        let mut growth = Growth::default();
        let Some(&(Claim::Growing, has)) = self.held.get(&ticket) else {
            return growth;
        };
        let more = bytes.saturating_sub(has);
        while more > self.free_bytes() {
            let Some(youngest) = self.youngest_growing() else {
                break;
            };
            self.end(youngest);
            growth.ended.push(youngest);
            if youngest == ticket {
                break;
            }
        }
        if self.held.contains_key(&ticket) {
            growth.is_granted = true;
            if more > 0 {
                self.hold(ticket, Claim::Growing, has + more);
                self.used_bytes -= has;
            }
        }
        growth.let_in = self.let_in();
        growth
    }

    /// Ends a claim and returns the waiters that are granted now, in order. A claim that has ended changes nothing.
    pub fn release(&mut self, ticket: Ticket) -> Vec<Ticket> {
        self.end(ticket);
        self.let_in()
    }

    /// Takes a waiter out of the line and returns those that are granted now, as [`Budget::release`] does. A ticket
    /// that is no longer waiting changes nothing.
    pub fn cancel(&mut self, ticket: Ticket) -> Vec<Ticket> {
        self.waiting.retain(|(waiting, _, _)| *waiting != ticket);
        self.let_in()
    }

    fn youngest_growing(&self) -> Option<Ticket> {
        let mut held = self.held.iter().rev();
        let youngest = held.find(|(_, (claim, _))| *claim == Claim::Growing);
        youngest.map(|(ticket, _)| *ticket)
    }

    fn hold(&mut self, ticket: Ticket, claim: Claim, bytes: u64) {
        self.used_bytes += bytes;
        self.held.insert(ticket, (claim, bytes));
    }

    fn end(&mut self, ticket: Ticket) {
        if let Some((_, bytes)) = self.held.remove(&ticket) {
            self.used_bytes -= bytes;
        }
    }

    fn let_in(&mut self) -> Vec<Ticket> {
        let mut granted = Vec::new();
        while let Some(&(ticket, claim, bytes)) = self.waiting.front()
            && bytes <= self.free_bytes()
        {
            self.waiting.pop_front();
            self.hold(ticket, claim, bytes);
            granted.push(ticket);
        }
        granted
    }

    /// Bytes of a claim; `None` once it has ended, or while it waits.
    #[must_use]
    pub fn held_by(&self, ticket: Ticket) -> Option<u64> {
        self.held.get(&ticket).map(|(_, bytes)| *bytes)
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
mod tests;
