//! Why a swarm could not be joined or asked, by who must act.

use std::time::Duration;

use block_network::{DhtError, Multiaddr, NetworkError};

/// Why a swarm could not be joined or asked.
#[derive(Debug, thiserror::Error)]
pub enum SwarmError {
    /// The caller must name an address to join by.
    #[error("no initial peer was given: a client joins a swarm by the address of one of its peers")]
    NoInitialPeers,
    /// The operator must set up this machine's network.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// The operator must start a server on the local network, or name a peer by its address.
    #[error("no server was found on the local network within {} s", waited.as_secs_f64())]
    NobodyFound {
        /// How long it was tried.
        waited: Duration,
    },
    /// The operator must check the addresses, or start the peers.
    #[error("no initial peer answered within {} s", waited.as_secs_f64())]
    NobodyAnswered {
        /// How long it was tried.
        waited: Duration,
        /// Each address, at most eight, with its own reason.
        reasons: Vec<(Multiaddr, String)>,
    },
    /// Nobody need act, later it may work; or this member has been shut down.
    #[error(transparent)]
    Dht(#[from] DhtError),
}
