//! What all requests share.

use std::sync::Arc;
use std::time::Duration;

use block_network::unix_time;
use tokio_util::sync::CancellationToken;

use crate::api_error::{ApiError, ErrorCode};
use crate::kept::{KeepConfig, KeptSessions};
use crate::running::Running;
use crate::served_model::ServedModel;
use crate::system::Accounts;

/// A gateway: the models it serves and the answers under way. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Gateway(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    models: Vec<Arc<ServedModel>>,
    running: Running,
    kept: KeptSessions,
    accounts: Accounts,
    config: GatewayConfig,
    stop: CancellationToken,
    started_at: f64,
}

/// Settings of a gateway. The default is for a public one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GatewayConfig {
    /// How long a request waits for servers of blocks that have none before it is refused. Default 3 s.
    pub no_route_patience: Duration,
    /// How long opening a session may take. Default 30 s.
    pub open_deadline: Duration,
    /// How long an answer waits for servers in place of those it lost. Default 30 s.
    pub repair_deadline: Duration,
    /// How long a stream waits with its head for the first token, or the first error. Default 5 s.
    pub head_patience: Duration,
    /// After this long without any event a stream gets a comment, so that no proxy cuts it. Default 15 s.
    pub ping_period: Duration,
    /// How long a reader may take nothing of its stream before the answer is cancelled. Default 60 s.
    pub reader_patience: Duration,
    /// Whether every caller may name the servers of its route. Default no.
    pub allow_route: bool,
    /// Sessions that wait for the next turn of their conversation.
    pub keep: KeepConfig,
}

impl Default for GatewayConfig {
    fn default() -> Self {
        Self {
            no_route_patience: Duration::from_secs(3),
            open_deadline: Duration::from_secs(30),
            repair_deadline: Duration::from_secs(30),
            head_patience: Duration::from_secs(5),
            ping_period: Duration::from_secs(15),
            reader_patience: Duration::from_secs(60),
            allow_route: false,
            keep: KeepConfig::default(),
        }
    }
}

impl Gateway {
    /// A gateway to these models; of two with one name the first is served.
    #[must_use]
    pub fn new(models: Vec<ServedModel>, config: GatewayConfig) -> Self {
        let stop = CancellationToken::new();
        Self(Arc::new(Shared {
            kept: KeptSessions::new(config.keep, stop.clone()),
            models: models.into_iter().map(Arc::new).collect(),
            running: Running::default(),
            accounts: Accounts::default(),
            config,
            stop,
            started_at: unix_time(),
        }))
    }

    /// Ends every answer under way with an error and every session that waits, and refuses new ones. Returns when their sessions are closed, or after
    /// two seconds.
    pub async fn stop(&self) {
        self.0.stop.cancel();
        self.0.kept.end_all();
        // Whoever is late ends with the process.
        let _ = tokio::time::timeout(CLOSE_DEADLINE, self.0.running.idle()).await;
    }

    /// The models, in the order in which they were given.
    #[must_use]
    pub fn models(&self) -> &[Arc<ServedModel>] {
        &self.0.models
    }

    /// How answers that have ended came about, for whoever looks at the swarm.
    #[must_use]
    pub fn accounts(&self) -> &Accounts {
        &self.0.accounts
    }

    /// The model that a request names.
    ///
    /// # Errors
    /// `ModelNotFound`.
    pub(crate) fn model(&self, name: &str) -> Result<Arc<ServedModel>, ApiError> {
        let model = self.0.models.iter().find(|model| model.name() == name);
        model.cloned().ok_or_else(|| {
            let known: Vec<_> = self.0.models.iter().map(|model| model.name()).collect();
            ApiError::new(
                ErrorCode::ModelNotFound,
                format!("there is no such model here, but: {}", known.join(", ")),
            )
            .about("model")
        })
    }

    /// The model that a request names, or the only one.
    ///
    /// # Errors
    /// `ModelNotFound`; several models and no name.
    pub(crate) fn model_or_only(&self, name: Option<&str>) -> Result<Arc<ServedModel>, ApiError> {
        match (name, self.0.models.as_slice()) {
            (Some(name), _) => self.model(name),
            (None, [only]) => Ok(Arc::clone(only)),
            (None, _) => Err(ApiError::invalid(
                "model",
                "model must be the name of a model",
            )),
        }
    }

    /// Its settings.
    #[must_use]
    pub fn config(&self) -> &GatewayConfig {
        &self.0.config
    }

    pub(crate) fn kept(&self) -> &KeptSessions {
        &self.0.kept
    }

    pub(crate) fn running(&self) -> &Running {
        &self.0.running
    }

    /// Cancelled when the gateway stops.
    pub(crate) fn stopping(&self) -> &CancellationToken {
        &self.0.stop
    }

    /// When it was made, in Unix time.
    pub(crate) fn started_at(&self) -> f64 {
        self.0.started_at
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // Whoever tends the sessions that wait ends, and they with it.
        self.stop.cancel();
    }
}

/// How long answers under way may delay the end: what closing a session politely takes, and a little.
const CLOSE_DEADLINE: Duration = Duration::from_secs(2);
