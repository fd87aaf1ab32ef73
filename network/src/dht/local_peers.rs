//! Joins through peers that were found on the local network.
//!
//! One task, owned by the driver, and under it one for each peer found. A found peer is asked first whether it is of
//! the DHT at all: other programs announce themselves by the same mDNS, and are left alone. Who answers becomes an
//! initial peer for as long as it announces itself.

use std::{collections::HashMap, time::Duration};

use block_protocol::dht::{CallFailure, Command, Outcome};
use libp2p::{Multiaddr, PeerId};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::{AbortHandle, JoinSet},
    time::sleep,
};

use super::{driver::Ask, initial_peers};
use crate::{local_peers::LocalPeers, node::Node};

/// First pause after a peer did not answer; doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// A peer that speaks libp2p but not this DHT is asked again after this: it may have been restarted as one of ours.
const STRANGER_PAUSE: Duration = Duration::from_secs(300);

/// Runs until the node has stopped.
pub(super) async fn follow(
    node: Node,
    mut found: watch::Receiver<LocalPeers>,
    asks: mpsc::WeakSender<Ask>,
) {
    let mut meetings = JoinSet::new();
    // As many as are found, which is bounded.
    let mut known: HashMap<PeerId, AbortHandle> = HashMap::new();
    loop {
        let now: HashMap<PeerId, Vec<Multiaddr>> = found
            .borrow_and_update()
            .iter()
            .map(|(peer, addresses)| (peer, addresses.to_vec()))
            .collect();
        for (peer, meeting) in known.extract_if(|peer, _| !now.contains_key(peer)) {
            tracing::debug!(%peer, "no longer announced on the local network");
            meeting.abort();
            let peer = peer.to_bytes().into();
            if command(&asks, Command::RemoveInitialPeer { peer })
                .await
                .is_none()
            {
                return;
            }
        }
        for (peer, addresses) in now {
            for address in &addresses {
                node.add_address(peer, address.clone()).await;
            }
            if let Some(address) = addresses.into_iter().next() {
                known.entry(peer).or_insert_with(|| {
                    meetings.spawn(meet(node.clone(), peer, address, asks.clone()))
                });
            }
        }
        while meetings.try_join_next().is_some() {}
        if found.changed().await.is_err() {
            return;
        }
    }
}

/// Asks until the peer answers as a DHT node, then keeps to it.
async fn meet(node: Node, peer: PeerId, address: Multiaddr, asks: mpsc::WeakSender<Ask>) {
    let mut next_pause = FIRST_PAUSE;
    loop {
        let ping = Command::Ping {
            peer: peer.to_bytes().into(),
        };
        let failure = match command(&asks, ping).await {
            Some(Outcome::Pinged(Ok(_))) => break,
            Some(Outcome::Pinged(Err(failure))) => failure,
            Some(_) => CallFailure::Overloaded,
            None => return,
        };
        tracing::debug!(%peer, %address, %failure, "found on the local network, but does not answer as a DHT node");
        if failure == CallFailure::NotServed {
            sleep(STRANGER_PAUSE).await;
        } else {
            sleep(next_pause).await;
            next_pause = (next_pause * 2).min(LONGEST_PAUSE);
        }
    }
    tracing::info!(%peer, %address, "found on the local network");
    initial_peers::keep_dialing(node, address, asks).await;
}

/// What became of a command; `None` if the driver is gone.
async fn command(asks: &mpsc::WeakSender<Ask>, command: Command) -> Option<Outcome> {
    let (reply, outcome) = oneshot::channel();
    asks.upgrade()?
        .send(Ask::Command(command, reply))
        .await
        .ok()?;
    outcome.await.ok()
}
