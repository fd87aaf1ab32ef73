//! What announcing and observing need of the DHT; the tests put a map behind it.

use std::future::Future;

use block_network::Dht;
use block_protocol::dht::{DhtId, DhtRecord, StoreEntry, Stored};

/// Reads and writes records. Every call ends by itself: the DHT bounds its lookups.
pub(crate) trait Records: Clone + Send + Sync + 'static {
    /// Stores entries; one outcome for each, none if nothing could be done.
    fn store(&self, entries: Vec<StoreEntry>) -> impl Future<Output = Vec<Outcome>> + Send;

    /// Reads the freshest records, one for each key; `None` if nobody has it.
    fn read(&self, keys: Vec<DhtId>) -> impl Future<Output = Vec<Option<DhtRecord>>> + Send;
}

/// What became of one stored entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// Other nodes that were asked to keep it and answered.
    pub(crate) asked: usize,
    is_kept: bool,
}

impl Outcome {
    /// Whether the swarm keeps the entry: somebody else, or we, if there is nobody else.
    pub(crate) const fn is_kept(&self) -> bool {
        self.is_kept
    }
}

impl From<Stored> for Outcome {
    fn from(stored: Stored) -> Self {
        let is_kept = stored.kept_by_others > 0 || (stored.kept_here && stored.asked == 0);
        Self {
            asked: stored.asked,
            is_kept,
        }
    }
}

impl Records for Dht {
    async fn store(&self, entries: Vec<StoreEntry>) -> Vec<Outcome> {
        match Self::store(self, entries).await {
            Ok(stored) => stored.into_iter().map(Outcome::from).collect(),
            Err(error) => {
                tracing::warn!(%error, "the DHT stores nothing");
                Vec::new()
            }
        }
    }

    async fn read(&self, keys: Vec<DhtId>) -> Vec<Option<DhtRecord>> {
        match self.get(keys, true).await {
            Ok(records) => records,
            Err(error) => {
                tracing::warn!(%error, "the DHT finds nothing");
                Vec::new()
            }
        }
    }
}
