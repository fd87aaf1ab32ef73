//! What connected peers told of themselves.

use std::collections::HashMap;

use libp2p::{Multiaddr, PeerId};
use tokio::sync::oneshot;

/// One entry for each connected peer, so bounded by the limit on connections.
#[derive(Debug, Default)]
pub(super) struct Identified(HashMap<PeerId, State>);

#[derive(Debug)]
enum State {
    /// Connected; identify has not finished. Those who wait for it, bounded by who asks: the
    /// reachability probes.
    Pending(Vec<oneshot::Sender<Vec<Multiaddr>>>),
    /// The addresses that it listens on, as far as we could dial them.
    Told(Vec<Multiaddr>),
}

impl Identified {
    pub(super) fn on_connected(&mut self, peer: PeerId) {
        let pending = || State::Pending(Vec::new());
        self.0.entry(peer).or_insert_with(pending);
    }

    pub(super) fn on_told(&mut self, peer: PeerId, addresses: Vec<Multiaddr>) {
        let Some(state) = self.0.get_mut(&peer) else {
            return;
        };
        let before = std::mem::replace(state, State::Told(addresses.clone()));
        if let State::Pending(waiting) = before {
            for reply in waiting {
                let _ = reply.send(addresses.clone());
            }
        }
    }

    /// The last connection is gone; those who still wait learn nothing.
    pub(super) fn on_disconnected(&mut self, peer: &PeerId) {
        self.0.remove(peer);
    }

    /// Answers once `peer` has told its addresses; drops `reply` if it is not connected.
    pub(super) fn ask(&mut self, peer: &PeerId, reply: oneshot::Sender<Vec<Multiaddr>>) {
        match self.0.get_mut(peer) {
            Some(State::Told(addresses)) => _ = reply.send(addresses.clone()),
            Some(State::Pending(waiting)) => {
                waiting.retain(|reply| !reply.is_closed());
                waiting.push(reply);
            }
            None => {}
        }
    }
}
