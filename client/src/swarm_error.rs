//! Why a swarm could not be joined, or a model not be used.

use std::time::Duration;

use block_network::{DhtError, Multiaddr, NetworkError};

/// Why a swarm could not be joined or asked.
#[derive(Debug, thiserror::Error)]
pub enum SwarmError {
    /// No address to join by. The caller must name one.
    #[error("no initial peer was given: a client needs at least one address to join a swarm")]
    NoInitialPeers,
    /// The node could not start.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// No initial peer answered in time.
    #[error("no initial peer answered within {} s", waited.as_secs_f64())]
    NobodyAnswered {
        /// How long it was tried.
        waited: Duration,
        /// Each address with its own reason, at most eight.
        reasons: Vec<(Multiaddr, String)>,
    },
    /// The DHT did not do what was asked.
    #[error(transparent)]
    Dht(#[from] DhtError),
    /// The model has no usable name in the swarm.
    #[error("no name for the model in the swarm: {0}")]
    Prefix(String),
}
