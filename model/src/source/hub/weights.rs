//! The tensors of a span, and nothing else of the files that hold them.
//!
//! 1. Of every file the header is fetched, unless it is there: it says which bytes the tensors are.
//! 2. Of every file the missing ones of these bytes are fetched into a file with holes.
//!
//! A whole file in the hub's cache is used as it is, and a file that has become whole is given to it.

use std::path::PathBuf;

use futures::{StreamExt, TryStreamExt, stream};
use tracing::debug;

use super::cache_folder::CacheFolder;
use super::client::HubClient;
use super::failure;
use super::parts::Parts;
use super::range_set::RangeSet;
use crate::error::LoadError;
use crate::source::download_progress::DownloadProgress;
use crate::source::index::WantedTensors;
use crate::source::shard::Shard;

/// The weights of a repository at one commit.
#[derive(Debug)]
pub(super) struct Weights<'a> {
    pub(super) client: &'a HubClient<'a>,
    pub(super) folder: &'a CacheFolder,
    pub(super) commit: &'a str,
    pub(super) progress_bar: bool,
}

/// One file of the weights.
#[derive(Debug)]
enum WeightFile<'a> {
    /// In the hub's cache.
    Whole(PathBuf),
    /// In parts, with the bytes that are wanted of it.
    Parts(Parts<'a>, RangeSet),
}

impl<'a> Weights<'a> {
    /// Opens files that hold tensors, each with the bytes of these, fetched first if need be.
    ///
    /// # Errors
    /// [`LoadError::Hub`], [`LoadError::Damaged`], [`LoadError::Io`].
    pub(super) async fn shards(&self, wanted: &[WantedTensors]) -> Result<Vec<Shard>, LoadError> {
        let files = self.plan(wanted).await?;
        let wanted_bytes = total(&files, |_, wanted| Ok(wanted.bytes()))?;
        let missing_bytes = total(&files, |parts, wanted| parts.missing_bytes(wanted))?;
        let progress = DownloadProgress::new("weights", self.progress_bar && missing_bytes > 0);
        progress.expect(wanted_bytes, wanted_bytes.saturating_sub(missing_bytes));
        let mut shards = Vec::with_capacity(files.len());
        for (file, wanted) in files.iter().zip(wanted) {
            progress.name(&wanted.file);
            shards.push(match file {
                WeightFile::Whole(path) => Shard::open(path)?,
                WeightFile::Parts(parts, wanted) => parts.open(wanted, &progress).await?,
            });
        }
        Ok(shards)
    }

    /// Finds out which bytes of which files are wanted.
    async fn plan(&self, wanted: &[WantedTensors]) -> Result<Vec<WeightFile<'a>>, LoadError> {
        stream::iter(wanted)
            .map(|wanted| self.plan_file(wanted))
            .buffered(FILES_AT_ONCE)
            .try_collect()
            .await
    }

    async fn plan_file(&self, wanted: &WantedTensors) -> Result<WeightFile<'a>, LoadError> {
        let Self {
            client,
            folder,
            commit,
            ..
        } = *self;
        let name = &wanted.file;
        let disk = |source| failure::disk(folder.note(commit, name), source);
        let known = folder.known_blob(commit, name).map_err(disk)?;
        if let Some(path) = folder.whole(commit, name) {
            // Another client has fetched all of it: the parts only take room.
            if let Some(Err(error)) = known.map(|blob| folder.partial(&blob).give_up()) {
                debug!(%error, file = name, "parts cannot be removed");
            }
            return Ok(WeightFile::Whole(path));
        }
        let parts = match known {
            Some(blob) => Parts::known(client, folder, commit, name, blob),
            None => {
                let facts = client.facts(commit, name, client.patience()).await?;
                folder.note_blob(commit, name, &facts.blob).map_err(disk)?;
                Parts::asked(client, folder, commit, name, facts)
            }
        };
        if let Some(path) = folder.share(commit, name, parts.blob()).map_err(disk)? {
            return Ok(WeightFile::Whole(path));
        }
        self.plan_parts(parts, &wanted.tensors).await
    }

    /// Reads the header, fetched first if need be, and finds the tensors in it. A tensor that it does
    /// not name is missed by who reads it.
    async fn plan_parts(
        &self,
        parts: Parts<'a>,
        tensors: &[String],
    ) -> Result<WeightFile<'a>, LoadError> {
        let size = parts.blob().size;
        if size < Shard::MIN_BYTES {
            let reason = format!("only {size} bytes long");
            return Err(LoadError::damaged(parts.path(), reason));
        }
        let quiet = DownloadProgress::hidden();
        let guess = 0..size.min(HEADER_GUESS_BYTES);
        let path = parts.obtain(&guess.into(), &quiet).await?;
        let header = 0..Shard::header_end(&path)?;
        let mut wanted = RangeSet::from(header);
        let shard = parts.open(&wanted, &quiet).await?;
        for tensor in tensors {
            let name = shard.spelling(tensor);
            let range = name.and_then(|name| shard.range(&name));
            wanted.insert(range.unwrap_or_default());
        }
        Ok(WeightFile::Parts(parts, wanted))
    }
}

/// A sum over the files that are there in parts.
fn total(
    files: &[WeightFile<'_>],
    bytes: impl Fn(&Parts<'_>, &RangeSet) -> Result<u64, LoadError>,
) -> Result<u64, LoadError> {
    let parts = files.iter().filter_map(|file| match file {
        WeightFile::Whole(_) => None,
        WeightFile::Parts(parts, wanted) => Some(bytes(parts, wanted)),
    });
    parts.sum()
}

/// Headers are short and the hub is far.
const FILES_AT_ONCE: usize = 4;

/// Most headers are shorter: a tensor takes some 120 bytes. What follows them is likely wanted too.
pub(super) const HEADER_GUESS_BYTES: u64 = 64 * 1024;
