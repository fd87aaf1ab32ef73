//! The handle to a running DHT node.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use block_protocol::dht::{
    Command, DhtId, DhtRecord, DhtValue, Dictionary, NodeContact, Outcome, StoreEntry, Stored,
    text_subkey,
};
use bytes::Bytes;
use libp2p::{Multiaddr, PeerId};
use tokio::sync::{mpsc, oneshot, watch};

use super::{
    config::DhtConfig,
    driver::{self, Ask},
    metrics,
};
use crate::node::Node;

/// A member of the DHT. Cheap to clone; the member leaves when the last clone is dropped.
#[derive(Debug, Clone)]
pub struct Dht(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    node_id: DhtId,
    asks: mpsc::Sender<Ask>,
    ready: watch::Receiver<bool>,
}

/// Why the DHT did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DhtError {
    /// Too many operations are under way, or this one is too large.
    #[error("the DHT is overloaded or asked for too much at once")]
    Refused,
    /// Nobody kept what was to be stored.
    #[error("no peer kept the records")]
    NotKept,
    /// A peer did not answer a ping.
    #[error("no answer: {0}")]
    NoAnswer(#[from] block_protocol::dht::CallFailure),
    /// The node has been shut down.
    #[error("the DHT has been shut down")]
    Stopped,
}

impl Dht {
    /// Starts a DHT member on `node`; must run inside a tokio runtime. Its task ends when the last
    /// handle is dropped or the node is shut down.
    #[must_use]
    pub fn start(node: Node, config: DhtConfig) -> Self {
        let (asks, inbox) = mpsc::channel(driver::ASK_QUEUE);
        let (is_ready, ready) = watch::channel(false);
        let node_id = driver::spawn(node, config, inbox, asks.downgrade(), is_ready);
        Self(Arc::new(Shared {
            node_id,
            asks,
            ready,
        }))
    }

    /// Our place in the DHT: random, new with every start.
    #[must_use]
    pub fn node_id(&self) -> DhtId {
        self.0.node_id
    }

    /// Waits until the node has joined through an initial peer, or is known to be alone by intent.
    /// Has no deadline: initial peers are tried for ever. Dropping it loses nothing.
    ///
    /// # Errors
    /// `Stopped`.
    pub async fn ready(&self) -> Result<(), DhtError> {
        let mut ready = self.0.ready.clone();
        let waited = ready.wait_for(|ready| *ready).await;
        waited.map(|_| ()).map_err(|_| DhtError::Stopped)
    }

    /// Whether [`Dht::ready`] would return at once.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        *self.0.ready.borrow()
    }

    /// Joins through these peers from now on, and no longer through those given before. Peers that were reached stay
    /// known. Of an address without `/p2p/` only the dialing ends.
    ///
    /// # Errors
    /// `Stopped`.
    pub async fn set_initial_peers(&self, addresses: Vec<Multiaddr>) -> Result<(), DhtError> {
        let asked = self.0.asks.send(Ask::SetInitialPeers(addresses)).await;
        asked.map_err(|_| DhtError::Stopped)
    }

    /// Stores entries under the nodes nearest to their keys; tells for each who kept it. Ends
    /// after 60 s at the latest. Dropping it does not undo what was sent.
    ///
    /// # Errors
    /// `Refused`, `Stopped`. That nobody kept an entry is no error here.
    pub async fn store(&self, entries: Vec<StoreEntry>) -> Result<Vec<Stored>, DhtError> {
        match self.command(Command::Store { entries }).await? {
            Outcome::Stored(stored) => Ok(stored),
            Outcome::Refused => Err(DhtError::Refused),
            Outcome::Found(_) | Outcome::Added | Outcome::Removed | Outcome::Pinged(_) => {
                Err(DhtError::Stopped)
            }
        }
    }

    /// Stores like [`Dht::store`] and counts it as an announcement.
    ///
    /// # Errors
    /// Those of `store`, and `NotKept` if some entry was kept by nobody, ourselves included.
    pub async fn announce(&self, entries: Vec<StoreEntry>) -> Result<Vec<Stored>, DhtError> {
        let stored = self.store(entries).await.and_then(|stored| {
            let kept = |stored: &Stored| stored.kept_here || stored.kept_by_others > 0;
            let all_kept = stored.iter().all(kept);
            all_kept.then_some(stored).ok_or(DhtError::NotKept)
        });
        metrics::announced(stored.is_ok());
        stored
    }

    /// Reads records, one per key. `latest`: ask every node near a key and merge, instead of
    /// taking the first live record. Ends after 60 s at the latest.
    ///
    /// # Errors
    /// `Refused`, `Stopped`. A key that nobody has is `None`, not an error.
    pub async fn get(
        &self,
        keys: Vec<DhtId>,
        latest: bool,
    ) -> Result<Vec<Option<DhtRecord>>, DhtError> {
        match self.command(Command::Get { keys, latest }).await? {
            Outcome::Found(found) => Ok(found),
            Outcome::Refused => Err(DhtError::Refused),
            Outcome::Stored(_) | Outcome::Added | Outcome::Removed | Outcome::Pinged(_) => {
                Err(DhtError::Stopped)
            }
        }
    }

    /// Reads the latest dictionaries under text keys, as block records are kept; one per key,
    /// empty if there is none.
    ///
    /// # Errors
    /// Those of [`Dht::get`].
    pub async fn dictionaries<K: AsRef<str>>(
        &self,
        keys: &[K],
    ) -> Result<Vec<Dictionary>, DhtError> {
        let ids = keys.iter().map(|key| DhtId::of_text(key.as_ref()));
        let found = self.get(ids.collect(), true).await?;
        let dictionary = |record: Option<DhtRecord>| match record.map(|record| record.value) {
            Some(DhtValue::Dictionary(dictionary)) => dictionary,
            Some(DhtValue::Regular(_)) | None => Dictionary::default(),
        };
        Ok(found.into_iter().map(dictionary).collect())
    }

    /// Round trip of a DHT ping, 3 s at most.
    ///
    /// # Errors
    /// `NoAnswer`, whose `NotServed` means a peer that is alive but only a client.
    pub async fn ping(&self, peer: PeerId) -> Result<Duration, DhtError> {
        let sent = Instant::now();
        let peer = peer.to_bytes().into();
        match self.command(Command::Ping { peer }).await? {
            Outcome::Pinged(answer) => {
                answer?;
                Ok(sent.elapsed())
            }
            Outcome::Refused => Err(DhtError::Refused),
            Outcome::Stored(_) | Outcome::Found(_) | Outcome::Added | Outcome::Removed => {
                Err(DhtError::Stopped)
            }
        }
    }

    /// The peers in the routing table. Empty once the node has been shut down.
    pub async fn known_peers(&self) -> Vec<PeerId> {
        let (reply, answer) = oneshot::channel();
        if self.0.asks.send(Ask::KnownNodes(reply)).await.is_err() {
            return Vec::new();
        }
        let nodes = answer.await.unwrap_or_default();
        let peer = |node: NodeContact| PeerId::from_bytes(&node.peer).ok();
        nodes.into_iter().filter_map(peer).collect()
    }

    async fn command(&self, command: Command) -> Result<Outcome, DhtError> {
        let (reply, answer) = oneshot::channel();
        let sent = self.0.asks.send(Ask::Command(command, reply)).await;
        sent.map_err(|_| DhtError::Stopped)?;
        answer.await.map_err(|_| DhtError::Stopped)
    }
}

/// One entry of the dictionary under a text key: how block records and model records are kept.
/// `value` is msgpack, `expiration` Unix seconds.
#[must_use]
pub fn subkey_entry(key: &str, subkey: &str, value: Bytes, expiration: f64) -> StoreEntry {
    StoreEntry {
        key: DhtId::of_text(key),
        subkey: Some(text_subkey(subkey)),
        value,
        expiration,
    }
}
