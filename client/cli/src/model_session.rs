//! From flags to a model at home, its swarm, and sessions with its servers.

use std::sync::Arc;

use block_client::{Chain, ChainConfig, LocalModel, Session, Swarm};
use block_network::Multiaddr;
use block_program::{Failure, on_blocking_thread};

use crate::cli::{ModelFlags, SwarmFlags, WayFlags};
use crate::membership;
use crate::model_files::{self, FoundModel};
use crate::progress::Waiting;
use crate::session_failure::{local_failure, session_failure};

/// A model and the swarm that has its blocks.
#[derive(Debug, Clone)]
pub(crate) struct Ready {
    pub(crate) local: Arc<LocalModel>,
    pub(crate) dht_prefix: String,
    pub(crate) swarm: Swarm,
    /// The command that shows who serves the model.
    pub(crate) map: String,
}

impl Ready {
    /// Loads what stays at home, and joins the swarm meanwhile.
    ///
    /// # Errors
    /// The model cannot be read, or nobody answers for the swarm.
    pub(crate) async fn prepare(
        model: &ModelFlags,
        swarm: &SwarmFlags,
        peers: Vec<Multiaddr>,
    ) -> Result<Self, Failure> {
        let owned = model.clone();
        let loading = on_blocking_thread(move || {
            let FoundModel { source, dht_prefix } = model_files::find(&owned)?;
            let _waiting = Waiting::new("loading tokenizer, embeddings and head");
            let local =
                LocalModel::load(&source).map_err(|error| local_failure(&error, &owned.model))?;
            Ok((Arc::new(local), dht_prefix))
        });
        let joining = membership::join(swarm, peers);
        let ((local, dht_prefix), swarm) = tokio::try_join!(loading, joining)?;
        Ok(Self {
            local,
            dht_prefix,
            swarm,
            map: format!("swarm map {}", model.model),
        })
    }

    /// Opens a session for `max_length` tokens.
    ///
    /// # Errors
    /// There is no route.
    pub(crate) async fn open(&self, way: &WayFlags, max_length: usize) -> Result<Session, Failure> {
        let config = &self.local.config;
        let view = self.swarm.view(&self.dht_prefix, config.num_blocks);
        let chain = ChainConfig {
            codec: way.activation_codec,
            push: !way.no_push,
            pinned: way.route.clone(),
            open_deadline: way.open_timeout,
            repair_deadline: way.repair_timeout,
            attempts: way.max_retries.into(),
            ..ChainConfig::new(0..config.num_blocks, config.hidden, max_length)
        };
        let chain = Chain::open(view, self.swarm.node().clone(), chain)
            .await
            .map_err(|error| session_failure(&error, &self.map))?;
        Ok(Session::new(Arc::clone(&self.local), chain))
    }
}
