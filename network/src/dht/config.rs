//! What the DHT driver is started with.

use std::time::Duration;

use libp2p::Multiaddr;
use tokio::sync::watch;

use crate::local_peers::LocalPeers;

/// Settings of one [`crate::Dht`].
#[derive(Debug, Clone)]
pub struct DhtConfig {
    /// Do not serve others and do not appear in their tables, as peers that cannot be dialed
    /// should not. Default: `false`.
    pub client_mode: bool,
    /// Where to join; the `/p2p/` part may be missing. Empty (the default): a swarm of our own.
    pub initial_peers: Vec<Multiaddr>,
    /// Who is found on the local network: those who answer as DHT nodes become initial peers, too. Default: nobody is
    /// looked for.
    pub local_peers: Option<watch::Receiver<LocalPeers>>,
    /// Initial peers that were silent for this long are pinged again. Default 30 s.
    pub initial_peer_period: Duration,
}

impl Default for DhtConfig {
    fn default() -> Self {
        Self {
            client_mode: false,
            initial_peers: Vec::new(),
            local_peers: None,
            initial_peer_period: Duration::from_secs(30),
        }
    }
}
