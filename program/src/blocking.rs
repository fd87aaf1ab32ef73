//! Work that waits or computes, away from the threads that serve the network.

use crate::error_report::{Exit, Failure};

/// Runs `work` where waiting for files and computing are fine.
///
/// # Errors
/// Its own, or that its thread failed (exit 70).
pub async fn on_blocking_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| {
            Err(Failure::new(Exit::Software, "a thread failed").caused_by(&error))
        })
}
