//! What stands before every route: who comes in, how many at once, and for how long.
//!
//! A request passes, from the outside in:
//!
//! | step | file | refusal |
//! |---|---|---|
//! | it gets a name, and its answer the headers that browsers obey | `request_id`, `front` | |
//! | the name that it calls us by; the page that it comes from | `origin` | 403 |
//! | its key, or the right to come without | `keys`, `credential`, `paths` | 401, 403 |
//! | the limit of its key or address | `rate`, `address` | 429 |
//! | its body is read, whole | `inner` | 413, 504 |
//! | a seat, if text is to be made | `queue` | 429 |
//! | the handler, and the answer on its way out | `answer_body` | 504, 500 |
//!
//! Handlers find a [`Caller`], a [`RequestId`], a [`Queue`] and a [`Pace`] in the extensions of the request.

mod address;
mod answer_body;
mod caller;
mod config;
mod credential;
mod front;
mod inner;
mod keys;
mod origin;
mod pace;
mod paths;
mod queue;
mod rate;
mod request_id;

#[cfg(test)]
mod tests;

use std::io::Read;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware;
use governor::clock::DefaultClock;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use keys::KeyRing;
use origin::Origins;
use rate::RateLimits;

use crate::track::track;

pub(crate) use address::net_of;
pub use caller::Caller;
pub use config::{DoorConfig, DoorError, KeyText};
pub use keys::BadKey;
pub use origin::BadOrigin;
pub use pace::Pace;
pub(crate) use queue::Waited;
pub use queue::{Queue, Seat};
pub use rate::{BadRate, Rate};
pub use request_id::RequestId;

/// The door. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Door(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    config: DoorConfig,
    keys: RwLock<Arc<KeyRing>>,
    /// Whether callers must show a key. It never changes: a file that became empty opens nothing.
    asks_for_keys: bool,
    is_local: bool,
    limits: RateLimits<DefaultClock>,
    queue: Queue,
    origins: Origins,
    ending: CancellationToken,
}

impl Door {
    /// A door for a gateway that listens on `listen`. Streams that are not a model's answer end with `ending`.
    ///
    /// # Errors
    /// [`DoorError`]: keys that cannot be read, or none where they are needed.
    pub fn new(
        config: DoorConfig,
        listen: SocketAddr,
        ending: CancellationToken,
    ) -> Result<Self, DoorError> {
        let keys = read_keys(&config)?;
        let is_local = listen.ip().to_canonical().is_loopback();
        let asks_for_keys = !keys.is_empty();
        if asks_for_keys && config.no_auth {
            return Err(DoorError::KeysAndNoAuth);
        }
        if !asks_for_keys && !is_local {
            if !config.no_auth {
                return Err(DoorError::NoKeys(listen));
            }
            tracing::warn!(%listen, "anybody who reaches this address may use the models");
        }
        let origins = Origins::new(
            (is_local, asks_for_keys),
            &config.allowed_hosts,
            &config.cors_origins,
        )?;
        let queue = Queue::new(
            config.max_concurrent,
            config.max_queue,
            config.queue_timeout,
        );
        Ok(Self(Arc::new(Shared {
            keys: RwLock::new(Arc::new(keys)),
            asks_for_keys,
            is_local,
            limits: RateLimits::new(DefaultClock::default()),
            queue,
            origins,
            ending,
            config,
        })))
    }

    /// `routes` behind the door. Unknown paths and methods are answered here: a fallback of `routes` is replaced.
    pub fn guard(&self, routes: Router) -> Router {
        let guarded = routes
            .fallback(inner::unknown_path)
            .method_not_allowed_fallback(inner::wrong_method)
            // The door has read the body already, and measured it.
            .layer(DefaultBodyLimit::disable())
            .layer(middleware::from_fn_with_state(self.clone(), inner::pass));
        let guarded = match self.0.origins.cors() {
            Some(cors) => guarded.layer(cors),
            None => guarded,
        };
        guarded
            .layer(middleware::from_fn_with_state(self.clone(), front::pass))
            .layer(middleware::from_fn(track))
    }

    /// The seats of requests that make text.
    #[must_use]
    pub fn queue(&self) -> &Queue {
        &self.0.queue
    }

    /// Reads the keys again. Requests under way go on with the old ones; a WebSocket whose key is gone ends after the one
    /// that it is answering.
    ///
    /// # Errors
    /// They cannot be read, or none is left; the old ones stay.
    pub fn reload_keys(&self) -> Result<(), DoorError> {
        let keys = read_keys(&self.0.config)?;
        if keys.is_empty() && self.0.asks_for_keys {
            return Err(DoorError::KeysGone);
        }
        let rates: Vec<Rate> = keys.rates().chain(self.0.config.rate).collect();
        let mut held = self.0.keys.write().unwrap_or_else(PoisonError::into_inner);
        *held = Arc::new(keys.in_place_of(&held));
        drop(held);
        self.0.limits.keep(&rates);
        Ok(())
    }

    /// Reads the keys again at every SIGHUP. Never ends; dropping it leaves the keys as they are.
    ///
    /// # Errors
    /// The system refuses a handler.
    pub async fn reload_on_hangup(&self) -> std::io::Result<()> {
        let mut hangups = signal(SignalKind::hangup())?;
        while hangups.recv().await.is_some() {
            match self.reload_keys() {
                Ok(()) => tracing::info!("API keys read again"),
                Err(error) => {
                    let cause = std::error::Error::source(&error).map(ToString::to_string);
                    tracing::error!(%error, cause, "the old API keys stay");
                }
            }
        }
        Ok(())
    }

    fn keys(&self) -> Arc<KeyRing> {
        Arc::clone(&self.0.keys.read().unwrap_or_else(PoisonError::into_inner))
    }
}

fn read_keys(config: &DoorConfig) -> Result<KeyRing, DoorError> {
    let of_variable = match &config.key_variable {
        Some(text) => KeyRing::of_variable(text.expose()).map_err(DoorError::BadKeyVariable)?,
        None => KeyRing::default(),
    };
    let Some(file) = &config.key_file else {
        return Ok(of_variable);
    };
    let text = read_bounded(file).map_err(|error| DoorError::KeyFile(file.clone(), error))?;
    KeyRing::of_lines(&text)
        .and_then(|of_file| of_file.and(of_variable))
        .map_err(|error| DoorError::BadKeyFile(file.clone(), error))
}

fn read_bounded(file: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    let opened = std::fs::File::open(file)?;
    opened.take(MAX_KEY_FILE_BYTES).read_to_string(&mut text)?;
    if text.len() as u64 == MAX_KEY_FILE_BYTES {
        let message = format!("it is {MAX_KEY_FILE_BYTES} bytes or longer");
        return Err(std::io::Error::other(message));
    }
    Ok(text)
}

/// Largest key file: 10,000 keys of 200 bytes.
const MAX_KEY_FILE_BYTES: u64 = 2 << 20;
