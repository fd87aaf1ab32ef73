//! When a session's time is over.

use std::pin::Pin;

use tokio::time::{Instant, Sleep, sleep_until};

use crate::session::{Expiry, Session};

/// One timer for all of a session's life. Deadlines only move back, so it is set anew when it rings and not at every
/// step: a timer that ends before all others wakes another network thread, while the answer is still on its way.
#[derive(Debug)]
pub(super) struct Alarm(Pin<Box<Sleep>>);

impl Alarm {
    pub(super) fn new(session: &Session) -> Self {
        Self(Box::pin(sleep_until(deadline(session))))
    }

    /// Waits until the session's time is over. Dropping it loses nothing.
    pub(super) async fn rings(&mut self, session: &Session) -> Expiry {
        loop {
            self.0.as_mut().await;
            if let Some(expiry) = session.expiry(Instant::now().into_std()) {
                return expiry;
            }
            self.0.as_mut().reset(deadline(session));
        }
    }
}

fn deadline(session: &Session) -> Instant {
    Instant::from_std(session.next_deadline())
}
