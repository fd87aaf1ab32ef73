//! The limits of a caller, for handlers that do more than one request's work: WebSockets, executions.

use std::time::Duration;

use super::Door;
use super::rate::{Bucket, Rate};
use crate::{ApiError, ErrorCode};

/// How much its caller may ask for, and how long one answer may take. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Pace {
    door: Door,
    counted: Option<(Rate, Bucket)>,
}

impl Pace {
    pub(super) fn new(door: &Door, counted: Option<(Rate, Bucket)>) -> Self {
        Self {
            door: door.clone(),
            counted,
        }
    }

    /// Counts one more request; the one that brought this is counted already.
    ///
    /// # Errors
    /// 429 `rate_limit_exceeded`.
    pub fn count(&self) -> Result<(), ApiError> {
        let Some((rate, bucket)) = &self.counted else {
            return Ok(());
        };
        match self.door.0.limits.count(*rate, bucket).wait {
            Some(wait) => Err(too_many(wait)),
            None => Ok(()),
        }
    }

    /// How long an answer may take, from its request to its end.
    #[must_use]
    pub fn request_timeout(&self) -> Duration {
        self.door.0.config.request_timeout
    }
}

pub(super) fn too_many(wait: Duration) -> ApiError {
    let message = "more requests than the limit allows; wait and try again";
    ApiError::new(ErrorCode::RateLimitExceeded, message).retry_after(wait)
}
