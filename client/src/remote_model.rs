//! A model whose text is handled at home and whose blocks are in a swarm.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use block_model::{ModelSource, local_name};
use block_network::PeerId;
use block_protocol::dht_prefix::{PrefixRule, default_prefix};
use block_protocol::uid::validate_prefix;

use crate::chain::{Chain, ChainConfig};
use crate::link_codec::ActivationCodec;
use crate::local_model::{LocalModel, LocalModelError};
use crate::model_view::ModelView;
use crate::session::Session;
use crate::session_error::SessionError;
use crate::swarm::Swarm;

/// A model in a swarm. Cheap to clone: sessions share the matrices at home, the view and the connections.
#[derive(Debug, Clone)]
pub struct RemoteModel {
    /// What stays at home.
    pub local: Arc<LocalModel>,
    /// The servers.
    pub view: ModelView,
    /// Where they are.
    pub swarm: Swarm,
}

/// How a model is looked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ModelOptions {
    /// Key prefix of its blocks; `None` (the default) follows from the model's name, as at the servers.
    pub dht_prefix: Option<String>,
}

/// Why a model cannot be used. The caller must act.
#[derive(Debug, thiserror::Error)]
pub enum RemoteModelError {
    /// Its files.
    #[error(transparent)]
    Local(#[from] LocalModelError),
    /// Its name gives no key in the DHT; the caller must choose one.
    #[error("no key in the DHT follows from the model's name {name:?}: {reason}; choose a prefix")]
    NoPrefix {
        /// The name, or the prefix that was chosen.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Loading was given up, since the program ends.
    #[error("loading was given up: {0}")]
    Interrupted(String),
}

/// What a session asks for. [`SessionConfig::new`] fills in defaults.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionConfig {
    /// Tokens that the session may ever hold.
    pub max_length: usize,
    /// How hidden states travel. Default [`ActivationCodec::Auto`].
    pub codec: ActivationCodec,
    /// Whether servers hand hidden states on to each other where they can. Default `true`.
    pub push: bool,
    /// If set, the session opens on exactly these servers, in this order. A lost one may be replaced by any server that
    /// `allowed` and `blocked` admit.
    pub pinned: Option<Vec<PeerId>>,
    /// Servers never used.
    pub blocked: Vec<PeerId>,
    /// If set, no other servers are used.
    pub allowed: Option<Vec<PeerId>>,
    /// How long opening may take, waiting for servers included. Default 60 s.
    pub open_deadline: Duration,
    /// How long one repair may take, waiting for servers included. Default 120 s.
    pub repair_deadline: Duration,
}

impl SessionConfig {
    /// The defaults of [`ChainConfig`].
    #[must_use]
    pub fn new(max_length: usize) -> Self {
        let defaults = ChainConfig::new(0..1, 1, max_length);
        Self {
            max_length,
            codec: defaults.codec,
            push: defaults.push,
            pinned: defaults.pinned,
            blocked: defaults.blocked,
            allowed: defaults.allowed,
            open_deadline: defaults.open_deadline,
            repair_deadline: defaults.repair_deadline,
        }
    }
}

impl Swarm {
    /// Reads what stays at home of a model, fetching it first if need be, and begins to look for its servers. Nothing is
    /// left behind if this is dropped.
    ///
    /// # Errors
    /// [`RemoteModelError`]. That there are no servers shows when a session opens.
    pub async fn load(
        &self,
        source: ModelSource,
        options: ModelOptions,
    ) -> Result<RemoteModel, RemoteModelError> {
        let prefix = prefix_of(&source, options)?;
        let view = self.view(&prefix, source.config().num_blocks);
        let loading = tokio::task::spawn_blocking(move || LocalModel::load(&source));
        let local = loading
            .await
            .map_err(|error| RemoteModelError::Interrupted(error.to_string()))??;
        Ok(RemoteModel {
            local: Arc::new(local),
            view,
            swarm: self.clone(),
        })
    }
}

impl RemoteModel {
    /// Opens a session over all blocks of the model.
    ///
    /// # Errors
    /// [`SessionError`]; nothing is left behind then.
    pub async fn session(&self, config: SessionConfig) -> Result<Session, SessionError> {
        let SessionConfig {
            max_length,
            codec,
            push,
            pinned,
            blocked,
            allowed,
            open_deadline,
            repair_deadline,
        } = config;
        let blocks = 0..self.view.num_blocks();
        let config = ChainConfig {
            codec,
            push,
            pinned,
            blocked,
            allowed,
            open_deadline,
            repair_deadline,
            ..ChainConfig::new(blocks, self.local.head.hidden(), max_length)
        };
        let chain = Chain::open(self.view.clone(), self.swarm.node().clone(), config).await?;
        Ok(Session::new(Arc::clone(&self.local), chain))
    }
}

fn prefix_of(source: &ModelSource, options: ModelOptions) -> Result<String, RemoteModelError> {
    let no_prefix = |name: &str, reason: String| RemoteModelError::NoPrefix {
        name: name.to_owned(),
        reason,
    };
    if let Some(chosen) = options.dht_prefix {
        validate_prefix(&chosen).map_err(|error| no_prefix(&chosen, error.to_string()))?;
        return Ok(chosen);
    }
    let rule = PrefixRule::of_model_type(source.config().family.model_type());
    let name = source.name();
    let public_name = match source.commit() {
        Some(_) => name.clone(),
        None => local_name(Path::new(&name))
            .ok_or_else(|| no_prefix(&name, "it has no name in UTF-8".to_owned()))?,
    };
    default_prefix(rule, &public_name).map_err(|error| no_prefix(&name, error.to_string()))
}
