//! How the door is set, and what cannot be.

use std::path::PathBuf;
use std::time::Duration;

use super::keys::BadKey;
use super::origin::BadOrigin;
use super::rate::Rate;

/// Settings of the door. The defaults are those of `swarm gateway`.
#[derive(Debug, Clone)]
pub struct DoorConfig {
    /// `--api-key-file`: lines of `name:key[:scopes]`; read again on SIGHUP.
    pub key_file: Option<PathBuf>,
    /// `SWARM_API_KEYS`: the same with commas between them.
    pub key_variable: Option<KeyText>,
    /// `--no-auth`: open to all who reach it, also from other machines.
    pub no_auth: bool,
    /// `--rate-limit`: requests of a key, else of an address.
    pub rate: Option<Rate>,
    /// `--trust-proxy`: the address is in `X-Forwarded-For`. Only if nobody can go round the proxy.
    pub trusts_proxy: bool,
    /// `--max-concurrent`: requests that make text at the same time.
    pub max_concurrent: usize,
    /// `--max-queue`: requests that wait for one of these to end.
    pub max_queue: usize,
    /// `--queue-timeout`: how long they do.
    pub queue_timeout: Duration,
    /// `--max-body`: bytes of a request's body.
    pub max_body_bytes: usize,
    /// `--request-timeout`: from the arrival of a request to the last byte of its answer.
    pub request_timeout: Duration,
    /// `--cors-origin`: pages of other origins that may call; `*`: all.
    pub cors_origins: Vec<String>,
    /// `--allowed-host`: more names of this gateway.
    pub allowed_hosts: Vec<String>,
}

/// Keys as text, which `Debug` hides.
#[derive(Clone)]
pub struct KeyText(String);

/// Why there is no door.
#[derive(Debug, thiserror::Error)]
pub enum DoorError {
    /// Whoever reaches the machine could use it.
    #[error("without API keys only this machine may call, and {0} is open to others")]
    NoKeys(std::net::SocketAddr),
    /// Two wishes that exclude each other.
    #[error("API keys are set, and so is the wish to ask for none")]
    KeysAndNoAuth,
    /// The key file cannot be read.
    #[error("cannot read the API keys of {}", .0.display())]
    KeyFile(PathBuf, #[source] std::io::Error),
    /// The key file has an entry that is no key, counted by lines.
    #[error("the API keys of {}", .0.display())]
    BadKeyFile(PathBuf, #[source] BadKey),
    /// The variable has an entry that is no key.
    #[error("the API keys of SWARM_API_KEYS")]
    BadKeyVariable(#[source] BadKey),
    /// There were keys, and now there would be none.
    #[error("no API key is left")]
    KeysGone,
    /// An origin that is none.
    #[error(transparent)]
    BadOrigin(#[from] BadOrigin),
}

impl KeyText {
    /// Wraps the value of the variable.
    #[must_use]
    pub const fn new(text: String) -> Self {
        Self(text)
    }

    pub(super) fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for KeyText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyText(…)")
    }
}

impl Default for DoorConfig {
    fn default() -> Self {
        Self {
            key_file: None,
            key_variable: None,
            no_auth: false,
            rate: None,
            trusts_proxy: false,
            max_concurrent: 32,
            max_queue: 64,
            queue_timeout: Duration::from_secs(30),
            // Far more than any context that fits a model of today.
            max_body_bytes: 2_000_000,
            // When OpenAI's clients give up by themselves.
            request_timeout: Duration::from_secs(600),
            cors_origins: Vec::new(),
            allowed_hosts: Vec::new(),
        }
    }
}
