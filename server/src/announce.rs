//! Keeps this server's record in the DHT.
//!
//! States: JOINING while the blocks load, ONLINE while they serve, OFFLINE once on
//! the way out. Each change is announced at once, the last state again every period;
//! a record outlives two periods, so one lost announcement does no harm.
//!
//! Task: owned by [`Announcer`]; its inbox takes changes of state; it ends with its
//! owner. One record under every served block's key, plus the model's entry in the
//! registry that monitors read.

use std::sync::Arc;
use std::time::Duration;

use block_network::{subkey_entry, unix_time};
use block_protocol::dht::StoreEntry;
use block_protocol::model_record::{MODELS_KEY, ModelRecord};
use block_protocol::{EncodeError, ServerInfo, ServerRecord, ServerState};
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{debug, info, warn};

use crate::neighbours::NextPings;
use crate::records::Records;

/// Our own name and version, in the record and in `rpc_info`.
pub(crate) const IMPLEMENTATION: &str = concat!("block-server/", env!("CARGO_PKG_VERSION"));

/// What does not change between two announcements of one state.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Announcement {
    /// Key prefix, without `.`.
    pub(crate) prefix: String,
    /// Blocks of the whole model.
    pub(crate) num_blocks: usize,
    /// Hub address of the model; none for a folder.
    pub(crate) repository: Option<String>,
    /// Our peer id, base58: the subkey.
    pub(crate) peer_id: String,
    /// Tokens per second.
    pub(crate) throughput: f64,
    /// Everything else; cache and pings are filled in each time.
    pub(crate) info: ServerInfo,
}

impl Announcement {
    /// Our record under the key of every served block.
    ///
    /// # Errors
    /// A figure that readers would refuse.
    fn block_entries(
        &self,
        state: ServerState,
        cache_tokens_left: u64,
        next_pings: &NextPings,
        expiration: f64,
    ) -> Result<Vec<StoreEntry>, EncodeError> {
        let info = ServerInfo {
            cache_tokens_left: Some(cache_tokens_left),
            next_pings: next_pings.clone(),
            ..self.info.clone()
        };
        let record = ServerRecord {
            state,
            throughput: self.throughput,
            info,
        };
        let value = Bytes::from(record.encode()?);
        let blocks = self.info.span.map_or(0..0, |span| span.range());
        Ok(blocks
            .map(|block| {
                let key = format!("{}.{block}", self.prefix);
                subkey_entry(&key, &self.peer_id, value.clone(), expiration)
            })
            .collect())
    }

    /// The model's entry in the registry, which all servers of the model share; none for a
    /// prefix with a leading underscore, which asks not to be listed.
    ///
    /// # Errors
    /// A model without blocks.
    fn model_entry(&self, expiration: f64) -> Result<Option<StoreEntry>, EncodeError> {
        if self.prefix.starts_with('_') {
            return Ok(None);
        }
        let record = ModelRecord {
            num_blocks: self.num_blocks,
            repository: self.repository.clone(),
        };
        let value = record.encode()?.into();
        Ok(Some(subkey_entry(
            MODELS_KEY,
            &self.prefix,
            value,
            expiration,
        )))
    }
}

/// Where the free cache is read.
pub(crate) type ReadCache = Arc<dyn Fn() -> u64 + Send + Sync>;

/// What the announcing task is started with.
pub(crate) struct AnnouncerConfig {
    pub(crate) period: Duration,
    pub(crate) expiration: Duration,
    /// Figures of the last round of pings.
    pub(crate) next_pings: watch::Receiver<NextPings>,
}

/// A change of what is announced.
enum Change {
    State {
        current: Current,
        done: oneshot::Sender<bool>,
    },
    Goodbye {
        done: oneshot::Sender<bool>,
    },
}

/// Handle and owner of the announcing task.
#[derive(Debug)]
pub(crate) struct Announcer {
    changes: mpsc::Sender<Change>,
    task: JoinHandle<()>,
}

impl Announcer {
    /// Starts the task; nothing is announced before the first [`Self::announce`].
    pub(crate) fn start(records: impl Records, config: AnnouncerConfig) -> Self {
        // One change at a time: each is awaited.
        let (changes, inbox) = mpsc::channel(1);
        let task = tokio::spawn(
            Task {
                records,
                config,
                current: None,
            }
            .run(inbox),
        );
        Self { changes, task }
    }

    /// Announces a new state and keeps announcing it; true if somebody keeps the record.
    /// Dropping it may or may not announce.
    pub(crate) async fn announce(
        &self,
        announcement: &Arc<Announcement>,
        state: ServerState,
        read_cache: &ReadCache,
    ) -> bool {
        let (done, outcome) = oneshot::channel();
        let current = Current {
            announcement: Arc::clone(announcement),
            state,
            read_cache: Arc::clone(read_cache),
        };
        let change = Change::State { current, done };
        // Both fail only if the task is gone, which is a lost announcement.
        self.changes.send(change).await.is_ok() && outcome.await.unwrap_or(false)
    }
}

impl Announcer {
    /// Announces OFFLINE if anything else was announced before.
    pub(crate) async fn goodbye(&self) {
        let (done, outcome) = oneshot::channel();
        if self.changes.send(Change::Goodbye { done }).await.is_ok() {
            // Whether somebody keeps it changes nothing any more; the task has logged it.
            let _ = outcome.await;
        }
    }
}

impl Drop for Announcer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Current {
    announcement: Arc<Announcement>,
    state: ServerState,
    read_cache: ReadCache,
}

struct Task<R> {
    records: R,
    config: AnnouncerConfig,
    current: Option<Current>,
}

impl<R: Records> Task<R> {
    async fn run(mut self, mut inbox: mpsc::Receiver<Change>) {
        let mut ticks = interval(self.config.period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                change = inbox.recv() => {
                    let (done, is_last) = match change {
                        None => return,
                        Some(Change::State { current, done }) => {
                            self.current = Some(current);
                            (done, false)
                        }
                        Some(Change::Goodbye { done }) => {
                            if let Some(current) = &mut self.current {
                                current.state = ServerState::Offline;
                            }
                            (done, true)
                        }
                    };
                    ticks.reset();
                    // Nobody may wait any more.
                    let _ = done.send(self.announce(true).await);
                    if is_last {
                        self.current = None;
                    }
                }
                _ = ticks.tick() => { self.announce(false).await; }
            }
        }
    }

    /// Stores the record; true if somebody keeps all of it.
    async fn announce(&self, is_news: bool) -> bool {
        let Some(Current {
            announcement,
            state,
            read_cache,
        }) = &self.current
        else {
            return false;
        };
        let next_pings = self.config.next_pings.borrow().clone();
        let expiration = unix_time() + self.config.expiration.as_secs_f64();
        let entries = announcement
            .block_entries(*state, read_cache(), &next_pings, expiration)
            .and_then(|blocks| Ok((blocks, announcement.model_entry(expiration)?)));
        let (blocks, model) = match entries {
            Ok(entries) => entries,
            Err(error) => {
                warn!(%error, "the record cannot be announced");
                return false;
            }
        };
        let (keys, state) = (blocks.len(), state_name(*state));
        let list_model = async {
            match model {
                Some(entry) => self.records.announce_shared(entry).await,
                None => Ok(()),
            }
        };
        match tokio::join!(self.records.announce(blocks), list_model) {
            (Ok(()), Ok(())) if is_news => info!(state, keys, "announced {state}"),
            (Ok(()), Ok(())) => debug!(state, keys, "announced {state} again"),
            (Ok(()), Err(error)) => warn!(%error, "the model could not be listed"),
            (Err(error), _) => {
                warn!(state, keys, %error, "the record could not be announced");
                return false;
            }
        }
        true
    }
}

fn state_name(state: ServerState) -> &'static str {
    match state {
        ServerState::Offline => "offline",
        ServerState::Joining => "joining",
        ServerState::Online => "online",
    }
}

#[cfg(test)]
mod tests;
