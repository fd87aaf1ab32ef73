//! A session's share of the KV cache: bytes of the budget, then bytes plus a cache on the compute thread.
//!
//! | value         | holds                  | when dropped                                                          |
//! |---------------|------------------------|-----------------------------------------------------------------------|
//! | [`Reservation`] | bytes                  | gives them back and lets the next waiters in                          |
//! | [`Lease`]       | a reservation, a cache | asks the compute thread to close the cache; only then the bytes return |
//!
//! So a task that is dropped at any point leaks neither cache nor budget, and no memory is given to somebody else
//! while a step still uses it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use block_model::CacheHandle;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::admission::{Admission, Budget, Ticket};
use crate::compute::ComputeHandle;
use crate::metrics::{self, AllocFailure, MemoryPool};
use crate::request_error::RequestError;

/// The KV cache budget of one server, shared by all sessions.
#[derive(Debug, Clone)]
pub struct CacheBudget {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// Bytes that one token takes in one block, keys and values together.
    bytes_per_token: u64,
    /// Where the cache lies.
    device: String,
    line: Mutex<Line>,
}

#[derive(Debug)]
struct Line {
    budget: Budget,
    waiters: HashMap<Ticket, oneshot::Sender<Reservation>>,
}

impl CacheBudget {
    /// A budget for `tokens` (counted over all blocks) of `bytes_per_token` each on `device`, with room for
    /// `max_waiting` waiters.
    #[must_use]
    pub fn new(tokens: u64, bytes_per_token: u64, device: &str, max_waiting: usize) -> Self {
        let bytes_per_token = bytes_per_token.max(1);
        let budget = Budget::new(tokens.saturating_mul(bytes_per_token), max_waiting);
        let line = Line {
            budget,
            waiters: HashMap::new(),
        };
        let shared = Shared {
            bytes_per_token,
            device: device.to_owned(),
            line: Mutex::new(line),
        };
        shared.record(&shared.lock());
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Reserves room for `tokens` (batch x max_length x blocks), standing in line for at most `patience`.
    /// Dropping the future leaves the line.
    ///
    /// # Errors
    /// `CacheFull` if the room is not free in time, or larger than the whole cache.
    pub async fn reserve(
        &self,
        tokens: u64,
        patience: Duration,
    ) -> Result<Reservation, RequestError> {
        let started = Instant::now();
        let outcome = self.reserve_or_wait(tokens, patience).await;
        metrics::record_alloc_wait(started.elapsed());
        outcome
    }

    async fn reserve_or_wait(
        &self,
        tokens: u64,
        patience: Duration,
    ) -> Result<Reservation, RequestError> {
        let bytes = tokens.saturating_mul(self.shared.bytes_per_token);
        let (ticket, granted) = {
            let mut line = self.shared.lock();
            match line.budget.request(bytes, !patience.is_zero()) {
                Admission::Granted => {
                    self.shared.record(&line);
                    return Ok(self.reservation(bytes));
                }
                Admission::TooLarge => {
                    metrics::record_alloc_failure(AllocFailure::TooLarge);
                    return Err(self.shared.full(tokens, &line));
                }
                Admission::Full => {
                    metrics::record_alloc_failure(AllocFailure::Timeout);
                    return Err(self.shared.full(tokens, &line));
                }
                Admission::Waiting(ticket) => {
                    let (sender, granted) = oneshot::channel();
                    line.waiters.insert(ticket, sender);
                    (ticket, granted)
                }
            }
        };
        let _place = Place {
            shared: &self.shared,
            ticket,
        };
        if let Ok(Ok(reservation)) = tokio::time::timeout(patience, granted).await {
            return Ok(reservation);
        }
        metrics::record_alloc_failure(AllocFailure::Timeout);
        Err(self.shared.full(tokens, &self.shared.lock()))
    }

    fn reservation(&self, bytes: u64) -> Reservation {
        Reservation {
            shared: Arc::clone(&self.shared),
            bytes,
        }
    }

    /// Tokens that are free, over all blocks; keys and values of one token in one block count as one.
    #[must_use]
    pub fn free_tokens(&self) -> u64 {
        self.shared.lock().budget.free_bytes() / self.shared.bytes_per_token
    }

    /// Tokens that the whole cache holds, over all blocks.
    #[must_use]
    pub fn total_tokens(&self) -> u64 {
        self.shared.lock().budget.total_bytes() / self.shared.bytes_per_token
    }

    /// Sessions that stand in line for room.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.shared.lock().budget.waiting()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Line> {
        // Nothing panics while the line is locked, and its numbers are whole between statements.
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record(&self, line: &Line) {
        metrics::record_cache_tokens(
            line.budget.used_bytes() / self.bytes_per_token,
            line.budget.free_bytes() / self.bytes_per_token,
        );
        metrics::record_memory(&self.device, MemoryPool::KvCache, line.budget.used_bytes());
    }

    fn full(&self, needed_tokens: u64, line: &Line) -> RequestError {
        RequestError::CacheFull {
            needed_tokens,
            free_tokens: line.budget.free_bytes() / self.bytes_per_token,
            total_tokens: line.budget.total_bytes() / self.bytes_per_token,
        }
    }

    /// Applies `change` to the budget and hands their bytes to the waiters that it lets in.
    fn change_and_grant(self: &Arc<Self>, change: impl FnOnce(&mut Line) -> Vec<(Ticket, u64)>) {
        let granted: Vec<_> = {
            let mut line = self.lock();
            let tickets = change(&mut line);
            self.record(&line);
            tickets
                .into_iter()
                .map(|(ticket, bytes)| (line.waiters.remove(&ticket), bytes))
                .collect()
        };
        for (waiter, bytes) in granted {
            let reservation = Reservation {
                shared: Arc::clone(self),
                bytes,
            };
            // A waiter that has just left drops what it is sent, which gives the bytes to the next one. The lock is
            // free here, so that drop may take it.
            if let Some(waiter) = waiter {
                drop(waiter.send(reservation));
            }
        }
    }
}

/// A place in the line; leaving it by drop also gives back what was granted but never taken.
#[derive(Debug)]
struct Place<'a> {
    shared: &'a Arc<Shared>,
    ticket: Ticket,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.shared.change_and_grant(|line| {
            line.waiters.remove(&self.ticket);
            line.budget.cancel(self.ticket)
        });
    }
}

/// Bytes of the budget that nobody else can have.
#[derive(Debug)]
pub struct Reservation {
    shared: Arc<Shared>,
    bytes: u64,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.shared
            .change_and_grant(|line| line.budget.release(self.bytes));
    }
}

/// A session's cache on the compute thread, together with the bytes it takes.
#[derive(Debug)]
pub struct Lease {
    handle: CacheHandle,
    reservation: Option<Reservation>,
    compute: ComputeHandle,
}

impl Lease {
    /// Binds an open cache to the bytes that were reserved for it.
    pub(crate) fn new(
        handle: CacheHandle,
        reservation: Reservation,
        compute: ComputeHandle,
    ) -> Self {
        Self {
            handle,
            reservation: Some(reservation),
            compute,
        }
    }

    /// The cache's name on the compute thread.
    #[must_use]
    pub fn handle(&self) -> CacheHandle {
        self.handle
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(reservation) = self.reservation.take() {
            self.compute.close(self.handle, reservation);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn budget() -> CacheBudget {
        CacheBudget::new(100, 16, "cpu", 8)
    }

    #[tokio::test(start_paused = true)]
    async fn a_dropped_reservation_returns_its_tokens() {
        let budget = budget();
        let held = budget.reserve(70, Duration::ZERO).await.unwrap();
        assert_eq!(budget.free_tokens(), 30);
        let refused = budget.reserve(40, Duration::ZERO).await.unwrap_err();
        assert_eq!(
            refused,
            RequestError::CacheFull {
                needed_tokens: 40,
                free_tokens: 30,
                total_tokens: 100
            }
        );
        drop(held);
        assert_eq!(budget.free_tokens(), 100);
    }

    #[tokio::test(start_paused = true)]
    async fn waiters_are_served_in_order() {
        let budget = budget();
        let held = budget.reserve(100, Duration::ZERO).await.unwrap();
        let mut first = Box::pin(budget.reserve(80, Duration::from_secs(10)));
        let mut second = Box::pin(budget.reserve(20, Duration::from_secs(10)));
        assert!(first.as_mut().now_or_never().is_none());
        assert!(second.as_mut().now_or_never().is_none());
        assert_eq!(budget.waiting(), 2);
        drop(held);
        let _first = first.await.unwrap();
        let _second = second.await.unwrap();
        assert_eq!(budget.free_tokens(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn patience_ends_and_a_dropped_waiter_leaves_the_line() {
        let budget = budget();
        let held = budget.reserve(60, Duration::ZERO).await.unwrap();
        let started = Instant::now();
        let late = budget.reserve(50, Duration::from_secs(3)).await;
        assert!(matches!(late, Err(RequestError::CacheFull { .. })));
        assert_eq!(started.elapsed(), Duration::from_secs(3));

        let mut gone = Box::pin(budget.reserve(50, Duration::from_secs(3)));
        assert!(gone.as_mut().now_or_never().is_none());
        let mut behind = Box::pin(budget.reserve(40, Duration::from_secs(3)));
        assert!(behind.as_mut().now_or_never().is_none());
        drop(gone);
        let behind = behind.await.unwrap();
        assert_eq!(budget.free_tokens(), 0);
        drop((held, behind));
        assert_eq!(budget.free_tokens(), 100);
    }

    #[tokio::test(start_paused = true)]
    async fn a_grant_that_nobody_takes_goes_to_the_next() {
        let budget = budget();
        let held = budget.reserve(100, Duration::ZERO).await.unwrap();
        let mut gone = Box::pin(budget.reserve(100, Duration::from_secs(9)));
        assert!(gone.as_mut().now_or_never().is_none());
        let mut next = Box::pin(budget.reserve(100, Duration::from_secs(9)));
        assert!(next.as_mut().now_or_never().is_none());
        drop(held); // granted to `gone`, which is never polled again
        drop(gone);
        next.await.unwrap();
        assert_eq!(budget.free_tokens(), 100);
    }
}
