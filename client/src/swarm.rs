//! Membership of one swarm: one node, one DHT member, one live view per model.

mod join;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use block_network::{Dht, Keypair, Multiaddr, Node, NodeTask};

use crate::model_view::{Handle, ModelView};
use crate::registry::{self, RegisteredModel};
use crate::swarm_error::SwarmError;

/// Settings of a [`Swarm`]. [`SwarmConfig::new`] fills in defaults.
#[derive(Debug, Clone)]
pub struct SwarmConfig {
    /// Where to join; at least one, unless the local network is searched. The `/p2p/` part may be missing.
    pub initial_peers: Vec<Multiaddr>,
    /// Join through whoever announces itself on the local network by mDNS. Default: `false`, and none is asked.
    pub local_network: bool,
    /// How long to wait until one of them answers; on the local network 20 s at most. Default 60 s.
    pub join_timeout: Duration,
    /// Who we are. Default: a throw-away identity.
    pub keypair: Option<Keypair>,
    /// How often views read the records anew, 1 s at least. Default 60 s, as Petals' clients do.
    pub refresh_period: Duration,
}

/// Petals' figure for its daemon.
const JOIN_TIMEOUT: Duration = Duration::from_secs(60);
/// Petals' figure.
const REFRESH_PERIOD: Duration = Duration::from_secs(60);

impl SwarmConfig {
    /// The defaults, joining by `initial_peers`.
    #[must_use]
    pub fn new(initial_peers: Vec<Multiaddr>) -> Self {
        Self {
            initial_peers,
            local_network: false,
            join_timeout: JOIN_TIMEOUT,
            keypair: None,
            refresh_period: REFRESH_PERIOD,
        }
    }

    /// The defaults, joining by whoever is found on the local network.
    #[must_use]
    pub fn of_local_network() -> Self {
        Self {
            local_network: true,
            ..Self::new(Vec::new())
        }
    }
}

/// A member of a swarm that only dials. Cheap to clone; connections and tasks end with the last clone and the last view.
#[derive(Debug, Clone)]
pub struct Swarm(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    node: Node,
    dht: Dht,
    /// Taken by the shutdown.
    task: Mutex<Option<NodeTask>>,
    refresh_period: Duration,
    /// By prefix and number of blocks. Views without handles are forgotten when the next one is asked for.
    views: Mutex<HashMap<(String, usize), Weak<Handle>>>,
}

impl Swarm {
    /// Joins through the first initial peer that answers. Dropping it leaves nothing behind.
    ///
    /// # Errors
    /// `NoInitialPeers`, `Network`, `NobodyFound`, `NobodyAnswered`.
    pub async fn join(config: SwarmConfig) -> Result<Self, SwarmError> {
        let (node, dht, task) = join::join(&config).await?;
        Ok(Self(Arc::new(Shared {
            node,
            dht,
            task: Mutex::new(Some(task)),
            refresh_period: config.refresh_period,
            views: Mutex::default(),
        })))
    }

    /// The node whose connections everything here shares.
    #[must_use]
    pub fn node(&self) -> &Node {
        &self.0.node
    }

    /// The DHT member.
    #[must_use]
    pub fn dht(&self) -> &Dht {
        &self.0.dht
    }

    /// The models that the swarm lists, by prefix. Ends after 60 s at the latest.
    ///
    /// # Errors
    /// `Dht`.
    pub async fn registry(&self) -> Result<Vec<RegisteredModel>, SwarmError> {
        Ok(registry::read(&self.0.dht).await?)
    }

    /// The live view of a model; the same one for everybody who asks for it. Must be called inside a tokio runtime.
    #[must_use]
    pub fn view(&self, dht_prefix: &str, num_blocks: usize) -> ModelView {
        let views = self.0.views.lock();
        let mut views = views.unwrap_or_else(PoisonError::into_inner);
        views.retain(|_, view| view.strong_count() > 0);
        let key = (dht_prefix.to_owned(), num_blocks);
        if let Some(handle) = views.get(&key).and_then(Weak::upgrade) {
            return ModelView::of_handle(handle);
        }
        let view = ModelView::live(
            (self.0.node.clone(), self.0.dht.clone()),
            (dht_prefix, num_blocks),
            self.0.refresh_period,
            self.clone(),
        );
        views.insert(key, Arc::downgrade(view.handle()));
        view
    }

    /// Ends every call and connection, then the node; 3 s at most. Whoever still holds a clone gets errors.
    pub async fn shutdown(&self) {
        self.0.node.shutdown().await;
        let task = self.0.task.lock();
        let task = task.unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task
            && let Err(error) = task.join().await
        {
            tracing::warn!(%error, "the network ended badly");
        }
    }
}
