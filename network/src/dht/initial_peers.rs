//! Keeps dialing the initial peers.
//!
//! One task per address, owned by the driver, ended with it or when the address is no longer one to join through. While there is a connection to the
//! peer behind an address nothing happens; otherwise it is dialed, less and less often, for ever.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use block_protocol::dht::Command;
use libp2p::{Multiaddr, PeerId};
use tokio::{
    sync::{mpsc, oneshot},
    task::{AbortHandle, JoinSet},
    time::sleep,
};

use super::driver::Ask;
use crate::{address_book, node::Node};

/// First pause after a failed dial; doubles up to the pause between looks at a connection.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// How often the connection is looked at.
const LOOK_PERIOD: Duration = Duration::from_secs(15);

/// The tasks, by address.
#[derive(Debug)]
pub(super) struct InitialPeers {
    node: Node,
    asks: mpsc::WeakSender<Ask>,
    dials: JoinSet<()>,
    by_address: HashMap<Multiaddr, AbortHandle>,
}

impl InitialPeers {
    pub(super) fn new(node: Node, asks: mpsc::WeakSender<Ask>) -> Self {
        Self {
            node,
            asks,
            dials: JoinSet::new(),
            by_address: HashMap::new(),
        }
    }

    /// Dials these from now on and no others; returns the peers that no address names any longer.
    pub(super) fn set(&mut self, addresses: Vec<Multiaddr>) -> Vec<PeerId> {
        let before = self.peers();
        let wanted: HashSet<&Multiaddr> = addresses.iter().collect();
        for (_, dial) in self
            .by_address
            .extract_if(|known, _| !wanted.contains(known))
        {
            dial.abort();
        }
        while self.dials.try_join_next().is_some() {}
        for address in addresses {
            if !self.by_address.contains_key(&address) {
                let dialing = keep_dialing(self.node.clone(), address.clone(), self.asks.clone());
                let dial = self.dials.spawn(dialing);
                self.by_address.insert(address, dial);
            }
        }
        before.difference(&self.peers()).copied().collect()
    }

    fn peers(&self) -> HashSet<PeerId> {
        let addresses = self.by_address.keys();
        addresses.filter_map(address_book::target).collect()
    }
}

/// Runs until the driver is gone.
pub(super) async fn keep_dialing(node: Node, address: Multiaddr, asks: mpsc::WeakSender<Ask>) {
    let mut known = address_book::target(&address);
    if let Some(peer) = known {
        node.add_address(peer, address.clone()).await;
        if add_initial_peer(&asks, peer).await.is_none() {
            return;
        }
    }
    let mut next_pause = FIRST_PAUSE;
    loop {
        let connected = known.is_some_and(|peer| node.connected_peers().contains(&peer));
        let dialed = if connected {
            Ok(None)
        } else {
            node.dial(address.clone()).await.map(Some)
        };
        let pause = match dialed {
            Ok(reached) => {
                if let Some(peer) = reached
                    && on_reached(&node, &address, &asks, &mut known, peer)
                        .await
                        .is_none()
                {
                    return;
                }
                next_pause = FIRST_PAUSE;
                LOOK_PERIOD
            }
            Err(error) => {
                tracing::debug!(%address, %error, "initial peer could not be dialed");
                let pause = next_pause;
                next_pause = (next_pause * 2).min(LOOK_PERIOD);
                pause
            }
        };
        sleep(pause).await;
    }
}

/// Tells the driver about a new connection, and about the peer if another one answers than before;
/// `None` if the driver is gone.
async fn on_reached(
    node: &Node,
    address: &Multiaddr,
    asks: &mpsc::WeakSender<Ask>,
    known: &mut Option<PeerId>,
    peer: PeerId,
) -> Option<()> {
    if *known != Some(peer) {
        *known = Some(peer);
        node.add_address(peer, address.clone()).await;
        add_initial_peer(asks, peer).await?;
    }
    asks.upgrade()?.send(Ask::Connected(peer)).await.ok()
}

/// Tells the driver; `None` if it is gone. A refusal (too many initial peers) changes nothing here.
async fn add_initial_peer(asks: &mpsc::WeakSender<Ask>, peer: PeerId) -> Option<()> {
    let (reply, answer) = oneshot::channel();
    let peer = peer.to_bytes().into();
    let command = Ask::Command(Command::AddInitialPeer { peer }, reply);
    asks.upgrade()?.send(command).await.ok()?;
    answer.await.ok().map(|_| ())
}
