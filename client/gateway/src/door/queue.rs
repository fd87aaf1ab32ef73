//! Seats for requests that make text, and a bounded queue for those that wait for one.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{ApiError, ErrorCode};

/// The seats. Cheap to clone; in the extensions of every request, for handlers whose work outlives their answer
/// (WebSockets, executions): these take seats themselves.
#[derive(Debug, Clone)]
pub struct Queue(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    seats: Arc<Semaphore>,
    waiting: AtomicUsize,
    max_waiting: usize,
    timeout: Duration,
}

/// A seat, free again when this is dropped.
#[derive(Debug)]
pub struct Seat {
    _permit: OwnedSemaphorePermit,
}

/// In the extensions of a request that has a seat: how long it waited for it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Waited(pub(crate) Duration);

/// One that waits, counted while it lives.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Queue {
    pub(super) fn new(seats: usize, max_waiting: usize, timeout: Duration) -> Self {
        Self(Arc::new(Shared {
            seats: Arc::new(Semaphore::new(seats)),
            waiting: AtomicUsize::new(0),
            max_waiting,
            timeout,
        }))
    }

    /// Takes a seat, or waits for one in the order of arrival. Dropping it gives up the place.
    ///
    /// # Errors
    /// 429 `queue_full`: too many wait already, or it took too long.
    pub async fn seat(&self) -> Result<Seat, ApiError> {
        let shared = &*self.0;
        let seats = Arc::clone(&shared.seats);
        if let Ok(permit) = Arc::clone(&seats).try_acquire_owned() {
            return Ok(Seat { _permit: permit });
        }
        let joined = shared
            .waiting
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |waiting| {
                (waiting < shared.max_waiting).then_some(waiting + 1)
            });
        if joined.is_err() {
            return Err(refusal(format!(
                "{} requests wait already",
                shared.max_waiting
            )));
        }
        let _waiting = Waiting(&shared.waiting);
        match tokio::time::timeout(shared.timeout, seats.acquire_owned()).await {
            Ok(Ok(permit)) => Ok(Seat { _permit: permit }),
            Ok(Err(_)) | Err(_) => Err(refusal(format!(
                "no other request ended within {} s",
                shared.timeout.as_secs_f64()
            ))),
        }
    }

    /// Requests that wait now.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.0.waiting.load(Ordering::Relaxed)
    }

    /// Seats that are free now.
    #[must_use]
    pub fn free_seats(&self) -> usize {
        self.0.seats.available_permits()
    }
}

fn refusal(message: String) -> ApiError {
    ApiError::new(ErrorCode::QueueFull, message).retry_after(RETRY_AFTER)
}

/// When a refused caller may come again: about as long as a short answer takes.
const RETRY_AFTER: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn some_sit_some_wait_and_the_rest_is_sent_away() {
        let queue = Queue::new(1, 2, Duration::from_secs(30));
        let first = queue.seat().await.unwrap();
        let wait = |queue: Queue| tokio::spawn(async move { queue.seat().await });
        let (second, third) = (wait(queue.clone()), wait(queue.clone()));
        while queue.waiting() < 2 {
            tokio::task::yield_now().await;
        }
        let refused = queue.seat().await.unwrap_err();
        assert_eq!(refused.code(), ErrorCode::QueueFull);

        drop(first);
        let second = second.await.unwrap().unwrap();
        assert_eq!(queue.waiting(), 1);
        third.abort();
        assert!(third.await.unwrap_err().is_cancelled());
        assert_eq!((queue.waiting(), queue.free_seats()), (0, 0));

        let late = queue.seat().await.unwrap_err();
        assert!(late.to_string().contains("within 30 s"), "{late}");
        drop(second);
        assert_eq!(queue.free_seats(), 1);
    }
}
