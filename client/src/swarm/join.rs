//! Into the swarm, or why not.

use std::time::Duration;

use block_network::{
    Dht, DhtConfig, LocalPeers, LocalSearch, Multiaddr, Node, NodeConfig, NodeTask, identity,
    search_local,
};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::SwarmConfig;
use crate::swarm_error::SwarmError;

/// Our name and version, as told to others.
const AGENT: &str = concat!("block-client/", env!("CARGO_PKG_VERSION"));
/// How long somebody is looked for on the local network: mDNS asks at once, and after 0.5, 1.5, 3.5 and 7.5 s.
const LAN_SEARCH: Duration = Duration::from_secs(10);
/// How much longer it may take until one of those found answers.
const LAN_ANSWER: Duration = Duration::from_secs(10);
/// Peers whose reasons an error lists.
const MAX_REPORTED_PEERS: usize = 8;
/// Longest wait for the reason of one address.
const REPORT_DIAL_TIMEOUT: Duration = Duration::from_secs(5);

/// A node that only dials, and a DHT member that an initial peer has answered.
pub(super) async fn join(config: &SwarmConfig) -> Result<(Node, Dht, NodeTask), SwarmError> {
    let initial_peers = config.initial_peers.clone();
    if initial_peers.is_empty() && !config.local_network {
        return Err(SwarmError::NoInitialPeers);
    }
    let keypair = config.keypair.clone();
    let node_config = NodeConfig {
        client_mode: true,
        agent: AGENT.to_owned(),
        local_discovery: config.local_network,
        ..NodeConfig::new(keypair.unwrap_or_else(identity::ephemeral))
    };
    let (node, task) = Node::start(node_config).await?;
    let dht_config = DhtConfig {
        client_mode: true,
        initial_peers,
        local_peers: node.local_peers(),
        ..DhtConfig::default()
    };
    let dht = Dht::start(node.clone(), dht_config);
    let joined = match node.local_peers() {
        Some(found) if config.initial_peers.is_empty() => on_lan(config, &node, &dht, &found).await,
        _ => by_initial_peers(config, &node, &dht).await,
    };
    match joined {
        Ok(()) => Ok((node, dht, task)),
        Err(error) => {
            node.shutdown().await;
            Err(error)
        }
    }
}

async fn by_initial_peers(config: &SwarmConfig, node: &Node, dht: &Dht) -> Result<(), SwarmError> {
    match timeout(config.join_timeout, dht.ready()).await {
        Ok(ready) => Ok(ready?),
        Err(_) => Err(SwarmError::NobodyAnswered {
            waited: config.join_timeout,
            reasons: reasons(node, &config.initial_peers).await,
        }),
    }
}

async fn on_lan(
    config: &SwarmConfig,
    node: &Node,
    dht: &Dht,
    found: &watch::Receiver<LocalPeers>,
) -> Result<(), SwarmError> {
    let began = Instant::now();
    let search = config.join_timeout.min(LAN_SEARCH);
    let searching = search_local(dht, found, search, LAN_ANSWER);
    let ended = match timeout(config.join_timeout, searching).await {
        Ok(ended) => ended?,
        Err(_) => LocalSearch::unanswered(found),
    };
    match ended {
        LocalSearch::Joined => Ok(()),
        LocalSearch::NobodyFound => Err(SwarmError::NobodyFound { waited: search }),
        LocalSearch::NobodyAnswered(addresses) => Err(SwarmError::NobodyAnswered {
            waited: began.elapsed(),
            reasons: reasons(node, &addresses).await,
        }),
    }
}

/// Asks each peer once more, so that each address gets its own reason.
async fn reasons(node: &Node, peers: &[Multiaddr]) -> Vec<(Multiaddr, String)> {
    let mut dials = JoinSet::new();
    for (place, address) in peers.iter().take(MAX_REPORTED_PEERS).enumerate() {
        let (node, address) = (node.clone(), address.clone());
        dials.spawn(async move {
            let reason = match timeout(REPORT_DIAL_TIMEOUT, node.dial(address.clone())).await {
                Ok(Ok(_)) => "connects, but does not answer as a DHT node".to_owned(),
                Ok(Err(error)) => error.to_string(),
                Err(_) => format!("no connection within {} s", REPORT_DIAL_TIMEOUT.as_secs()),
            };
            (place, address, reason)
        });
    }
    let mut reasons = dials.join_all().await;
    reasons.sort_by_key(|(place, ..)| *place);
    let reasons = reasons.into_iter();
    reasons
        .map(|(_, address, reason)| (address, reason))
        .collect()
}
