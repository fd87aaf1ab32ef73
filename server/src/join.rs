//! Into the swarm: listen, know the first peers, take part in the DHT.

use std::time::Duration;

use block_network::{
    Dht, DhtConfig, Keypair, Multiaddr, NetworkError, Node, NodeConfig, NodeTask,
    ReachabilityService,
};
use tokio::task::JoinSet;
use tracing::{info, warn};

use crate::addresses::{self, Announce};
use crate::config::Config;
use block_program::{Exit, Failure};

/// A running node that takes part in the DHT.
pub(crate) struct Swarm {
    pub(crate) node: Node,
    pub(crate) dht: Dht,
    /// Tells others whether they can be reached, from the first moment on.
    _reachability: ReachabilityService,
    task: NodeTask,
}

impl Swarm {
    /// Closes all connections. Errors of the last moment are logged: nobody can act on them.
    pub(crate) async fn leave(self) {
        self.node.shutdown().await;
        if let Err(error) = self.task.join().await {
            warn!(%error, "the network ended badly");
        }
    }

    /// Where others can dial us, best first, each with `/p2p/`.
    pub(crate) async fn addresses(&self) -> Vec<Multiaddr> {
        let mut known = self.node.listen_addresses().await;
        // Of equal worth they stay in the node's order: announced ones come first.
        known.sort_by_key(worth);
        known
    }
}

/// Starts the node and joins through the initial peers.
///
/// # Errors
/// An address cannot be listened on (exit 71); no initial peer answered in time (69).
pub(crate) async fn join(config: &Config, keypair: Keypair) -> Result<Swarm, Failure> {
    let (node, task) = start_node(config, keypair).await?;
    let peers = config.swarm.initial_peers();
    let dht = Dht::start(
        node.clone(),
        DhtConfig {
            initial_peers: peers.to_vec(),
            ..DhtConfig::default()
        },
    );
    let _reachability = ReachabilityService::start(&node);
    let swarm = Swarm {
        node,
        dht,
        _reachability,
        task,
    };
    if peers.is_empty() {
        info!("this server starts a swarm of its own");
        return Ok(swarm);
    }
    match tokio::time::timeout(config.join_timeout, swarm.dht.ready()).await {
        Ok(Ok(())) => Ok(swarm),
        Ok(Err(error)) => Err(Failure::new(Exit::Software, "the network ended").caused_by(&error)),
        Err(_) => {
            let failure = nobody_answered(&swarm.node, peers, config.join_timeout).await;
            swarm.leave().await;
            Err(failure)
        }
    }
}

async fn start_node(config: &Config, keypair: Keypair) -> Result<(Node, NodeTask), Failure> {
    let announce = match &config.announce {
        Announce::Listening => Vec::new(),
        Announce::Fixed(addresses) => addresses.clone(),
    };
    let node_config = NodeConfig {
        listen: config.listen.clone(),
        announce,
        ..NodeConfig::new(keypair)
    };
    let result = Node::start(node_config.clone()).await;
    let Err(NetworkError::Listen { address, reason }) = &result else {
        return result.map_err(|error| network_failure(&error));
    };
    // Machines without IPv6 are served on IPv4, unless IPv6 was asked for by name.
    let rest: Vec<_> = config
        .listen
        .iter()
        .filter(|other| *other != address)
        .cloned()
        .collect();
    if !config.listen_is_default || rest.is_empty() || !addresses::is_ip6(address) {
        return result.map_err(|error| network_failure(&error));
    }
    warn!(%address, %reason, "IPv6 cannot be used here");
    Node::start(NodeConfig {
        listen: rest,
        ..node_config
    })
    .await
    .map_err(|error| network_failure(&error))
}

fn network_failure(error: &NetworkError) -> Failure {
    match error {
        NetworkError::Listen { address, reason } => {
            Failure::new(Exit::OsError, format!("cannot listen on {address}"))
                .cause(reason)
                .hint("--port 0 takes a free port")
        }
        NetworkError::Transport { .. } => {
            Failure::new(Exit::OsError, "the network cannot be used").caused_by(error)
        }
    }
}

/// Asks each peer once more, so that each address gets its own reason.
async fn nobody_answered(node: &Node, peers: &[Multiaddr], waited: Duration) -> Failure {
    let mut dials = JoinSet::new();
    for address in peers.iter().take(MAX_REPORTED_PEERS) {
        let (node, address) = (node.clone(), address.clone());
        dials.spawn(async move {
            let dialed =
                tokio::time::timeout(REPORT_DIAL_TIMEOUT, node.dial(address.clone())).await;
            match dialed {
                Ok(Ok(_)) => format!("{address}: connects, but does not answer as a DHT node"),
                Ok(Err(error)) => format!("{address}: {error}"),
                Err(_) => format!(
                    "{address}: no connection within {} s",
                    REPORT_DIAL_TIMEOUT.as_secs()
                ),
            }
        });
    }
    let what = format!("no initial peer answered within {} s", waited.as_secs_f64());
    dials
        .join_all()
        .await
        .into_iter()
        .fold(Failure::new(Exit::Unavailable, what), Failure::cause)
        .hint("check the addresses and that this machine's clock is right; without --initial-peers a new swarm starts")
}

/// Lower is better: other machines first, IPv4 before IPv6.
fn worth(address: &Multiaddr) -> (bool, bool) {
    (addresses::is_loopback(address), addresses::is_ip6(address))
}

/// Peers that a failure lists.
const MAX_REPORTED_PEERS: usize = 8;
/// Longest wait for the reason of one address.
const REPORT_DIAL_TIMEOUT: Duration = Duration::from_secs(5);
