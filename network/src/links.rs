//! Whom we are connected to, readable without asking the event loop.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use libp2p::PeerId;
use tokio::sync::Semaphore;

use crate::limits::MAX_OUTBOUND_STREAMS_PER_PEER;

/// Shared by the event loop, which writes, and the node handles, which read.
/// A std mutex: nothing awaits under it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Links(Arc<Mutex<HashMap<PeerId, Link>>>);

#[derive(Debug)]
struct Link {
    connections: usize,
    /// One permit for each stream that we may open. New with the first connection: streams of
    /// earlier ones are gone.
    streams: Arc<Semaphore>,
}

impl Links {
    pub(crate) fn connected(&self, peer: PeerId) {
        let mut links = self.lock();
        let link = links.entry(peer).or_insert_with(|| Link {
            connections: 0,
            streams: Arc::new(Semaphore::new(MAX_OUTBOUND_STREAMS_PER_PEER)),
        });
        link.connections += 1;
    }

    pub(crate) fn disconnected(&self, peer: &PeerId) {
        let mut links = self.lock();
        if let Some(link) = links.get_mut(peer) {
            link.connections -= 1;
            if link.connections == 0 {
                links.remove(peer);
            }
        }
    }

    /// The stream permits of a connected peer.
    pub(crate) fn streams(&self, peer: &PeerId) -> Option<Arc<Semaphore>> {
        self.lock().get(peer).map(|link| link.streams.clone())
    }

    pub(crate) fn peers(&self) -> Vec<PeerId> {
        self.lock().keys().copied().collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<PeerId, Link>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
