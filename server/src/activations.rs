//! Memory for the numbers of requests.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::request_error::RequestError;

/// One request's memory, which returns when the last copy is dropped. Whoever holds some of the request's numbers has a
/// copy, so that what goes on when the caller has gone is still counted. The default is none.
#[derive(Debug, Clone, Default)]
pub struct Memory(
    #[expect(dead_code, reason = "held to be dropped")] Option<Arc<OwnedSemaphorePermit>>,
);

/// Memory for the numbers of requests that are decoded, computed or encoded. Who finds none waits in line, so many large
/// requests at once take time instead of memory. Short steps have memory of their own: in one line they would wait until
/// large requests before them have been computed, however many turns that takes.
#[derive(Debug, Clone)]
pub struct Activations {
    large: Share,
    small: Share,
    /// Bytes of the largest small request.
    small_request_bytes: usize,
}

/// Some memory in KiB, handed out in the order of asking.
#[derive(Debug, Clone)]
struct Share {
    free_kib: Arc<Semaphore>,
    total_kib: u32,
}

/// Least memory for large requests.
const MIN_LARGE_BYTES: usize = 256 * 1024 * 1024;

/// Requests of the largest size that fit the memory for activations together.
const LARGEST_REQUESTS: usize = 2;

impl Activations {
    /// Memory for two requests of `largest_request_bytes`, and for `small_requests` of `small_request_bytes`.
    #[must_use]
    pub fn new(
        largest_request_bytes: usize,
        small_request_bytes: usize,
        small_requests: usize,
    ) -> Self {
        let large = largest_request_bytes.saturating_mul(LARGEST_REQUESTS);
        Self {
            large: Share::new(large.max(MIN_LARGE_BYTES)),
            small: Share::new(small_request_bytes.saturating_mul(small_requests)),
            small_request_bytes,
        }
    }

    /// Waits for `bytes`. A request larger than all waits for all.
    ///
    /// # Errors
    /// Never while the server runs; `Draining` otherwise.
    pub async fn take(&self, bytes: usize) -> Result<Memory, RequestError> {
        let share = if bytes <= self.small_request_bytes {
            &self.small
        } else {
            &self.large
        };
        let kib = u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX);
        let taken = Arc::clone(&share.free_kib).acquire_many_owned(kib.min(share.total_kib));
        let taken = taken.await.map_err(|_| RequestError::Draining)?;
        Ok(Memory(Some(Arc::new(taken))))
    }
}

impl Share {
    fn new(bytes: usize) -> Self {
        let kib = u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX);
        let total_kib = kib.clamp(1, MAX_PERMITS);
        Self {
            free_kib: Arc::new(Semaphore::new(total_kib as usize)),
            total_kib,
        }
    }
}

/// Most permits that a semaphore takes on every platform, here KiB: half a TiB.
const MAX_PERMITS: u32 = u32::MAX >> 3;

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_short_step_does_not_wait_behind_large_requests() {
        let activations = Activations::new(MIN_LARGE_BYTES, 1024, 2);
        let large = [
            activations.take(MIN_LARGE_BYTES).await,
            activations.take(MIN_LARGE_BYTES).await,
        ];
        let mut third = std::pin::pin!(activations.take(MIN_LARGE_BYTES));
        let soon = std::time::Duration::from_secs(1);
        assert!(timeout(soon, &mut third).await.is_err());
        let short = [activations.take(1024).await, activations.take(512).await];
        // Small ones are bounded, too.
        assert!(timeout(soon, activations.take(1024)).await.is_err());
        drop(short);
        assert!(timeout(soon, activations.take(1024)).await.is_ok());
        drop(large);
        assert!(timeout(soon, third).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn memory_returns_with_its_last_copy() {
        let activations = Activations::new(MIN_LARGE_BYTES, 1024, 1);
        let first = activations.take(1024).await.unwrap();
        let copy = first.clone();
        drop(first);
        let soon = std::time::Duration::from_secs(1);
        let mut second = std::pin::pin!(activations.take(1024));
        assert!(timeout(soon, &mut second).await.is_err());
        drop(copy);
        assert!(timeout(soon, second).await.is_ok());
    }
}
