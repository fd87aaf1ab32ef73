//! Sessions that wait for the next turn of their conversation.
//!
//! A chat sends the whole conversation with every turn. If the session of the turn before is still open, all but the new
//! tokens are in its servers' caches already: it is rolled back to what both have in common and goes on from there.
//!
//! A session is in the pool or at one request, never both, because it is moved. What the pool ends is closed, in a task:
//! its answers ended well, and neither side is to count it as given up.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::session::Session;

/// Sessions that wait for the next turn of their conversation. Share it by reference or `Arc`.
///
/// `K` says whose they are: a model, or a model and a key, where users must not find out from an answer's speed what
/// others have asked. Sessions are only found under an equal one.
pub struct SessionPool<K> {
    limits: SessionPoolLimits,
    /// The one that has waited longest first.
    idle: Mutex<Vec<Idle<K>>>,
    /// There is something to expire where there was nothing.
    came: Notify,
}

/// How much may wait, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionPoolLimits {
    /// Sessions at most; 0 keeps none. Default 64.
    pub max_sessions: usize,
    /// Tokens in all of them together at most: what they take of the caches of servers that reserve no more than is used.
    /// Default 262 144.
    pub max_tokens: usize,
    /// How long each may wait. Default 2 minutes: Petals' servers end a session that sends nothing for 5.
    pub max_idle: Duration,
    /// Tokens that a prompt and a session must have in common, from 1 up. Default 16: opening another one takes about as
    /// long as running so few.
    pub min_common: usize,
}

struct Idle<K> {
    key: K,
    session: Session,
    since: Instant,
}

impl Default for SessionPoolLimits {
    fn default() -> Self {
        Self {
            max_sessions: 64,
            max_tokens: 256 * 1024,
            max_idle: Duration::from_secs(120),
            min_common: 16,
        }
    }
}

impl<K: PartialEq> SessionPool<K> {
    /// An empty pool.
    #[must_use]
    pub const fn new(limits: SessionPoolLimits) -> Self {
        Self {
            limits,
            idle: Mutex::new(Vec::new()),
            came: Notify::const_new(),
        }
    }

    /// Takes the session that has most in common with a prompt, and how many tokens that is: at least half of what it holds,
    /// or it is of another conversation that only begins alike. It holds just these; the
    /// rest of `ids` is to be its prompt, which is empty if it held all of them.
    ///
    /// `length`: tokens that it must have room for, prompt and answer together. A session cannot grow beyond what it was
    /// opened for: one that would be taken but is too short is ended, since its conversation goes on in another one.
    ///
    /// `None`: open a new session.
    pub fn take(&self, key: &K, ids: &[u32], length: usize) -> Option<(Session, usize)> {
        loop {
            let mut idle = self.lock();
            let expired = self.split_expired(&mut idle);
            let found = self.best(&idle, key, ids).map(|(at, common)| {
                let Idle { session, .. } = idle.remove(at);
                (session, common)
            });
            drop(idle);
            end(expired);
            let (mut session, common) = found?;
            if session.max_length() >= length && session.roll_back(common).is_ok() {
                return Some((session, common));
            }
            close([session]);
        }
    }

    /// Lets a session wait. It is ended instead if it is not usable or holds too little to be found, and the ones that have waited longest are
    /// ended for it if there are too many.
    pub fn give_back(&self, key: K, session: Session) {
        if !session.is_usable() || session.ids().len() < self.limits.min_common.max(1) {
            return close([session]);
        }
        let since = Instant::now();
        let mut idle = self.lock();
        idle.push(Idle {
            key,
            session,
            since,
        });
        let mut ended = self.split_expired(&mut idle);
        let (mut kept, mut tokens) = (0, 0_usize);
        let fitting = idle.iter().rev().take_while(|waiting| {
            kept += 1;
            tokens = tokens.saturating_add(waiting.session.ids().len());
            kept <= self.limits.max_sessions && tokens <= self.limits.max_tokens
        });
        let surplus = idle.len() - fitting.count();
        ended.extend(idle.drain(..surplus));
        drop(idle);
        end(ended);
        self.came.notify_one();
    }

    /// Ends all sessions under keys that are asked for, and says how many.
    pub fn end_where(&self, mut is_meant: impl FnMut(&K) -> bool) -> usize {
        let ended: Vec<Idle<K>> = self
            .lock()
            .extract_if(.., |waiting| is_meant(&waiting.key))
            .collect();
        end(ended)
    }

    /// Whether a session waits under a key that is asked for.
    pub fn holds(&self, is_meant: impl Fn(&K) -> bool) -> bool {
        self.lock().iter().any(|waiting| is_meant(&waiting.key))
    }

    /// Ends sessions when they have waited long enough, forever. Without it they are ended when the pool is next used.
    ///
    /// Cancel-safe.
    pub async fn expire(&self) {
        loop {
            match self.end_expired() {
                Some(next) => sleep_until(next).await,
                None => self.came.notified().await,
            }
        }
    }

    /// How many sessions wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether none does.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// The place of the session with the longest beginning of `ids`, and its length. Of equal ones that which loses least
    /// by it, and of those the one that has waited longest.
    fn best(&self, idle: &[Idle<K>], key: &K, ids: &[u32]) -> Option<(usize, usize)> {
        let own = idle
            .iter()
            .enumerate()
            .filter(|(_, waiting)| waiting.key == *key);
        let common = own.map(|(at, waiting)| {
            let held = waiting.session.ids();
            let common = common_beginning(held, ids);
            (at, common, held.len() - common)
        });
        common
            .filter(|(_, common, lost)| *common >= self.limits.min_common.max(1) && lost <= common)
            .min_by_key(|(_, common, lost)| (std::cmp::Reverse(*common), *lost))
            .map(|(at, common, _)| (at, common))
    }

    /// Says when the next one has waited long enough, if any waits.
    fn end_expired(&self) -> Option<Instant> {
        let mut idle = self.lock();
        let expired = self.split_expired(&mut idle);
        let next = idle.first().map(|first| first.since + self.limits.max_idle);
        drop(idle);
        end(expired);
        next
    }

    /// Those that have waited long enough; they came in the order of time.
    fn split_expired(&self, idle: &mut Vec<Idle<K>>) -> Vec<Idle<K>> {
        let now = Instant::now();
        let max_idle = self.limits.max_idle;
        let count = idle.partition_point(|waiting| now.duration_since(waiting.since) >= max_idle);
        idle.drain(..count).collect()
    }
}

impl<K> SessionPool<K> {
    /// Nothing that is done under the lock leaves the list half changed.
    fn lock(&self) -> MutexGuard<'_, Vec<Idle<K>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K> fmt::Debug for SessionPool<K> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("SessionPool")
            .field("limits", &self.limits)
            .field("idle", &self.lock().len())
            .finish()
    }
}

/// Ends sessions, and says how many. Outside of a runtime they are dropped.
fn end<K>(ended: Vec<Idle<K>>) -> usize {
    let count = ended.len();
    close(ended.into_iter().map(|waiting| waiting.session));
    count
}

fn close(sessions: impl IntoIterator<Item = Session>) {
    let closing: Vec<_> = sessions.into_iter().map(Session::close).collect();
    if closing.is_empty() {
        return;
    }
    if let Ok(runtime) = Handle::try_current() {
        // Ends within the time that closing takes.
        runtime.spawn(join_all(closing));
    }
}

fn common_beginning(held: &[u32], ids: &[u32]) -> usize {
    let pairs = held.iter().zip(ids);
    pairs.take_while(|(held, id)| held == id).count()
}

#[cfg(test)]
mod tests;
