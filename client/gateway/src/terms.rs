//! What the door grants a caller whose work goes on after its first answer: seats, a rate, a time.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use crate::api_error::{ApiError, ErrorCode};
use crate::door::{Pace, Queue, Seat};

/// The door's limits for one caller. Routes that no door stands before have none but a time.
#[derive(Debug, Clone)]
pub(crate) struct Terms {
    queue: Option<Queue>,
    pace: Option<Pace>,
}

impl<S: Sync> FromRequestParts<S> for Terms {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self {
            queue: parts.extensions.get().cloned(),
            pace: parts.extensions.get().cloned(),
        })
    }
}

impl Terms {
    /// Waits for a seat. Dropping the future gives up the place.
    ///
    /// # Errors
    /// 429 `queue_full`: at the first poll if too many wait already.
    pub(crate) async fn seat(self) -> Result<Option<Seat>, ApiError> {
        match self.queue {
            Some(queue) => queue.seat().await.map(Some),
            None => Ok(None),
        }
    }

    /// Counts one more request.
    ///
    /// # Errors
    /// 429 `rate_limit_exceeded`.
    pub(crate) fn count(&self) -> Result<(), ApiError> {
        self.pace.as_ref().map_or(Ok(()), Pace::count)
    }

    /// How long an answer may take.
    pub(crate) fn time(&self) -> Duration {
        let pace = self.pace.as_ref();
        pace.map_or(WITHOUT_DOOR, Pace::request_timeout)
    }
}

/// What an answer is told that took longer.
pub(crate) fn too_late() -> ApiError {
    let message = "the answer was not done within the time that a request has here";
    ApiError::new(ErrorCode::Timeout, message)
}

/// The door's own default.
const WITHOUT_DOOR: Duration = Duration::from_secs(600);
