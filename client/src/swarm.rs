//! Membership of one swarm: one node, one DHT member, one live view per model.

use std::sync::Arc;
use std::time::Duration;

use block_network::{Dht, Keypair, Multiaddr, Node};

use crate::model_view::ModelView;
use crate::registry::RegisteredModel;
use crate::swarm_error::SwarmError;

/// Settings of a [`Swarm`].
#[derive(Debug, Clone)]
pub struct SwarmConfig {
    /// Where to join; at least one. The `/p2p/` part may be missing.
    pub initial_peers: Vec<Multiaddr>,
    /// How long to wait until one of them answers. Default 60 s.
    pub join_timeout: Duration,
    /// Who we are. Default: a throw-away identity.
    pub keypair: Option<Keypair>,
    /// How often views read the records anew. Default 60 s.
    pub refresh_period: Duration,
}

impl SwarmConfig {
    /// The defaults, joining by `initial_peers`.
    #[must_use]
    pub fn new(initial_peers: Vec<Multiaddr>) -> Self {
        Self {
            initial_peers,
            join_timeout: Duration::from_secs(60),
            keypair: None,
            refresh_period: Duration::from_secs(60),
        }
    }
}

/// A member of a swarm that only dials. Cheap to clone; the connections end with the last clone and the last view.
#[derive(Debug, Clone)]
pub struct Swarm(Arc<Shared>);

#[derive(Debug)]
struct Shared {}

impl Swarm {
    /// Joins. Dropping it leaves nothing behind.
    ///
    /// # Errors
    /// `NoInitialPeers`, `Network`, `NobodyAnswered`.
    pub async fn join(config: SwarmConfig) -> Result<Self, SwarmError> {
        let _ = config;
        unimplemented!()
    }

    /// The node whose connections everything here shares.
    #[must_use]
    pub fn node(&self) -> &Node {
        unimplemented!()
    }

    /// The DHT member.
    #[must_use]
    pub fn dht(&self) -> &Dht {
        unimplemented!()
    }

    /// The models that the swarm lists, by prefix.
    ///
    /// # Errors
    /// `Dht`.
    pub async fn registry(&self) -> Result<Vec<RegisteredModel>, SwarmError> {
        unimplemented!()
    }

    /// The live view of a model; the same one for everybody who asks for it.
    #[must_use]
    pub fn view(&self, dht_prefix: &str, num_blocks: usize) -> ModelView {
        let _ = (dht_prefix, num_blocks);
        unimplemented!()
    }

    /// Ends every connection and task.
    pub async fn shutdown(&self) {
        unimplemented!()
    }
}
