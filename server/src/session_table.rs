//! Who is here: seats for streams, capped in all and per peer, and the inboxes of pushes by session id.
//!
//! A stream takes a [`Seat`] as soon as it is open, before its first step, so half-open streams count too. A seat is
//! bound to a session id by its first step; an id that is bound cannot be bound again, whoever asks. Dropping the seat
//! frees both.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, mpsc};

use crate::metrics;
use crate::request_error::RequestError;

/// Pushed steps that wait for one session. One is usual: the server before cannot be ahead of the client's answer by
/// more. At most 4 MiB each, the size of a unary call.
pub const PUSH_INBOX_STEPS: usize = 4;

/// Longest session id, in bytes; the reference sends UUID text of 36.
const MAX_SESSION_ID_BYTES: usize = 128;

/// What became of a push.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// It is in the session's inbox.
    Taken,
    /// No such session: ignored, as the reference does.
    Unknown,
    /// The inbox is full: dropped; the client sends the same step itself.
    Full,
}

/// The seats and inboxes. `P` names a peer, `T` is a pushed step.
#[derive(Debug)]
pub struct SessionTable<P: Eq + Hash, T> {
    entries: Arc<Mutex<Entries<P, T>>>,
    max_seats: usize,
    max_seats_per_peer: usize,
}

#[derive(Debug)]
struct Entries<P, T> {
    seats: usize,
    of_peer: HashMap<P, usize>,
    inboxes: HashMap<Box<str>, mpsc::Sender<T>>,
    sessions: usize,
    emptied: Arc<Notify>,
}

impl<P: Clone + Eq + Hash, T> SessionTable<P, T> {
    /// An empty table with its caps.
    #[must_use]
    pub fn new(max_seats: usize, max_seats_per_peer: usize) -> Self {
        let entries = Entries {
            seats: 0,
            of_peer: HashMap::new(),
            inboxes: HashMap::new(),
            sessions: 0,
            emptied: Arc::new(Notify::new()),
        };
        Self {
            entries: Arc::new(Mutex::new(entries)),
            max_seats,
            max_seats_per_peer,
        }
    }

    /// Gives a new stream its seat.
    ///
    /// # Errors
    /// `Overloaded` if all seats, or all of this peer's, are taken.
    pub fn enter(&self, peer: P) -> Result<Seat<P, T>, RequestError> {
        let mut entries = lock(&self.entries);
        if entries.seats >= self.max_seats {
            return Err(RequestError::Overloaded {
                what: "all its sessions are taken",
                limit: Some(self.max_seats),
            });
        }
        let of_peer = entries.of_peer.entry(peer.clone()).or_insert(0);
        if *of_peer >= self.max_seats_per_peer {
            return Err(RequestError::Overloaded {
                what: "all sessions that one peer may have are taken",
                limit: Some(self.max_seats_per_peer),
            });
        }
        *of_peer += 1;
        entries.seats += 1;
        Ok(Seat {
            entries: Arc::clone(&self.entries),
            peer,
            session_id: None,
            counted: false,
        })
    }

    /// Hands a pushed step to the session of that id.
    pub fn deliver(&self, session_id: &str, step: T) -> Delivery {
        let entries = lock(&self.entries);
        match entries.inboxes.get(session_id) {
            None => Delivery::Unknown,
            Some(inbox) => match inbox.try_send(step) {
                Ok(()) => Delivery::Taken,
                Err(mpsc::error::TrySendError::Full(_)) => Delivery::Full,
                Err(mpsc::error::TrySendError::Closed(_)) => Delivery::Unknown,
            },
        }
    }

    /// Sessions whose cache is open.
    #[must_use]
    pub fn sessions(&self) -> usize {
        lock(&self.entries).sessions
    }

    /// Waits until no seat is taken. Dropping it changes nothing.
    pub async fn empty(&self) {
        loop {
            let emptied = {
                let entries = lock(&self.entries);
                if entries.seats == 0 {
                    return;
                }
                // Made under the lock: a seat that is dropped after this wakes it.
                Arc::clone(&entries.emptied).notified_owned()
            };
            emptied.await;
        }
    }

    /// Streams with a seat, sessions and half-open ones.
    #[must_use]
    pub fn seats(&self) -> usize {
        lock(&self.entries).seats
    }
}

fn lock<P, T>(entries: &Mutex<Entries<P, T>>) -> MutexGuard<'_, Entries<P, T>> {
    // Nothing panics while the table is locked.
    entries.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One stream's place at this server.
#[derive(Debug)]
pub struct Seat<P: Eq + Hash, T> {
    entries: Arc<Mutex<Entries<P, T>>>,
    peer: P,
    session_id: Option<Box<str>>,
    counted: bool,
}

impl<P: Eq + Hash, T> Seat<P, T> {
    /// Binds the seat to a session id and returns the inbox of its pushes.
    ///
    /// # Errors
    /// `Invalid` if the id is bound already, by whatever peer, or is overlong.
    pub fn bind(&mut self, session_id: &str) -> Result<mpsc::Receiver<T>, RequestError> {
        if session_id.len() > MAX_SESSION_ID_BYTES {
            return Err(RequestError::Invalid(format!(
                "session_id is longer than {MAX_SESSION_ID_BYTES} bytes"
            )));
        }
        let mut entries = lock(&self.entries);
        if entries.inboxes.contains_key(session_id) || self.session_id.is_some() {
            return Err(RequestError::Invalid(
                "this session_id is in use; choose a new one for each session".to_owned(),
            ));
        }
        let (sender, inbox) = mpsc::channel(PUSH_INBOX_STEPS);
        entries.inboxes.insert(session_id.into(), sender);
        drop(entries);
        self.session_id = Some(session_id.into());
        Ok(inbox)
    }

    /// Counts the seat as a session from now on: its cache is open.
    pub fn count_as_session(&mut self) {
        if !self.counted {
            self.counted = true;
            let mut entries = lock(&self.entries);
            entries.sessions += 1;
            metrics::record_sessions_active(entries.sessions);
        }
    }
}

impl<P: Eq + Hash, T> Drop for Seat<P, T> {
    fn drop(&mut self) {
        let mut entries = lock(&self.entries);
        entries.seats -= 1;
        if entries.seats == 0 {
            entries.emptied.notify_waiters();
        }
        if let Some(of_peer) = entries.of_peer.get_mut(&self.peer) {
            *of_peer -= 1;
            if *of_peer == 0 {
                entries.of_peer.remove(&self.peer);
            }
        }
        if let Some(session_id) = &self.session_id {
            entries.inboxes.remove(session_id);
        }
        if self.counted {
            entries.sessions -= 1;
            metrics::record_sessions_active(entries.sessions);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Table = SessionTable<&'static str, u32>;

    #[test]
    fn seats_are_capped_and_come_back() {
        let table = Table::new(3, 2);
        let first = table.enter("a").unwrap();
        let second = table.enter("a").unwrap();
        assert!(matches!(
            table.enter("a"),
            Err(RequestError::Overloaded { limit: Some(2), .. })
        ));
        let third = table.enter("b").unwrap();
        assert!(matches!(
            table.enter("c"),
            Err(RequestError::Overloaded { limit: Some(3), .. })
        ));
        drop(first);
        let fourth = table.enter("a").unwrap();
        drop((second, third, fourth));
        assert_eq!(table.seats(), 0);
        assert!(lock(&table.entries).of_peer.is_empty());
    }

    #[test]
    fn pushes_reach_the_bound_session_only() {
        let table = Table::new(4, 4);
        assert_eq!(table.deliver("id", 1), Delivery::Unknown);
        let mut seat = table.enter("a").unwrap();
        let mut inbox = seat.bind("id").unwrap();
        assert_eq!(table.deliver("id", 2), Delivery::Taken);
        assert_eq!(inbox.try_recv(), Ok(2));
        for step in 0..PUSH_INBOX_STEPS {
            assert_eq!(table.deliver("id", step as u32), Delivery::Taken);
        }
        assert_eq!(table.deliver("id", 9), Delivery::Full);
        drop(seat);
        assert_eq!(table.deliver("id", 3), Delivery::Unknown);
    }

    #[test]
    fn an_id_in_use_cannot_be_taken_over() {
        let table = Table::new(4, 4);
        let mut owner = table.enter("a").unwrap();
        let mut inbox = owner.bind("id").unwrap();
        let mut thief = table.enter("b").unwrap();
        assert!(matches!(thief.bind("id"), Err(RequestError::Invalid(_))));
        drop(thief);
        assert_eq!(table.deliver("id", 7), Delivery::Taken);
        assert_eq!(inbox.try_recv(), Ok(7));
        drop(owner);
        assert!(table.enter("b").unwrap().bind("id").is_ok());
    }

    #[tokio::test]
    async fn emptiness_is_told() {
        let table = Arc::new(Table::new(4, 4));
        table.empty().await;
        let seat = table.enter("a").unwrap();
        let watcher = tokio::spawn({
            let table = Arc::clone(&table);
            async move { table.empty().await }
        });
        tokio::task::yield_now().await;
        assert!(!watcher.is_finished());
        drop(seat);
        watcher.await.unwrap();
    }

    #[test]
    fn only_seats_with_a_cache_count_as_sessions() {
        let table = Table::new(4, 4);
        let mut seat = table.enter("a").unwrap();
        assert_eq!((table.seats(), table.sessions()), (1, 0));
        seat.count_as_session();
        seat.count_as_session();
        assert_eq!(table.sessions(), 1);
        drop(seat);
        assert_eq!((table.seats(), table.sessions()), (0, 0));
    }
}
