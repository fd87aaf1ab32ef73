//! A session's share of the KV cache: bytes of the budget, then bytes plus a cache on the compute thread.
//!
//! | value         | holds                  | when dropped                                                          |
//! |---------------|------------------------|-----------------------------------------------------------------------|
//! | [`Reservation`] | bytes                  | gives them back and lets the next waiters in                          |
//! | [`Lease`]       | a reservation, a cache | asks the compute thread to close the cache; only then the bytes return |
//!
//! So a task that is dropped at any point leaks neither cache nor budget, and no memory is given to somebody else
//! while a step still uses it. A growing session may end for an older one: the bytes change hands at once, and its cache
//! is in the compute thread's inbox, to be closed, before any step that uses them can be.

use block_model::CacheHandle;

use crate::cache_budget::Reservation;
use crate::compute::ComputeHandle;
use crate::request_error::RequestError;

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
        reservation.bind(handle);
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

    /// Makes sure of the bytes for `length` tokens of each row, before a step that leads there. Never waits.
    ///
    /// # Errors
    /// `CacheTaken` if the session has ended for want of bytes.
    pub fn grow(&self, length: usize) -> Result<(), RequestError> {
        match &self.reservation {
            Some(reservation) => reservation.grow(length, |cache| self.compute.close(cache, None)),
            None => Ok(()),
        }
    }

    /// Waits until the session has to end for an older one. Dropping it changes nothing.
    pub async fn taken(&self) -> RequestError {
        match &self.reservation {
            Some(reservation) => reservation.ended().await,
            None => std::future::pending().await,
        }
        RequestError::CacheTaken
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(reservation) = self.reservation.take() {
            self.compute.close(self.handle, Some(reservation));
        }
    }
}
