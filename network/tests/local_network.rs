//! Joining through peers that some discovery has found; mDNS itself runs in the tests of the command `swarm`.
#![allow(clippy::unwrap_used, clippy::panic, reason = "test code")]

mod support;

use std::time::Duration;

use block_network::{Dht, DhtConfig, LocalPeers, LocalSearch, Multiaddr, PeerId, search_local};
use support::{PATIENCE, Running, soon, start};
use tokio::{sync::watch, time::interval};

/// How often a condition is looked at that nothing announces.
const LOOK: Duration = Duration::from_millis(20);
/// For answers that must not come.
const SHORT: Duration = Duration::from_millis(300);

struct Member {
    running: Running,
    dht: Dht,
}

impl Member {
    /// A server that begins a swarm, or joins whom it finds.
    async fn start(found: Option<&watch::Sender<LocalPeers>>) -> Self {
        let running = start().await;
        let config = DhtConfig {
            local_peers: found.map(watch::Sender::subscribe),
            initial_peer_period: Duration::from_millis(500),
            ..DhtConfig::default()
        };
        let dht = Dht::start(running.node.clone(), config);
        Self { running, dht }
    }

    async fn knows(&self, peer: PeerId) -> bool {
        self.dht.known_peers().await.contains(&peer)
    }

    fn contact(&self) -> (PeerId, Multiaddr) {
        contact(&self.running)
    }
}

fn contact(running: &Running) -> (PeerId, Multiaddr) {
    (running.node.peer_id(), running.address.clone())
}

async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    soon(what, async {
        let mut looks = interval(LOOK);
        while !condition().await {
            looks.tick().await;
        }
    })
    .await;
}

#[tokio::test]
async fn who_is_found_is_joined_through_and_strangers_are_left_alone() {
    // Speaks libp2p, as an IPFS daemon does, but not the DHT.
    let stranger = start().await;
    let gone = start().await;
    let gone_contact = contact(&gone);
    gone.node.shutdown().await;
    let server = Member::start(None).await;
    let found = watch::Sender::new(LocalPeers::from_iter([
        contact(&stranger),
        gone_contact.clone(),
        server.contact(),
    ]));
    let joins = Member::start(Some(&found)).await;
    let searched = search_local(&joins.dht, &found.subscribe(), PATIENCE, PATIENCE).await;
    assert_eq!(searched, Ok(LocalSearch::Joined));
    assert!(joins.knows(server.running.node.peer_id()).await);
    let own = joins.running.node.peer_id();
    until("the server to know of it", async || server.knows(own).await).await;
    assert!(!joins.knows(stranger.node.peer_id()).await);
    assert!(!joins.knows(gone_contact.0).await);
}

#[tokio::test]
async fn who_comes_later_is_joined_later() {
    let found = watch::Sender::new(LocalPeers::default());
    let first = Member::start(Some(&found)).await;
    let searched = search_local(&first.dht, &found.subscribe(), SHORT, SHORT).await;
    assert_eq!(searched, Ok(LocalSearch::NobodyFound));
    assert!(!first.dht.is_ready());
    let second = Member::start(None).await;
    found.send_replace(LocalPeers::from_iter([second.contact()]));
    soon("the join", first.dht.ready()).await.unwrap();
    assert!(first.knows(second.running.node.peer_id()).await);
    // Its port is another one now.
    second.running.node.shutdown().await;
    let peer = second.running.node.peer_id();
    until("it to be missed", async || !first.knows(peer).await).await;
    let third = Member::start(None).await;
    found.send_replace(LocalPeers::from_iter([third.contact()]));
    let peer = third.running.node.peer_id();
    until("the third to be known", async || first.knows(peer).await).await;
}

#[tokio::test]
async fn a_network_of_strangers_is_told_from_an_empty_one() {
    let stranger = start().await;
    let found = watch::Sender::new(LocalPeers::from_iter([contact(&stranger)]));
    let joins = Member::start(Some(&found)).await;
    let searched = search_local(&joins.dht, &found.subscribe(), PATIENCE, SHORT).await;
    assert_eq!(
        searched,
        Ok(LocalSearch::NobodyAnswered(vec![stranger.address.clone()]))
    );
}

#[tokio::test]
async fn a_node_that_was_not_asked_to_finds_nobody() {
    assert!(start().await.node.local_peers().is_none());
}
