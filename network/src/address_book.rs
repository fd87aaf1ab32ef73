//! Addresses of peers, as told by the operator, by the peers themselves and by other peers.

use std::collections::{HashMap, VecDeque};

use libp2p::{Multiaddr, PeerId, multiaddr::Protocol};

use crate::limits::{MAX_ADDRESSES_PER_PEER, MAX_KNOWN_PEERS};

/// Bounded in peers and in addresses of each; the peers added to longest ago go first.
#[derive(Debug, Default)]
pub(crate) struct AddressBook {
    addresses: HashMap<PeerId, VecDeque<Multiaddr>>,
    /// Every peer of `addresses` once, in the order of their last addition.
    order: VecDeque<PeerId>,
}

impl AddressBook {
    /// Remembers that `peer` may be dialed at `address`, with the peer's name at its end or without; the newest address
    /// comes first.
    pub(crate) fn add(&mut self, peer: PeerId, mut address: Multiaddr) {
        if target(&address) == Some(peer) {
            address.pop();
        }
        if self.order.back() != Some(&peer) {
            self.order.retain(|known| *known != peer);
            self.order.push_back(peer);
        }
        let addresses = self.addresses.entry(peer).or_default();
        addresses.retain(|known| *known != address);
        addresses.push_front(address);
        addresses.truncate(MAX_ADDRESSES_PER_PEER);
        if self.order.len() > MAX_KNOWN_PEERS
            && let Some(oldest) = self.order.pop_front()
        {
            self.addresses.remove(&oldest);
        }
    }

    pub(crate) fn addresses(&self, peer: &PeerId) -> Vec<Multiaddr> {
        let known = self.addresses.get(peer).into_iter().flatten();
        known.cloned().collect()
    }
}

/// The peer that `address` leads to, if it ends by naming one.
pub(crate) fn target(address: &Multiaddr) -> Option<PeerId> {
    match address.iter().last() {
        Some(Protocol::P2p(peer)) => Some(peer),
        _ => None,
    }
}

/// Whether only this machine can use `address`.
pub(crate) fn is_loopback(address: &Multiaddr) -> bool {
    match address.iter().next() {
        Some(Protocol::Ip4(ip)) => ip.is_loopback(),
        Some(Protocol::Ip6(ip)) => ip.is_loopback(),
        Some(Protocol::Dns(name) | Protocol::Dns4(name) | Protocol::Dns6(name)) => {
            name == "localhost"
        }
        _ => false,
    }
}

/// Whether `address` goes through a relay.
pub(crate) fn is_relayed(address: &Multiaddr) -> bool {
    address.iter().any(|part| part == Protocol::P2pCircuit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Multiaddr {
        text.parse().unwrap()
    }

    #[test]
    fn newest_addresses_come_first_and_both_bounds_hold() {
        let mut book = AddressBook::default();
        let peer = PeerId::random();
        for port in 0..40 {
            book.add(peer, address(&format!("/ip4/10.0.0.1/tcp/{port}")));
        }
        book.add(peer, address("/ip4/10.0.0.1/tcp/30"));
        // The same with the peer's name.
        book.add(peer, address(&format!("/ip4/10.0.0.1/tcp/30/p2p/{peer}")));
        let known = book.addresses(&peer);
        assert_eq!(known.len(), MAX_ADDRESSES_PER_PEER);
        assert!(!known[1..].contains(&known[0]));
        assert_eq!(known[0], address("/ip4/10.0.0.1/tcp/30"));
        for _ in 0..MAX_KNOWN_PEERS {
            book.add(PeerId::random(), address("/ip4/10.0.0.2/tcp/1"));
        }
        assert!(book.addresses(&peer).is_empty());
        assert_eq!(book.addresses.len(), MAX_KNOWN_PEERS);
        assert_eq!(book.order.len(), MAX_KNOWN_PEERS);
    }

    #[test]
    fn an_address_names_its_last_peer() {
        let (relay, peer) = (PeerId::random(), PeerId::random());
        let relayed = address(&format!(
            "/ip4/1.2.3.4/tcp/1/p2p/{relay}/p2p-circuit/p2p/{peer}"
        ));
        assert_eq!(target(&relayed), Some(peer));
        assert!(is_relayed(&relayed) && !is_loopback(&relayed));
        assert_eq!(target(&address("/ip4/127.0.0.1/tcp/1")), None);
        assert!(is_loopback(&address("/ip4/127.0.0.1/tcp/1")));
    }
}
