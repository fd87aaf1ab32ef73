//! The KV cache budget of one server: shares in whole pages, waits with patience, growth that may end others.
//!
//! The rules are [`crate::admission`]'s; here are their callers: who waits, who is told, who is counted.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use block_model::CacheHandle;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::admission::{Admission, Budget, Claim, Ticket};
use crate::metrics::{self, AllocFailure, MemoryPool};
use crate::request_error::RequestError;

/// The KV cache budget of one server, shared by all sessions.
#[derive(Debug, Clone)]
pub struct CacheBudget {
    shared: Arc<Shared>,
}

/// How much cache there is, and in which pieces.
#[derive(Debug, Clone)]
pub struct CacheRoom {
    /// Tokens of each block; they count as whole pages.
    pub tokens_per_block: u64,
    /// Blocks.
    pub blocks: u64,
    /// Tokens in a page, which belongs to one block and one batch row.
    pub page_tokens: u64,
    /// Bytes that one token takes in one block, keys and values together.
    pub bytes_per_token: u64,
    /// Where the cache lies.
    pub device: String,
    /// Sessions that may wait for their share.
    pub max_waiting: usize,
}

/// What a session asks for.
#[derive(Debug, Clone, Copy)]
pub struct Share {
    /// Batch rows times blocks: each has pages of its own.
    pub rows: u64,
    /// Tokens of each row that the session may ever have.
    pub max_length: u64,
    /// Tokens of each row at first, if the session is to grow; one page more is granted. `None` takes all at once.
    pub first_length: Option<u64>,
}

#[derive(Debug)]
struct Shared {
    page_tokens: u64,
    bytes_per_token: u64,
    device: String,
    line: Mutex<Line>,
}

#[derive(Debug)]
struct Line {
    budget: Budget,
    waiters: HashMap<Ticket, Waiter>,
    /// Sessions that may have to end for others.
    growing: HashMap<Ticket, Growing>,
}

#[derive(Debug)]
struct Waiter {
    granted: oneshot::Sender<Reservation>,
    claim: Claim,
    rows: u64,
}

/// What it takes to end a growing session.
#[derive(Debug)]
struct Growing {
    ended: CancellationToken,
    /// Once it is open.
    cache: Option<CacheHandle>,
}

impl CacheBudget {
    /// A free budget.
    #[must_use]
    pub fn new(room: &CacheRoom) -> Self {
        let page_tokens = room.page_tokens.max(1);
        let bytes_per_token = room.bytes_per_token.max(1);
        let tokens = whole_pages(room.tokens_per_block, page_tokens).saturating_mul(room.blocks);
        let line = Line {
            budget: Budget::new(tokens.saturating_mul(bytes_per_token), room.max_waiting),
            waiters: HashMap::new(),
            growing: HashMap::new(),
        };
        let shared = Shared {
            page_tokens,
            bytes_per_token,
            device: room.device.clone(),
            line: Mutex::new(line),
        };
        shared.record(&shared.lock());
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Reserves a share, standing in line for at most `patience`. Dropping the future leaves the line.
    ///
    /// # Errors
    /// `CacheFull` if the room is not free in time, or larger than the whole cache.
    pub async fn reserve(
        &self,
        share: Share,
        patience: Duration,
    ) -> Result<Reservation, RequestError> {
        let started = Instant::now();
        let outcome = self.reserve_or_wait(share, patience).await;
        metrics::record_alloc_wait(started.elapsed());
        outcome
    }

    async fn reserve_or_wait(
        &self,
        share: Share,
        patience: Duration,
    ) -> Result<Reservation, RequestError> {
        let shared = &self.shared;
        let (ticket, granted, bytes) = {
            let mut line = shared.lock();
            let (claim, bytes) = shared.first_claim(share);
            let largest = shared.bytes(share.rows, share.max_length);
            if largest > line.budget.total_bytes() {
                metrics::record_alloc_failure(AllocFailure::TooLarge);
                return Err(shared.full(largest, &line));
            }
            match line.budget.request(claim, bytes, !patience.is_zero()) {
                Admission::Granted(ticket) => {
                    shared.record(&line);
                    return Ok(shared.reservation(&mut line, ticket, claim, share.rows));
                }
                Admission::TooLarge | Admission::Full => {
                    metrics::record_alloc_failure(AllocFailure::Timeout);
                    return Err(shared.full(bytes, &line));
                }
                Admission::Waiting(ticket) => {
                    let (sender, granted) = oneshot::channel();
                    let waiter = Waiter {
                        granted: sender,
                        claim,
                        rows: share.rows,
                    };
                    line.waiters.insert(ticket, waiter);
                    (ticket, granted, bytes)
                }
            }
        };
        let _place = Place { shared, ticket };
        if let Ok(Ok(reservation)) = tokio::time::timeout(patience, granted).await {
            return Ok(reservation);
        }
        metrics::record_alloc_failure(AllocFailure::Timeout);
        Err(shared.full(bytes, &shared.lock()))
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

fn whole_pages(tokens: u64, page_tokens: u64) -> u64 {
    tokens.div_ceil(page_tokens).saturating_mul(page_tokens)
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Line> {
        // Nothing panics while the line is locked, and its numbers are whole between statements.
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes of the pages for `length` tokens of each of `rows`.
    fn bytes(&self, rows: u64, length: u64) -> u64 {
        whole_pages(length, self.page_tokens)
            .saturating_mul(rows)
            .saturating_mul(self.bytes_per_token)
    }

    fn first_claim(&self, share: Share) -> (Claim, u64) {
        match share.first_length {
            None => (Claim::Fixed, self.bytes(share.rows, share.max_length)),
            Some(first) => {
                let length = first.saturating_add(self.page_tokens).min(share.max_length);
                (Claim::Growing, self.bytes(share.rows, length))
            }
        }
    }

    /// What the holder of a granted ticket gets.
    fn reservation(
        self: &Arc<Self>,
        line: &mut Line,
        ticket: Ticket,
        claim: Claim,
        rows: u64,
    ) -> Reservation {
        let ended = (claim == Claim::Growing).then(|| {
            let ended = CancellationToken::new();
            let growing = Growing {
                ended: ended.clone(),
                cache: None,
            };
            line.growing.insert(ticket, growing);
            ended
        });
        Reservation {
            shared: Arc::clone(self),
            ticket,
            rows,
            ended,
        }
    }

    fn record(&self, line: &Line) {
        metrics::record_cache_tokens(
            line.budget.used_bytes() / self.bytes_per_token,
            line.budget.free_bytes() / self.bytes_per_token,
        );
        metrics::record_memory(&self.device, MemoryPool::KvCache, line.budget.used_bytes());
    }

    fn full(&self, needed_bytes: u64, line: &Line) -> RequestError {
        RequestError::CacheFull {
            needed_tokens: needed_bytes / self.bytes_per_token,
            free_tokens: line.budget.free_bytes() / self.bytes_per_token,
            total_tokens: line.budget.total_bytes() / self.bytes_per_token,
        }
    }

    /// Applies `change` to the line and hands their shares to the waiters that it lets in.
    fn change_and_grant<T>(
        self: &Arc<Self>,
        change: impl FnOnce(&mut Line) -> (T, Vec<Ticket>),
    ) -> T {
        let (outcome, granted) = {
            let mut line = self.lock();
            let (outcome, tickets) = change(&mut line);
            self.record(&line);
            let granted: Vec<_> = tickets
                .into_iter()
                .map(|ticket| {
                    let waiter = line.waiters.remove(&ticket);
                    // One that has left is out of the line, so there is a waiter.
                    let (claim, rows) = waiter
                        .as_ref()
                        .map_or((Claim::Fixed, 0), |waiter| (waiter.claim, waiter.rows));
                    (waiter, self.reservation(&mut line, ticket, claim, rows))
                })
                .collect();
            (outcome, granted)
        };
        for (waiter, reservation) in granted {
            // A waiter that has just left drops what it is sent, which gives the bytes to the next one. The lock is
            // free here, so that drop may take it.
            if let Some(waiter) = waiter {
                drop(waiter.granted.send(reservation));
            }
        }
        outcome
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
            ((), line.budget.cancel(self.ticket))
        });
    }
}

/// Bytes of the budget that nobody else can have, until it is dropped or, if it grows, ends for an older one.
#[derive(Debug)]
pub struct Reservation {
    shared: Arc<Shared>,
    ticket: Ticket,
    rows: u64,
    /// Cancelled when a growing one has ended for another.
    ended: Option<CancellationToken>,
}

impl Reservation {
    /// Gets the pages for `length` tokens of each row, if they are not there. Others that grow, younger ones first, may
    /// end for it: their bytes are this one's at once, and `close` is told their caches before anybody can use the bytes.
    ///
    /// # Errors
    /// `CacheTaken` if this one has ended, now or before.
    pub(crate) fn grow(
        &self,
        length: usize,
        close: impl Fn(CacheHandle),
    ) -> Result<(), RequestError> {
        if self.ended.is_none() {
            return Ok(());
        }
        let bytes = self.shared.bytes(self.rows, length as u64);
        {
            // The usual case: a token of a page that is there already.
            let line = self.shared.lock();
            match line.budget.held_by(self.ticket) {
                Some(held) if held >= bytes => return Ok(()),
                Some(_) => {}
                None => return Err(RequestError::CacheTaken),
            }
        }
        let is_granted = self.shared.change_and_grant(|line| {
            let growth = line.budget.grow(self.ticket, bytes);
            for ticket in &growth.ended {
                metrics::record_alloc_failure(AllocFailure::Taken);
                if let Some(growing) = line.growing.remove(ticket) {
                    growing.ended.cancel();
                    growing.cache.into_iter().for_each(&close);
                }
            }
            (growth.is_granted, growth.let_in)
        });
        if is_granted {
            Ok(())
        } else {
            Err(RequestError::CacheTaken)
        }
    }

    /// Notes which cache lies on the bytes.
    pub(crate) fn bind(&self, cache: CacheHandle) {
        if self.ended.is_some()
            && let Some(growing) = self.shared.lock().growing.get_mut(&self.ticket)
        {
            growing.cache = Some(cache);
        }
    }

    /// Waits until the reservation ends for another; for ever if it does not grow.
    pub(crate) async fn ended(&self) {
        match &self.ended {
            Some(ended) => ended.cancelled().await,
            None => std::future::pending().await,
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.shared.change_and_grant(|line| {
            line.growing.remove(&self.ticket);
            ((), line.budget.release(self.ticket))
        });
    }
}

#[cfg(test)]
mod tests;
