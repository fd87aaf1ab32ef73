//! Who has how many WebSockets open: few each, so that nobody takes all there are.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::api_error::{ApiError, ErrorCode};
use crate::websocket::SOCKETS_FULL_WAIT;
use crate::who::{NameAndNet, Who};

/// The WebSockets of each caller that has any.
#[derive(Debug, Clone, Default)]
pub(super) struct Places(Arc<Mutex<HashMap<NameAndNet, usize>>>);

/// One WebSocket of a caller, counted while this lives.
#[derive(Debug)]
pub(super) struct Place {
    places: Places,
    holder: NameAndNet,
}

impl Places {
    /// Counts one more.
    ///
    /// # Errors
    /// 429: the caller has as many as anybody may.
    pub(super) fn take(&self, caller: &Who) -> Result<Place, ApiError> {
        let holder = caller.name_and_net();
        let mut held = self.lock();
        let count = held.entry(holder.clone()).or_default();
        if *count >= MAX_OF_ONE {
            let text = format!("{MAX_OF_ONE} WebSockets of this caller are open; close one first");
            return Err(ApiError::new(ErrorCode::QueueFull, text).retry_after(SOCKETS_FULL_WAIT));
        }
        *count += 1;
        drop(held);
        Ok(Place {
            places: self.clone(),
            holder,
        })
    }

    /// No change under the lock can fail half done.
    fn lock(&self) -> MutexGuard<'_, HashMap<NameAndNet, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut held = self.places.lock();
        if let Some(count) = held.get_mut(&self.holder) {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.holder);
            }
        }
    }
}

/// WebSockets of one caller at most: each holds a session, and a server gives the whole gateway 8 unless told otherwise.
const MAX_OF_ONE: usize = 4;
