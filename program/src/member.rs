//! Into the swarm as a full member: listen, know the first peers, take part in the DHT.

use std::time::Duration;

use block_network::{
    Dht, DhtConfig, DhtError, Keypair, LocalSearch, Multiaddr, NetworkError, Node, NodeConfig,
    NodeTask, ReachabilityService, search_local,
};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::error_report::{Exit, Failure};
use crate::multiaddrs;
use crate::peers_file::{PeersFile, no_hangups};

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
    /// Whether it finds its first peers by mDNS, and is found: nobody there, it starts the swarm of the local network.
    pub is_on_lan: bool,
    /// Whether the router is asked to forward the port.
    pub upnp: bool,
    /// Longest wait for the first of the initial peers.
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
                local_peers: node.local_peers(),
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
        if options.is_on_lan {
            member.join_on_lan().await?;
            return Ok(member);
        }
        if peers.is_empty() {
            info!("this node starts a swarm of its own");
            return Ok(member);
        }
        match tokio::time::timeout(options.join_timeout, member.dht.ready()).await {
            Ok(Ok(())) => Ok(member),
            Ok(Err(error)) => Err(network_ended(&error)),
            Err(_) => {
                let failure = nobody_answered(&member.node, &peers, options.join_timeout).await;
                member.leave().await;
                Err(failure)
            }
        }
    }

    /// Waits for somebody on the local network; whoever comes later is joined, too.
    async fn join_on_lan(&self) -> Result<(), Failure> {
        let Some(found) = self.node.local_peers() else {
            return Ok(());
        };
        let searched = search_local(&self.dht, &found, LAN_SEARCH, LAN_ANSWER).await;
        match searched.map_err(|error| network_ended(&error))? {
            LocalSearch::Joined => info!("joined the swarm of the local network"),
            LocalSearch::NobodyFound => {
                info!("nobody was found on the local network: this node starts its swarm");
            }
            LocalSearch::NobodyAnswered(addresses) => {
                warn!(
                    ?addresses,
                    "nobody found on the local network answers as a DHT node: this node starts its swarm"
                );
            }
        }
        Ok(())
    }

    /// Closes all connections. Errors of the last moment are logged: nobody can act on them.
    pub async fn leave(self) {
        self.node.shutdown().await;
        if let Err(error) = self.task.join().await {
            warn!(%error, "the network ended badly");
        }
    }

    /// Waits for `stop`, and until then reads `file` again at every SIGHUP.
    ///
    /// # Errors
    /// The system gives no signals (exit 71).
    pub async fn until_stopped(
        &self,
        file: Option<&PeersFile>,
        stop: &CancellationToken,
    ) -> Result<(), Failure> {
        if let Some(file) = file {
            tokio::select! {
                reloading = file.reload_on_hangup(&self.dht) => {
                    reloading.map_err(|error| no_hangups(&error))?;
                }
                () = stop.cancelled() => {}
            }
        }
        stop.cancelled().await;
        Ok(())
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
        local_discovery: options.is_on_lan,
        port_mapping: options.upnp,
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

fn network_ended(error: &DhtError) -> Failure {
    Failure::new(Exit::Software, "the network ended").caused_by(error)
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

/// How long a start looks for others on the local network: mDNS asks at once, and after 0.5, 1.5 and 3.5 s.
const LAN_SEARCH: Duration = Duration::from_secs(5);
/// How much longer it waits for one of those found to answer.
const LAN_ANSWER: Duration = Duration::from_secs(10);
/// Peers that a failure lists.
const MAX_REPORTED_PEERS: usize = 8;
/// Longest wait for the reason of one address.
const REPORT_DIAL_TIMEOUT: Duration = Duration::from_secs(5);
