//! Into the swarm as a full member: listen, know the first peers, take part in the DHT.

use std::time::Duration;

use block_network::{
    Dht, DhtConfig, Keypair, Multiaddr, NetworkError, Node, NodeConfig, NodeTask,
    ReachabilityService,
};
use tokio::task::JoinSet;
use tracing::{info, warn};

use crate::error_report::{Exit, Failure};
use crate::multiaddrs;

/// What a member starts with.
#[derive(Debug, Clone)]
pub struct MemberOptions {
    /// Who it is.
    pub keypair: Keypair,
    /// Multiaddrs to listen on.
    pub listen: Vec<Multiaddr>,
    /// Whether `listen` follows from a port alone, so that a missing IPv6 is no error.
    pub listen_is_default: bool,
    /// Multiaddrs to announce; empty: those listened on.
    pub announce: Vec<Multiaddr>,
    /// Peers to join through; empty: it starts a swarm of its own.
    pub initial_peers: Vec<Multiaddr>,
    /// Longest wait for the first of them.
    pub join_timeout: Duration,
    /// Whether it only looks around: nobody calls it, and the DHT does not count on it.
    pub only_dials: bool,
}

/// A running node that takes part in the DHT.
#[derive(Debug)]
pub struct Member {
    /// The node.
    pub node: Node,
    /// Its place in the DHT.
    pub dht: Dht,
    /// Tells others whether they can be reached, from the first moment on.
    _reachability: ReachabilityService,
    task: NodeTask,
}

impl Member {
    /// Starts the node and joins through the initial peers.
    ///
    /// # Errors
    /// An address cannot be listened on (exit 71); no initial peer answered in time (69).
    pub async fn join(options: MemberOptions) -> Result<Self, Failure> {
        let (node, task) = start_node(&options).await?;
        let peers = options.initial_peers;
        let dht = Dht::start(
            node.clone(),
            DhtConfig {
                client_mode: options.only_dials,
                initial_peers: peers.clone(),
                ..DhtConfig::default()
            },
        );
        let _reachability = ReachabilityService::start(&node);
        let member = Self {
            node,
            dht,
            _reachability,
            task,
        };
        if peers.is_empty() {
            info!("this node starts a swarm of its own");
            return Ok(member);
        }
        match tokio::time::timeout(options.join_timeout, member.dht.ready()).await {
            Ok(Ok(())) => Ok(member),
            Ok(Err(error)) => {
                Err(Failure::new(Exit::Software, "the network ended").caused_by(&error))
            }
            Err(_) => {
                let failure = nobody_answered(&member.node, &peers, options.join_timeout).await;
                member.leave().await;
                Err(failure)
            }
        }
    }

    /// Closes all connections. Errors of the last moment are logged: nobody can act on them.
    pub async fn leave(self) {
        self.node.shutdown().await;
        if let Err(error) = self.task.join().await {
            warn!(%error, "the network ended badly");
        }
    }

    /// Where others can dial us, best first, each with `/p2p/`.
    pub async fn addresses(&self) -> Vec<Multiaddr> {
        let mut known = self.node.listen_addresses().await;
        // Of equal worth they stay in the node's order: announced ones come first.
        known.sort_by_key(worth);
        known
    }
}

async fn start_node(options: &MemberOptions) -> Result<(Node, NodeTask), Failure> {
    let node_config = NodeConfig {
        listen: options.listen.clone(),
        announce: options.announce.clone(),
        client_mode: options.only_dials,
        ..NodeConfig::new(options.keypair.clone())
    };
    let result = Node::start(node_config.clone()).await;
    let Err(NetworkError::Listen { address, reason }) = &result else {
        return result.map_err(|error| network_failure(&error));
    };
    // Machines without IPv6 are served on IPv4, unless IPv6 was asked for by name.
    let rest: Vec<_> = options
        .listen
        .iter()
        .filter(|other| *other != address)
        .cloned()
        .collect();
    if !options.listen_is_default || rest.is_empty() || !multiaddrs::is_ip6(address) {
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

/// Why a node cannot start.
pub fn network_failure(error: &NetworkError) -> Failure {
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
    let reasons = dials.join_all().await;
    nobody_answers(waited, reasons)
        .hint("check the addresses and that this machine's clock is right; without --initial-peers a new swarm starts")
}

/// No initial peer answered; `reasons` has a line for each address.
pub fn nobody_answers(waited: Duration, reasons: impl IntoIterator<Item = String>) -> Failure {
    let what = format!("no initial peer answered within {} s", waited.as_secs_f64());
    reasons
        .into_iter()
        .fold(Failure::new(Exit::Unavailable, what), Failure::cause)
}

/// Lower is better: other machines first, IPv4 before IPv6.
fn worth(address: &Multiaddr) -> (bool, bool) {
    (
        multiaddrs::is_loopback(address),
        multiaddrs::is_ip6(address),
    )
}

/// Peers that a failure lists.
const MAX_REPORTED_PEERS: usize = 8;
/// Longest wait for the reason of one address.
const REPORT_DIAL_TIMEOUT: Duration = Duration::from_secs(5);
