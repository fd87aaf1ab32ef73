//! Asking servers themselves: do they answer, how fast, where are they?

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use block_network::{DhtError, PeerId};
use block_protocol::dht::CallFailure;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::model_view::ViewSnapshot;
use crate::swarm::Swarm;

/// What was found out about servers by asking them, by peer id.
pub type Contacts = BTreeMap<String, Contact>;

/// How servers are asked.
#[derive(Debug, Clone, Copy)]
pub struct Asking {
    /// Servers asked at the same time.
    pub at_once: usize,
    /// How long one may take to be reached, and then to answer.
    pub deadline: Duration,
}

impl Default for Asking {
    /// For a map that is made once: it should not wait for dead machines.
    fn default() -> Self {
        Self {
            at_once: 32,
            deadline: Duration::from_secs(5),
        }
    }
}

/// What one server answered.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Contact {
    /// Round trip of a ping; `None` if it does not answer.
    pub rtt: Option<Duration>,
    /// Multiaddrs that it tells of.
    pub addresses: Vec<String>,
}

impl Contact {
    /// For maps that believe the records: the server is taken to answer.
    #[must_use]
    pub fn believed() -> Self {
        Self {
            rtt: Some(Duration::ZERO),
            addresses: Vec::new(),
        }
    }
}

/// Asks every server of a view, some at a time. Dropping it loses nothing.
pub async fn ask(swarm: &Swarm, snapshot: &ViewSnapshot, asking: Asking) -> Contacts {
    let mut contacts = Contacts::new();
    for some in snapshot.servers.chunks(asking.at_once.max(1)) {
        let mut asked = JoinSet::new();
        for server in some {
            let (swarm, peer) = (swarm.clone(), server.peer);
            asked
                .spawn(async move { (peer.to_string(), one(&swarm, peer, asking.deadline).await) });
        }
        contacts.extend(asked.join_all().await);
    }
    contacts
}

async fn one(swarm: &Swarm, peer: PeerId, deadline: Duration) -> Contact {
    let connected = timeout(deadline, swarm.node().connect(peer)).await;
    if !matches!(connected, Ok(Ok(()))) {
        return Contact::default();
    }
    let rtt = timeout(deadline, ping(swarm, peer)).await;
    let rtt = rtt.ok().and_then(Result::ok);
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
pub async fn ping(swarm: &Swarm, peer: PeerId) -> Result<Duration, DhtError> {
    let sent = Instant::now();
    match swarm.dht().ping(peer).await {
        Err(DhtError::NoAnswer(CallFailure::NotServed)) => Ok(sent.elapsed()),
        other => other,
    }
}
