//! Getting connected to a peer: its known addresses first, then a FIND_NODE lookup, shared by all
//! who wait for that peer.
//!
//! States of one peer: *dialing* (known addresses) → *looking up* → *dialing* (found addresses) →
//! gone. Any connection to the peer, whoever opened it, ends the wait.

use std::collections::HashMap;

use libp2p::{
    Multiaddr, PeerId, Swarm, TransportError,
    kad::{self, QueryId},
    swarm::{
        DialError,
        dial_opts::{DialOpts, PeerCondition},
    },
};
use tokio::sync::oneshot;

use super::{behaviour::Behaviour, causes::root_cause};
use crate::{error::CallError, limits::MAX_PENDING_PEERS};

/// Told once the peer is connected, or cannot be.
pub(crate) type ConnectReply = oneshot::Sender<Result<(), CallError>>;

/// The peers that somebody waits for.
#[derive(Debug, Default)]
pub(super) struct Connector {
    pending: HashMap<PeerId, Pending>,
    lookups: HashMap<QueryId, PeerId>,
}

#[derive(Debug)]
struct Pending {
    waiting: Vec<ConnectReply>,
    lookup: Lookup,
    /// What went wrong so far.
    reasons: Vec<String>,
}

#[derive(Debug, PartialEq, Eq)]
enum Lookup {
    NotYet,
    Running,
    Done,
}

impl Connector {
    /// Starts getting connected to `peer`, or joins those who already wait for it.
    pub(super) fn connect(
        &mut self,
        swarm: &mut Swarm<Behaviour>,
        peer: PeerId,
        known: Vec<Multiaddr>,
        reply: ConnectReply,
    ) {
        if swarm.is_connected(&peer) {
            let _ = reply.send(Ok(()));
        } else if peer == *swarm.local_peer_id() {
            let _ = reply.send(Err(CallError::unreachable("that is this node itself")));
        } else if let Some(pending) = self.pending.get_mut(&peer) {
            pending.waiting.push(reply);
        } else if self.pending.len() >= MAX_PENDING_PEERS {
            let _ = reply.send(Err(CallError::unreachable("too many dials are under way")));
        } else {
            let pending = Pending {
                waiting: vec![reply],
                lookup: Lookup::NotYet,
                reasons: Vec::new(),
            };
            self.pending.insert(peer, pending);
            self.dial(swarm, peer, known);
        }
    }

    /// A connection to `peer` is there.
    pub(super) fn on_connected(&mut self, peer: &PeerId) {
        for reply in self
            .remove(peer)
            .into_iter()
            .flat_map(|pending| pending.waiting)
        {
            let _ = reply.send(Ok(()));
        }
    }

    /// Some dial to `peer` failed.
    pub(super) fn on_dial_failure(
        &mut self,
        swarm: &mut Swarm<Behaviour>,
        peer: PeerId,
        error: &DialError,
    ) {
        let Some(pending) = self.pending.get_mut(&peer) else {
            return;
        };
        pending.reasons.push(dial_reason(error));
        match pending.lookup {
            Lookup::NotYet => self.look_up(swarm, peer),
            // The lookup dials, too; its end decides.
            Lookup::Running => {}
            Lookup::Done => self.fail(peer),
        }
    }

    /// A lookup has ended, with these peers among its results.
    pub(super) fn on_lookup_end(
        &mut self,
        swarm: &mut Swarm<Behaviour>,
        query: QueryId,
        found: &[kad::PeerInfo],
    ) {
        let Some(peer) = self.lookups.remove(&query) else {
            return;
        };
        let Some(pending) = self.pending.get_mut(&peer) else {
            return;
        };
        pending.lookup = Lookup::Done;
        let addresses = found.iter().filter(|info| info.peer_id == peer);
        let addresses: Vec<_> = addresses.flat_map(|info| info.addrs.clone()).collect();
        if addresses.is_empty() {
            pending
                .reasons
                .push("no peer knows its addresses".to_owned());
            self.fail(peer);
        } else {
            self.dial(swarm, peer, addresses);
        }
    }

    /// Nobody will be connected any more.
    pub(super) fn stop(&mut self) {
        for (_, pending) in self.pending.drain() {
            for reply in pending.waiting {
                let _ = reply.send(Err(CallError::Stopped));
            }
        }
    }

    fn dial(&mut self, swarm: &mut Swarm<Behaviour>, peer: PeerId, addresses: Vec<Multiaddr>) {
        let options = DialOpts::peer_id(peer)
            .condition(PeerCondition::DisconnectedAndNotDialing)
            .addresses(addresses)
            .extend_addresses_through_behaviour()
            .build();
        match swarm.dial(options) {
            // If somebody else's dial is under way, its end decides.
            Ok(()) | Err(DialError::DialPeerConditionFalse(_)) => {}
            Err(error) => self.on_dial_failure(swarm, peer, &error),
        }
    }

    fn look_up(&mut self, swarm: &mut Swarm<Behaviour>, peer: PeerId) {
        if let Some(pending) = self.pending.get_mut(&peer) {
            pending.lookup = Lookup::Running;
            let query = swarm.behaviour_mut().kad.get_closest_peers(peer);
            self.lookups.insert(query, peer);
        }
    }

    fn fail(&mut self, peer: PeerId) {
        let Some(pending) = self.remove(&peer) else {
            return;
        };
        let error = CallError::unreachable(pending.reasons.join("; "));
        for reply in pending.waiting {
            let _ = reply.send(Err(error.clone()));
        }
    }

    fn remove(&mut self, peer: &PeerId) -> Option<Pending> {
        let pending = self.pending.remove(peer)?;
        self.lookups.retain(|_, looked_up| looked_up != peer);
        Some(pending)
    }
}

/// One line for logs and errors.
fn dial_reason(error: &DialError) -> String {
    match error {
        DialError::NoAddresses => "no address known".to_owned(),
        DialError::Transport(attempts) => {
            let attempts = attempts.iter().map(|(address, error)| match error {
                TransportError::Other(error) => format!("{address}: {}", root_cause(error)),
                TransportError::MultiaddrNotSupported(_) => format!("{address}: {error}"),
            });
            attempts.collect::<Vec<_>>().join(", ")
        }
        other => other.to_string(),
    }
}
