//! One file of the hub that may be here in parts, and how more of them come.
//!
//! The bytes of one commit never change, and all are fetched by commit. What can be checked of a part
//! is: the hub names the same checksum before and after, the start is what it was when a fetch goes
//! on, and the length and the header fit. A file that has become whole is checked by its checksum.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};
use std::time::Instant;

use futures::StreamExt;
use tracing::{debug, info, warn};

use super::cache_folder::CacheFolder;
use super::checksum;
use super::client::{HubClient, silence};
use super::failure::{self, Failure};
use super::file_facts::{BlobName, FileFacts};
use super::file_lock::LOCK_PERIOD;
use super::partial_file::{HeldFile, PartialFile};
use super::patience::LONGEST_ASKED_PAUSE;
use super::range_fetch::{RangeError, RangeFetch};
use super::range_set::RangeSet;
use super::weights::HEADER_GUESS_BYTES;
use crate::error::{HubError, LoadError};
use crate::source::download_progress::DownloadProgress;
use crate::source::shard::Shard;

/// A file at one commit.
#[derive(Debug)]
pub(super) struct Parts<'a> {
    client: &'a HubClient<'a>,
    folder: &'a CacheFolder,
    commit: &'a str,
    name: String,
    blob: BlobName,
    file: PartialFile,
    /// What the hub says of it, once it was asked.
    facts: OnceCell<FileFacts>,
}

impl<'a> Parts<'a> {
    /// A file of which the hub was asked before, perhaps by another process.
    pub(super) fn known(
        client: &'a HubClient<'a>,
        folder: &'a CacheFolder,
        commit: &'a str,
        name: &str,
        blob: BlobName,
    ) -> Self {
        Self {
            client,
            folder,
            commit,
            name: name.to_owned(),
            file: folder.partial(&blob),
            blob,
            facts: OnceCell::new(),
        }
    }

    /// A file of which the hub was just asked.
    pub(super) fn asked(
        client: &'a HubClient<'a>,
        folder: &'a CacheFolder,
        commit: &'a str,
        name: &str,
        facts: FileFacts,
    ) -> Self {
        let parts = Self::known(client, folder, commit, name, facts.blob.clone());
        parts.facts.get_or_init(|| facts);
        parts
    }

    pub(super) fn blob(&self) -> &BlobName {
        &self.blob
    }

    /// Where they lie.
    pub(super) fn path(&self) -> &Path {
        self.file.path()
    }

    /// How many of the bytes `wanted` are not here.
    ///
    /// # Errors
    /// [`HubError::Disk`].
    pub(super) fn missing_bytes(&self, wanted: &RangeSet) -> Result<u64, LoadError> {
        let complete = self.file.complete().map_err(|source| self.disk(source))?;
        Ok(wanted.without(&complete).bytes())
    }

    /// Opens the file with the bytes `wanted`, fetched first if need be.
    ///
    /// # Errors
    /// [`LoadError::Hub`], [`LoadError::Damaged`], [`LoadError::Io`].
    pub(super) async fn open(
        &self,
        wanted: &RangeSet,
        progress: &DownloadProgress,
    ) -> Result<Shard, LoadError> {
        loop {
            let path = self.obtain(wanted, progress).await?;
            match Shard::open(&path) {
                // Another process has just made it whole and given it to the hub's cache.
                Err(LoadError::NotFound { .. }) if self.whole().is_some_and(|own| own != path) => {}
                opened => return opened,
            }
        }
    }

    /// Path of the file with the bytes `wanted`, fetched first if need be.
    ///
    /// # Errors
    /// Any [`HubError`].
    pub(super) async fn obtain(
        &self,
        wanted: &RangeSet,
        progress: &DownloadProgress,
    ) -> Result<PathBuf, HubError> {
        loop {
            let Some(mut held) = self.hold(wanted, progress).await? else {
                let whole = self.whole();
                return Ok(whole.unwrap_or_else(|| self.file.path().to_owned()));
            };
            if !self.goes_on(&held).await? {
                warn!(
                    file = self.name,
                    "what is here differs from the hub's: fetching it again"
                );
                held.discard().map_err(|source| self.disk(source))?;
                continue;
            }
            let fetch = RangeFetch::new(self.client, self.commit, &self.name, &mut held, progress);
            match fetch.run(wanted, self.longest_request()).await {
                Ok(()) => return self.finish(&held).await,
                Err(RangeError::Hub(error)) => return Err(error),
                Err(RangeError::Ignored) => {
                    info!(
                        file = self.name,
                        "the hub sends no parts: fetching the whole file"
                    );
                    held.discard().map_err(|source| self.disk(source))?;
                    let patience = self.client.patience();
                    return self.client.whole(self.commit, &self.name, patience).await;
                }
            }
        }
    }

    /// Takes the file once no other process has it; `None` if nothing is missing any more.
    async fn hold(
        &self,
        wanted: &RangeSet,
        progress: &DownloadProgress,
    ) -> Result<Option<HeldFile>, HubError> {
        // Its holder may be waiting for the hub, which shows in no byte.
        let limit = self.client.patience() + LONGEST_ASKED_PAUSE;
        let mut since = Instant::now();
        let mut seen: Option<RangeSet> = None;
        let mut is_told = false;
        loop {
            let complete = self.file.complete().map_err(|source| self.disk(source))?;
            if let Some(seen) = seen.filter(|seen| *seen != complete) {
                since = Instant::now();
                let missing = |here: &RangeSet| wanted.without(here).bytes();
                progress.add(missing(&seen).saturating_sub(missing(&complete)));
            }
            if complete.covers(wanted) || self.whole().is_some() {
                return Ok(None);
            }
            let held = self.file.try_hold().map_err(|source| self.disk(source))?;
            if held.is_some() {
                return Ok(held);
            }
            if since.elapsed() > limit {
                let path = self.file.path().display();
                let detail = format!("another process holds {path} and fetches nothing");
                return Err(self
                    .client
                    .subject(self.commit, &self.name)
                    .unreachable(detail));
            }
            if !is_told {
                info!(file = self.name, "another process is fetching it: waiting");
                is_told = true;
            }
            seen = Some(complete);
            tokio::time::sleep(LOCK_PERIOD).await;
        }
    }

    /// Whether a fetch may go on from what is here; asks the hub, unless it just was.
    async fn goes_on(&self, held: &HeldFile) -> Result<bool, HubError> {
        if self.facts.get().is_some() {
            return Ok(true);
        }
        let facts = self.ask().await?;
        self.facts.get_or_init(|| facts);
        let length = held.complete().start_bytes().min(HEADER_GUESS_BYTES);
        if length == 0 {
            return Ok(true);
        }
        let patience = self.client.patience();
        let start = self
            .client
            .patiently(patience, async || self.start(length).await);
        let Some(start) = start.await? else {
            return Ok(true);
        };
        let here = held.start(length).map_err(|source| self.disk(source))?;
        Ok(here == start)
    }

    /// The first `length` bytes as the hub has them; `None` if it sends whole files only.
    async fn start(&self, length: u64) -> Result<Option<Vec<u8>>, Failure> {
        let subject = self.client.subject(self.commit, &self.name);
        let opened = self.client.stream(self.commit, &self.name, 0..length);
        let (_, mut chunks) = opened.await?;
        let mut start = Vec::new();
        while let Some(chunk) = tokio::time::timeout(self.client.deadline(), chunks.next())
            .await
            .map_err(|_| subject.interrupted(silence(self.client.deadline())))?
        {
            let chunk = chunk.map_err(|error| subject.failed(error))?;
            if (start.len() + chunk.len()) as u64 > length {
                return Ok(None);
            }
            start.extend_from_slice(&chunk);
        }
        if (start.len() as u64) < length {
            return Err(subject.interrupted("the answer ended early".to_owned()));
        }
        Ok(Some(start))
    }

    /// What the hub says of the file now.
    ///
    /// # Errors
    /// [`HubError::Changed`] if it is another than it was.
    async fn ask(&self) -> Result<FileFacts, HubError> {
        let patience = self.client.patience();
        let facts = self.client.facts(self.commit, &self.name, patience).await?;
        if facts.blob == self.blob {
            return Ok(facts);
        }
        Err(HubError::Changed {
            repository: self.client.name().to_owned(),
            file: self.name.clone(),
            was: self.blob.to_string().trim_end().to_owned(),
            is: facts.blob.to_string().trim_end().to_owned(),
            path: self.folder.note(self.commit, &self.name),
        })
    }

    /// Checks what can be checked; gives a whole file to the hub's cache.
    async fn finish(&self, held: &HeldFile) -> Result<PathBuf, HubError> {
        if let Err(error) = self.ask().await {
            if matches!(error, HubError::Changed { .. }) {
                held.discard().map_err(|source| self.disk(source))?;
            }
            return Err(error);
        }
        let path = self.file.path();
        if !held.complete().covers(&(0..self.blob.size).into()) {
            return Ok(path.to_owned());
        }
        let (file, etag) = (path.to_owned(), self.blob.etag.clone());
        let checked = tokio::task::spawn_blocking(move || checksum::fits(&file, &etag)).await;
        let checked = checked.unwrap_or_else(|error| Err(std::io::Error::other(error)));
        if checked.map_err(|source| self.disk(source))? == Some(false) {
            held.discard().map_err(|source| self.disk(source))?;
            return Err(HubError::Damaged {
                repository: self.client.name().to_owned(),
                file: self.name.clone(),
                etag: self.blob.etag.clone(),
            });
        }
        match self.folder.adopt(self.commit, &self.name, &self.blob) {
            Ok(whole) => {
                held.forget().map_err(|source| self.disk(source))?;
                Ok(whole)
            }
            // It serves where it is.
            Err(error) => {
                debug!(%error, file = self.name, "cannot be given to the hub's cache");
                Ok(path.to_owned())
            }
        }
    }

    fn whole(&self) -> Option<PathBuf> {
        self.folder.whole(self.commit, &self.name)
    }

    fn longest_request(&self) -> u64 {
        let is_chunked = self.facts.get().is_some_and(|facts| facts.is_chunked);
        if is_chunked {
            LONGEST_CHUNKED_REQUEST_BYTES
        } else {
            LONGEST_REQUEST_BYTES
        }
    }

    fn disk(&self, source: std::io::Error) -> HubError {
        failure::disk(self.file.path().to_owned(), source)
    }
}

/// Long enough that its two round trips do not count, short enough that several are under way at once.
const LONGEST_REQUEST_BYTES: u64 = 256 * 1024 * 1024;

/// hf-hub keeps what it puts together from the store of chunks in memory until it is taken: as many of
/// these as are under way at once.
const LONGEST_CHUNKED_REQUEST_BYTES: u64 = 16 * 1024 * 1024;
