//! Asking servers themselves: do they answer, how fast, where are they?

use std::time::{Duration, Instant};

use block_client::{Swarm, ViewSnapshot};
use block_network::{DhtError, PeerId};
use block_protocol::dht::CallFailure;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::Contacts;

/// What one server answered.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Contact {
    /// Round trip of a ping; `None` if it does not answer.
    pub(crate) rtt: Option<Duration>,
    /// Multiaddrs that it tells of.
    pub(crate) addresses: Vec<String>,
}

impl Contact {
    /// For maps that believe the records: the server is taken to answer.
    pub(crate) fn believed() -> Self {
        Self {
            rtt: Some(Duration::ZERO),
            addresses: Vec::new(),
        }
    }
}

/// Asks every server of the view, some at a time.
pub(crate) async fn all(swarm: &Swarm, snapshot: &ViewSnapshot) -> Contacts {
    let mut contacts = Contacts::new();
    for some in snapshot.servers.chunks(AT_ONCE) {
        let mut asked = JoinSet::new();
        for server in some {
            let (swarm, peer) = (swarm.clone(), server.peer);
            asked.spawn(async move { (peer.to_string(), one(&swarm, peer).await) });
        }
        contacts.extend(asked.join_all().await);
    }
    contacts
}

async fn one(swarm: &Swarm, peer: PeerId) -> Contact {
    let connected = timeout(CONNECT_DEADLINE, swarm.node().connect(peer)).await;
    if !matches!(connected, Ok(Ok(()))) {
        return Contact::default();
    }
    let rtt = ping(swarm, peer).await.ok();
    let addresses = swarm.node().addresses(peer).await;
    Contact {
        rtt,
        addresses: addresses.iter().map(ToString::to_string).collect(),
    }
}

/// Round trip of a ping on an open connection. A peer that serves no pings answers all the same.
///
/// # Errors
/// It does not answer.
pub(crate) async fn ping(swarm: &Swarm, peer: PeerId) -> Result<Duration, DhtError> {
    let sent = Instant::now();
    match swarm.dht().ping(peer).await {
        Err(DhtError::NoAnswer(CallFailure::NotServed)) => Ok(sent.elapsed()),
        other => other,
    }
}

/// Servers asked at the same time.
const AT_ONCE: usize = 32;
/// How long one may take to be reached: a map should not wait for dead machines.
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);
