//! What announcing and observing need of the DHT; the tests put a list behind it.

use std::future::Future;

use block_network::{Dht, DhtError};
use block_protocol::dht::{Dictionary, StoreEntry};

/// Reads and writes records. Every call ends by itself: the DHT bounds its lookups.
pub(crate) trait Records: Clone + Send + Sync + 'static {
    /// Stores entries; an error if some entry is kept by nobody.
    fn announce(
        &self,
        entries: Vec<StoreEntry>,
    ) -> impl Future<Output = Result<(), DhtError>> + Send;

    /// Stores an entry that others store too; that theirs is fresher is no error.
    fn announce_shared(
        &self,
        entry: StoreEntry,
    ) -> impl Future<Output = Result<(), DhtError>> + Send;

    /// Reads the latest dictionaries, one for each key, empty where nobody has one.
    fn read(
        &self,
        keys: Vec<String>,
    ) -> impl Future<Output = Result<Vec<Dictionary>, DhtError>> + Send;
}

impl Records for Dht {
    async fn announce(&self, entries: Vec<StoreEntry>) -> Result<(), DhtError> {
        Self::announce(self, entries).await.map(drop)
    }

    async fn announce_shared(&self, entry: StoreEntry) -> Result<(), DhtError> {
        self.store(vec![entry]).await.map(drop)
    }

    async fn read(&self, keys: Vec<String>) -> Result<Vec<Dictionary>, DhtError> {
        self.dictionaries(&keys).await
    }
}
