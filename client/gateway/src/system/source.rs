//! Where the state of the swarm comes from.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use block_client::topology::{self, Asking, Contact, Contacts, ModelTopology};
use block_client::{ModelView, Swarm};
use block_network::{Multiaddr, PeerId};
use futures::FutureExt;
use futures::future::BoxFuture;

use super::{BootstrapPeer, Topology};

/// Something that knows the state of a swarm.
pub trait TopologySource: Send + Sync + 'static {
    /// Looks now. Takes a few seconds at most; dropping it loses nothing.
    fn look(&self) -> BoxFuture<'_, Topology>;

    /// Whether a peer can be connected to: why not, in words, if it cannot. Takes a few seconds at most.
    fn reach(&self, peer: PeerId) -> BoxFuture<'_, Result<(), String>>;
}

/// A swarm that the gateway is a member of.
#[derive(Debug)]
pub struct SwarmSource {
    swarm: Swarm,
    models: Vec<(String, ModelView)>,
    bootstrap: Vec<Multiaddr>,
    shows_addresses: bool,
    doubts: Mutex<HashMap<String, Doubt>>,
    read: Mutex<Option<Instant>>,
}

/// A server that did not answer in time, though nobody said that it is gone: a busy one is given a second chance.
#[derive(Debug)]
struct Doubt {
    last: Contact,
    misses: u32,
}

impl SwarmSource {
    /// `models`: ids and views; `bootstrap`: the peers that were joined by. `shows_addresses`: IP addresses are told
    /// (`--topology-addresses`), otherwise only peer ids.
    #[must_use]
    pub fn new(
        swarm: Swarm,
        models: Vec<(String, ModelView)>,
        bootstrap: Vec<Multiaddr>,
        shows_addresses: bool,
    ) -> Self {
        Self {
            swarm,
            models,
            bootstrap,
            shows_addresses,
            doubts: Mutex::default(),
            read: Mutex::default(),
        }
    }

    async fn model(&self, id: &str, view: &ModelView) -> ModelTopology {
        let snapshot = view.snapshot();
        let asked = topology::ask(&self.swarm, &snapshot, ASKING).await;
        let mut contacts = self.with_doubts(asked);
        if !self.shows_addresses {
            for contact in contacts.values_mut() {
                contact.addresses.clear();
            }
        }
        ModelTopology::new(id, &snapshot, &contacts)
    }

    /// Keeps what was known of servers that missed one question only.
    fn with_doubts(&self, asked: Contacts) -> Contacts {
        let connected: Vec<String> = self
            .swarm
            .node()
            .connected_peers()
            .iter()
            .map(ToString::to_string)
            .collect();
        let mut doubts = self.doubts.lock().unwrap_or_else(PoisonError::into_inner);
        asked
            .into_iter()
            .map(|(peer, contact)| {
                if contact.rtt.is_some() {
                    let last = contact.clone();
                    doubts.insert(peer.clone(), Doubt { last, misses: 0 });
                    return (peer, contact);
                }
                // Without a connection there is nothing to doubt.
                let second_chance = doubts
                    .get_mut(&peer)
                    .filter(|doubt| doubt.misses == 0 && connected.contains(&peer));
                match second_chance {
                    Some(doubt) => {
                        doubt.misses += 1;
                        (peer, doubt.last.clone())
                    }
                    None => {
                        doubts.remove(&peer);
                        (peer, contact)
                    }
                }
            })
            .collect()
    }

    fn connected(&self) -> Vec<String> {
        let peers = self.swarm.node().connected_peers();
        peers.iter().map(ToString::to_string).collect()
    }

    /// Asks for the records anew if they are old, so that servers that come are seen soon.
    fn refresh(&self) {
        let now = Instant::now();
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if read.is_some_and(|read| now.duration_since(read) < REFRESH_PERIOD) {
            return;
        }
        *read = Some(now);
        for (_, view) in &self.models {
            view.refresh_soon();
        }
    }

    fn bootstrap(&self) -> Vec<BootstrapPeer> {
        let connected = self.connected();
        let peers = self.bootstrap.iter().map(|address| {
            let text = address.to_string();
            let id = text.rsplit_once("/p2p/").map(|(_, id)| id.to_owned());
            let is_online = id.as_ref().is_some_and(|id| connected.contains(id));
            BootstrapPeer {
                address: match id {
                    _ if self.shows_addresses => text,
                    Some(id) => format!("/p2p/{id}"),
                    None => "unnamed".to_owned(),
                },
                state: if is_online { "online" } else { "offline" },
            }
        });
        peers.collect()
    }
}

impl TopologySource for SwarmSource {
    fn look(&self) -> BoxFuture<'_, Topology> {
        async move {
            self.refresh();
            let models = self.models.iter().map(|(id, view)| self.model(id, view));
            let models = futures::future::join_all(models).await;
            let listen_addresses = if self.shows_addresses {
                let addresses = self.swarm.node().listen_addresses().await;
                addresses.iter().map(ToString::to_string).collect()
            } else {
                Vec::new()
            };
            Topology {
                models,
                bootstrap: self.bootstrap(),
                listen_addresses,
            }
        }
        .boxed()
    }

    fn reach(&self, peer: PeerId) -> BoxFuture<'_, Result<(), String>> {
        async move {
            let connecting = self.swarm.node().connect(peer);
            match tokio::time::timeout(REACH_DEADLINE, connecting).await {
                Ok(Ok(())) => Ok(()),
                Ok(Err(error)) => Err(error.to_string()),
                Err(_) => Err(format!(
                    "no connection within {} s: a firewall may be in the way",
                    REACH_DEADLINE.as_secs()
                )),
            }
        }
        .boxed()
    }
}

/// How servers are asked while a page looks: all at the same time, and none holds the others up for long.
const ASKING: Asking = Asking {
    at_once: 256,
    deadline: Duration::from_secs(2),
};
/// How often the records are read while somebody looks.
const REFRESH_PERIOD: Duration = Duration::from_secs(10);
/// How long a peer has to be reached, as Petals' monitor gives it.
const REACH_DEADLINE: Duration = Duration::from_secs(5);
