//! Peers of the local network, as mDNS finds them: where a node without an address may join.
//!
//! libp2p's mDNS says what it likes about anybody on the network, so what is kept here is bounded and could be dialed.
//! Whether it is a peer of ours shows when it is called.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddrV4, UdpSocket},
    time::Duration,
};

use libp2p::{Multiaddr, PeerId, mdns, multiaddr::Protocol};
use tokio::{sync::watch, time::timeout};

use crate::{
    dht::{Dht, DhtError},
    limits::{MAX_ADDRESSES_PER_PEER, MAX_LOCAL_PEERS, MAX_LOCAL_PEERS_PER_IP},
};

/// Who announces itself on the local network now, and where; at most 64 peers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LocalPeers(BTreeMap<PeerId, Vec<Multiaddr>>);

/// How a search on the local network ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LocalSearch {
    /// A peer answered, and we have joined through it.
    Joined,
    /// Nobody announces itself.
    NobodyFound,
    /// These addresses were found; none of them answered as a DHT node.
    NobodyAnswered(Vec<Multiaddr>),
}

impl LocalSearch {
    /// How a search ends in which nobody of `found` has answered.
    #[must_use]
    pub fn unanswered(found: &watch::Receiver<LocalPeers>) -> Self {
        let found = found.borrow();
        if found.is_empty() {
            return Self::NobodyFound;
        }
        let addresses = found.iter().flat_map(|(_, addresses)| addresses).cloned();
        Self::NobodyAnswered(addresses.collect())
    }
}

impl LocalPeers {
    /// Remembers what was found; `false` if that changes nothing, as an address that nobody could dial.
    pub fn found(&mut self, peer: PeerId, address: Multiaddr) -> bool {
        let Some(address) = dialable(peer, address).filter(|address| self.has_room(peer, address))
        else {
            return false;
        };
        let addresses = self.0.entry(peer).or_default();
        let is_new = !addresses.contains(&address) && addresses.len() < MAX_ADDRESSES_PER_PEER;
        if is_new {
            addresses.push(address);
        }
        is_new
    }

    /// Whether one more address fits. One machine that invents peers must not keep all others out.
    fn has_room(&self, peer: PeerId, address: &Multiaddr) -> bool {
        if self.0.contains_key(&peer) {
            return true;
        }
        let is_there = |known: &&Vec<Multiaddr>| {
            let mut known = known.iter();
            known.any(|known| known.iter().next() == address.iter().next())
        };
        self.0.len() < MAX_LOCAL_PEERS
            && self.0.values().filter(is_there).count() < MAX_LOCAL_PEERS_PER_IP
    }

    /// Forgets what is no longer announced; `false` if that changes nothing.
    pub fn gone(&mut self, peer: PeerId, address: Multiaddr) -> bool {
        let (Some(address), Some(addresses)) = (dialable(peer, address), self.0.get_mut(&peer))
        else {
            return false;
        };
        let before = addresses.len();
        addresses.retain(|known| *known != address);
        let changed = addresses.len() < before;
        if addresses.is_empty() {
            self.0.remove(&peer);
        }
        changed
    }

    /// Whether nobody is there.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Every peer with its addresses, each of which ends in `/p2p/PEER`.
    pub fn iter(&self) -> impl Iterator<Item = (PeerId, &[Multiaddr])> {
        self.0
            .iter()
            .map(|(peer, addresses)| (*peer, addresses.as_slice()))
    }

    /// Takes what libp2p tells; `false` if that changes nothing.
    pub(crate) fn take(&mut self, event: mdns::Event) -> bool {
        let mut changed = false;
        match event {
            mdns::Event::Discovered(found) => {
                for (peer, address) in found {
                    changed |= self.found(peer, address);
                }
            }
            mdns::Event::Expired(gone) => {
                for (peer, address) in gone {
                    changed |= self.gone(peer, address);
                }
            }
        }
        changed
    }
}

/// Peers that another way of discovery has found, with their addresses taken as they are.
impl FromIterator<(PeerId, Multiaddr)> for LocalPeers {
    fn from_iter<T: IntoIterator<Item = (PeerId, Multiaddr)>>(found: T) -> Self {
        let mut peers: BTreeMap<PeerId, Vec<Multiaddr>> = BTreeMap::new();
        for (peer, address) in found {
            if peers.len() < MAX_LOCAL_PEERS || peers.contains_key(&peer) {
                peers.entry(peer).or_default().push(address);
            }
        }
        Self(peers)
    }
}

/// Waits until `dht` has joined through a peer of `found`: `search` for the first one to be found, then
/// `answer` for one to answer. The DHT goes on looking after that.
///
/// # Errors
/// `Stopped`.
pub async fn search_local(
    dht: &Dht,
    found: &watch::Receiver<LocalPeers>,
    search: Duration,
    answer: Duration,
) -> Result<LocalSearch, DhtError> {
    let mut found = found.clone();
    let somebody = async {
        // A sender that is gone finds nobody: the node has stopped, which `ready` tells.
        let _ = found.wait_for(|found| !found.is_empty()).await;
    };
    let first = timeout(search, async {
        tokio::select! {
            ready = dht.ready() => ready.map(|()| true),
            () = somebody => Ok(false),
        }
    });
    match first.await {
        Ok(Ok(true)) => return Ok(LocalSearch::Joined),
        Ok(Ok(false)) => {}
        Ok(Err(error)) => return Err(error),
        Err(_) => return Ok(LocalSearch::NobodyFound),
    }
    match timeout(answer, dht.ready()).await {
        Ok(ready) => ready.map(|()| LocalSearch::Joined),
        Err(_) => Ok(LocalSearch::unanswered(&found)),
    }
}

/// Whether this machine can send to mDNS' group at all, and from which address it would; nothing is sent.
///
/// # Errors
/// The system's own: usually that no interface leads there.
pub fn multicast_source() -> std::io::Result<Ipv4Addr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.connect(MDNS_GROUP)?;
    let source = match socket.local_addr()?.ip() {
        std::net::IpAddr::V4(ip) => ip,
        std::net::IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
    };
    socket.join_multicast_v4(MDNS_GROUP.ip(), &source)?;
    Ok(source)
}

/// RFC 6762.
const MDNS_GROUP: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(224, 0, 0, 251), 5353);

/// `address` with the peer's name at its end, if another machine of the network could dial it.
fn dialable(peer: PeerId, address: Multiaddr) -> Option<Multiaddr> {
    let mut parts = address.iter();
    let has_ip = match parts.next()? {
        Protocol::Ip4(ip) => {
            !(ip.is_loopback() || ip.is_unspecified() || ip.is_multicast() || ip.is_broadcast())
        }
        // A link-local address needs the name of an interface, which a multiaddr lacks.
        Protocol::Ip6(ip) => {
            !(ip.is_loopback()
                || ip.is_unspecified()
                || ip.is_multicast()
                || ip.is_unicast_link_local())
        }
        _ => false,
    };
    let has_port = matches!(parts.next()?, Protocol::Tcp(port) if port != 0);
    let names_it = match (parts.next(), parts.next()) {
        (None, _) => false,
        (Some(Protocol::P2p(named)), None) if named == peer => true,
        _ => return None,
    };
    (has_ip && has_port).then(|| {
        if names_it {
            address.clone()
        } else {
            address.clone().with(Protocol::P2p(peer))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Multiaddr {
        text.parse().unwrap()
    }

    #[test]
    fn only_addresses_that_another_machine_could_dial_are_kept() {
        let (peer, other) = (PeerId::random(), PeerId::random());
        let mut found = LocalPeers::default();
        for useless in [
            "/ip4/127.0.0.1/tcp/1".to_owned(),
            "/ip6/::1/tcp/1".to_owned(),
            "/ip4/0.0.0.0/tcp/1".to_owned(),
            "/ip4/224.0.0.251/tcp/1".to_owned(),
            "/ip6/fe80::1/tcp/1".to_owned(),
            "/ip4/10.0.0.1/tcp/0".to_owned(),
            "/ip4/10.0.0.1/udp/1/quic-v1".to_owned(),
            "/dns4/example.org/tcp/1".to_owned(),
            format!("/ip4/10.0.0.1/tcp/1/p2p/{other}"),
            format!("/ip4/10.0.0.1/tcp/1/p2p/{other}/p2p-circuit/p2p/{peer}"),
        ] {
            assert!(!found.found(peer, address(&useless)), "{useless}");
        }
        assert!(found.is_empty());
        let named = address(&format!("/ip4/10.0.0.1/tcp/1/p2p/{peer}"));
        assert!(found.found(peer, address("/ip4/10.0.0.1/tcp/1")));
        assert!(!found.found(peer, named.clone()), "known");
        assert!(found.found(peer, address("/ip6/fd00::2/tcp/1")));
        let kept: Vec<_> = found.iter().collect();
        assert_eq!(kept.len(), 1);
        assert_eq!(kept[0].1[0], named);
    }

    #[test]
    fn peers_and_their_addresses_are_bounded_and_forgotten() {
        let mut found = LocalPeers::default();
        let peers: Vec<_> = (0..MAX_LOCAL_PEERS).map(|_| PeerId::random()).collect();
        let at = |place: usize, port: usize| {
            let machine = place / MAX_LOCAL_PEERS_PER_IP;
            address(&format!("/ip4/10.0.0.{machine}/tcp/{port}"))
        };
        for (place, peer) in peers.iter().enumerate() {
            for port in 1..=40 {
                found.found(*peer, at(place, port));
            }
        }
        assert!(!found.found(PeerId::random(), address("/ip4/10.0.9.1/tcp/1")));
        let counts = found.iter().map(|(_, addresses)| addresses.len());
        assert_eq!(counts.max(), Some(MAX_ADDRESSES_PER_PEER));
        for (place, peer) in peers.iter().enumerate() {
            for port in 1..=40 {
                found.gone(*peer, at(place, port));
            }
        }
        assert!(found.is_empty());
        assert!(found.found(PeerId::random(), address("/ip4/10.0.0.1/tcp/1")));
    }

    #[test]
    fn a_machine_that_invents_peers_keeps_nobody_else_out() {
        let mut found = LocalPeers::default();
        let invented = (0..MAX_LOCAL_PEERS)
            .filter(|_| found.found(PeerId::random(), address("/ip4/10.0.0.1/tcp/1")));
        assert_eq!(invented.count(), MAX_LOCAL_PEERS_PER_IP);
        assert!(found.found(PeerId::random(), address("/ip4/10.0.0.2/tcp/1")));
    }
}
