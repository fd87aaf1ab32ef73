//! Whom we are connected to, readable without asking the event loop.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use libp2p::{PeerId, swarm::ConnectionId};
use tokio::{
    sync::{Semaphore, mpsc, watch},
    time::timeout,
};

use crate::{
    limits::{IDENTIFY_TIMEOUT, MAX_OUTBOUND_STREAMS_PER_PEER},
    opening::Opening,
};

/// Written by the swarm's task, read by everybody. A std mutex: nothing awaits under it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Links(Arc<Mutex<HashMap<PeerId, Link>>>);

#[derive(Debug)]
struct Link {
    /// Where each connection is asked for streams. Never empty.
    connections: Vec<(ConnectionId, mpsc::Sender<Opening>)>,
    /// One permit for each stream that we may open. New with the first connection: streams of
    /// earlier ones are gone.
    streams: Arc<Semaphore>,
    /// Whether identify has finished or failed.
    identified: watch::Sender<bool>,
}

impl Links {
    pub(crate) fn connected(
        &self,
        peer: PeerId,
        connection: ConnectionId,
        opener: mpsc::Sender<Opening>,
    ) {
        let mut links = self.lock();
        let link = links.entry(peer).or_insert_with(|| Link {
            connections: Vec::new(),
            streams: Arc::new(Semaphore::new(MAX_OUTBOUND_STREAMS_PER_PEER)),
            identified: watch::Sender::new(false),
        });
        link.connections.push((connection, opener));
    }

    pub(crate) fn disconnected(&self, peer: &PeerId, connection: ConnectionId) {
        let mut links = self.lock();
        if let Some(link) = links.get_mut(peer) {
            link.connections.retain(|(id, _)| *id != connection);
            if link.connections.is_empty() {
                links.remove(peer);
            }
        }
    }

    pub(crate) fn set_identified(&self, peer: &PeerId) {
        if let Some(link) = self.lock().get(peer) {
            link.identified.send_replace(true);
        }
    }

    /// Waits until identify with a connected peer has finished or failed, as go-libp2p does
    /// before it opens a stream. Both sides of a call then know each other's addresses, which
    /// peer routing needs as soon as the call has told somebody else of one of them.
    pub(crate) async fn identified(&self, peer: &PeerId) {
        let waiting = self
            .lock()
            .get(peer)
            .map(|link| link.identified.subscribe());
        let Some(mut waiting) = waiting else {
            return;
        };
        let finished = timeout(IDENTIFY_TIMEOUT, waiting.wait_for(|identified| *identified)).await;
        if finished.is_err() {
            self.set_identified(peer);
        }
    }

    pub(crate) fn is_connected(&self, peer: &PeerId) -> bool {
        self.lock().contains_key(peer)
    }

    /// The stream permits of a connected peer.
    pub(crate) fn streams(&self, peer: &PeerId) -> Option<Arc<Semaphore>> {
        self.lock().get(peer).map(|link| link.streams.clone())
    }

    /// Where to ask for a stream to a connected peer: its oldest connection that is not ending.
    pub(crate) fn opener(&self, peer: &PeerId) -> Option<mpsc::Sender<Opening>> {
        let links = self.lock();
        let mut openers = links
            .get(peer)?
            .connections
            .iter()
            .map(|(_, opener)| opener);
        openers.find(|opener| !opener.is_closed()).cloned()
    }

    pub(crate) fn peers(&self) -> Vec<PeerId> {
        self.lock().keys().copied().collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<PeerId, Link>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
