//! The task that looks at the swarm, and what it saw last.
//!
//! It looks every second or so while there are subscribers, and otherwise rests until somebody asks.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::changes;
use super::{Topology, TopologySource};

/// What was seen, and when.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) topology: Arc<Topology>,
    pub(super) at: Instant,
}

/// The task and its last sight. The task ends when this is dropped.
pub(super) struct Watch {
    source: Arc<dyn TopologySource>,
    seen: watch::Sender<Option<Seen>>,
    wanted: Arc<Notify>,
    task: JoinHandle<()>,
}

impl Watch {
    pub(super) fn start(source: impl TopologySource) -> Self {
        let seen = watch::Sender::new(None);
        let wanted = Arc::new(Notify::new());
        let source: Arc<dyn TopologySource> = Arc::new(source);
        let task = run(Arc::clone(&source), seen.clone(), Arc::clone(&wanted));
        let task = tokio::spawn(task);
        Self {
            source,
            seen,
            wanted,
            task,
        }
    }

    pub(super) fn source(&self) -> &dyn TopologySource {
        &*self.source
    }

    /// What was seen, not longer ago than a moment. Dropping it loses nothing.
    pub(super) async fn fresh(&self) -> Seen {
        let mut subscriber = self.subscribe();
        let is_fresh = |seen: &Option<Seen>| {
            let seen = seen.as_ref();
            seen.is_some_and(|seen| seen.at.elapsed() < FRESH_FOR)
        };
        // What is old is better than nothing.
        let _ = timeout(FRESH_DEADLINE, subscriber.wait_for(is_fresh)).await;
        let seen = subscriber.borrow().clone();
        seen.unwrap_or_else(|| Seen {
            topology: Arc::new(Topology {
                models: Vec::new(),
                bootstrap: Vec::new(),
                listen_addresses: Vec::new(),
            }),
            at: Instant::now(),
        })
    }

    /// Every sight from now on; only the newest is kept for it.
    pub(super) fn subscribe(&self) -> watch::Receiver<Option<Seen>> {
        let subscriber = self.seen.subscribe();
        self.wanted.notify_one();
        subscriber
    }
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch").finish_non_exhaustive()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(
    source: Arc<dyn TopologySource>,
    seen: watch::Sender<Option<Seen>>,
    wanted: Arc<Notify>,
) {
    loop {
        let found = source.look().await;
        let at = Instant::now();
        seen.send_modify(|last| {
            let topology = match last.take() {
                Some(last) => changes::keep_unchanged(last.topology, found),
                None => Arc::new(found),
            };
            *last = Some(Seen { topology, at });
        });
        if seen.receiver_count() == 0 {
            wanted.notified().await;
        } else {
            tokio::time::sleep(PERIOD).await;
        }
    }
}

/// Between two looks: with the time that one takes, a server that died shows within 5 s.
const PERIOD: Duration = Duration::from_secs(1);
/// How old an answer may be: a server that misses its deadline takes a look 2 s.
const FRESH_FOR: Duration = Duration::from_secs(4);
/// How long an answer may wait for it.
const FRESH_DEADLINE: Duration = Duration::from_secs(5);
