//! A repository of the Hugging Face hub: small files through the cache that Python tools share, and of
//! the weights only the bytes that are needed.
//!
//! A branch or tag is resolved to a commit once, by the first file; all later files come from
//! that commit, so a push in between cannot mix two versions of a model.
//!
//! - `client`, `whole_file`: requests, on top of hf-hub; `failure`, `patience`: what a failed one means
//! - `file_facts`, `checksum`, `token`: what the hub says of a file and is told of the caller
//! - `weights`: which bytes of which files; `parts`: one file, fetched in parts; `shard_at_hand`: what is here of one
//! - `range_fetch`: bytes on their way; `partial_file`, `journal`, `range_set`: where they go
//! - `cache_folder`, `file_lock`: the layout on the disk, and who may write to it

mod cache_folder;
mod checksum;
mod client;
mod failure;
mod file_facts;
mod file_lock;
mod journal;
mod partial_file;
mod parts;
mod patience;
mod range_fetch;
mod range_set;
mod shard_at_hand;
mod token;
mod weights;
mod whole_file;

use std::path::{Path, PathBuf};
use std::time::Duration;

use tracing::warn;

use self::cache_folder::CacheFolder;
use self::client::HubClient;
pub(super) use self::shard_at_hand::ShardAtHand;
use self::weights::Weights;
use super::hub_options::HubOptions;
use super::index::WantedTensors;
use super::shard::Shard;
use crate::error::{HubError, LoadError};

/// A repository at one commit.
#[derive(Debug)]
pub(super) struct HubRepository {
    options: HubOptions,
    folder: CacheFolder,
    commit: String,
}

impl HubRepository {
    /// Resolves the revision by fetching the configuration. A hub that cannot be reached is done
    /// without if the revision was resolved before.
    ///
    /// # Errors
    /// Any [`HubError`].
    pub(super) fn resolve(options: HubOptions) -> Result<Self, HubError> {
        options.check()?;
        let (path, folder) = run(&options, async |client| {
            Ok((resolve(client, &options).await?, client.folder.clone()))
        })?;
        // …/snapshots/COMMIT/config.json
        let commit = path.parent().and_then(Path::file_name);
        let commit = commit.ok_or_else(|| HubError::Client(format!("no snapshot in {path:?}")))?;
        Ok(Self {
            commit: commit.to_string_lossy().into_owned(),
            options,
            folder,
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.options.repository
    }

    pub(super) fn commit(&self) -> &str {
        &self.commit
    }

    /// Whether a file, or a part of it, is in the cache.
    pub(super) fn knows(&self, file: &str) -> bool {
        let is_whole = self.folder.whole(&self.commit, file).is_some();
        let noted = || self.folder.known_blob(&self.commit, file);
        is_whole || matches!(noted(), Ok(Some(_)))
    }

    /// Checks that there is such a file, here or on the hub; fetches none of it.
    ///
    /// # Errors
    /// Any [`HubError`]; [`HubError::NotFound`] or [`HubError::NotCached`] if there is not.
    pub(super) fn find(&self, file: &str) -> Result<(), HubError> {
        if self.knows(file) {
            return Ok(());
        }
        run(&self.options, async |client| {
            let facts = client.facts(&self.commit, file, client.patience());
            facts.await.map(|_| ())
        })
    }

    /// Path of a whole file in the cache, fetched first if need be.
    ///
    /// # Errors
    /// Any [`HubError`].
    pub(super) fn file(&self, file: &str) -> Result<PathBuf, HubError> {
        if let Some(path) = self.folder.whole(&self.commit, file) {
            return Ok(path);
        }
        run(&self.options, async |client| {
            client.whole(&self.commit, file, client.patience()).await
        })
    }

    /// Opens files that hold tensors, each with the bytes of these, fetched first if need be.
    ///
    /// # Errors
    /// [`LoadError::Hub`], [`LoadError::Damaged`], [`LoadError::Io`].
    pub(super) fn shards(&self, wanted: &[WantedTensors]) -> Result<Vec<Shard>, LoadError> {
        run(&self.options, async |client| {
            self.weights(client).shards(wanted).await
        })
    }

    /// A file of weights, if its header is in the cache; no request is made.
    ///
    /// # Errors
    /// [`LoadError::Hub`], [`LoadError::Damaged`], [`LoadError::Io`].
    pub(super) fn shard_at_hand(&self, file: &str) -> Result<Option<ShardAtHand>, LoadError> {
        if let Some(path) = self.folder.whole(&self.commit, file) {
            return ShardAtHand::whole(&path).map(Some);
        }
        let disk = |source| failure::disk(self.folder.note(&self.commit, file), source);
        match self.folder.known_blob(&self.commit, file).map_err(disk)? {
            Some(blob) => ShardAtHand::in_parts(&self.folder.partial(&blob)),
            None => Ok(None),
        }
    }

    fn weights<'a>(&'a self, client: &'a HubClient<'a>) -> Weights<'a> {
        Weights {
            client,
            folder: &self.folder,
            commit: &self.commit,
            progress_bar: self.options.progress_bar,
        }
    }
}

/// Path of the configuration at the commit that the revision stands for.
async fn resolve(client: &HubClient<'_>, options: &HubOptions) -> Result<PathBuf, HubError> {
    let revision = &options.revision;
    let is_commit = revision.len() == 40 && revision.bytes().all(|byte| byte.is_ascii_hexdigit());
    if options.offline || is_commit {
        match client.cached(revision, CONFIG_FILE).await {
            Err(_) if !options.offline => {}
            answer => return answer,
        }
    }
    let patience = FIRST_PATIENCE.min(options.patience);
    let error = match client.whole(revision, CONFIG_FILE, patience).await {
        Err(error @ (HubError::Unreachable { .. } | HubError::RateLimited { .. })) => error,
        answer => return answer,
    };
    let Ok(path) = client.cached(revision, CONFIG_FILE).await else {
        return Err(error);
    };
    warn!(%error, "the hub cannot be asked: using what it had when it was asked last");
    Ok(path)
}

/// Does something that waits for the hub.
fn run<T: Send, E: From<HubError> + Send>(
    options: &HubOptions,
    work: impl AsyncFnOnce(&HubClient<'_>) -> Result<T, E> + Send,
) -> Result<T, E> {
    let on_this_thread = || {
        let client = HubClient::new(options)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(DOWNLOAD_THREADS)
            .enable_all()
            .build()
            .map_err(|error| HubError::Client(error.to_string()))?;
        let done = runtime.block_on(work(&client));
        // Not waiting: a file lock held by another process may never be granted.
        runtime.shutdown_background();
        done
    };
    // A thread of its own, because a runtime may neither be entered nor dropped inside another.
    std::thread::scope(|scope| {
        let working = scope.spawn(on_this_thread);
        working
            .join()
            .unwrap_or_else(|_| Err(HubError::Client("the hub client panicked".to_owned()).into()))
    })
}

const CONFIG_FILE: &str = "config.json";

/// Who starts without a network waits this long to be told so.
const FIRST_PATIENCE: Duration = Duration::from_secs(5);

/// Threads of a download: one for the network, one for what blocks it.
const DOWNLOAD_THREADS: usize = 2;
