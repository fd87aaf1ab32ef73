//! Whole files, through hf-hub into the cache that everybody reads, checked.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tracing::debug;

use super::checksum;
use super::client::{HubClient, silence};
use super::failure::{self, Failure};
use super::file_facts::FileFacts;
use super::file_lock::{FileLock, LOCK_PERIOD};
use super::patience::Again;
use crate::error::HubError;
use crate::source::download_progress::DownloadProgress;

impl HubClient<'_> {
    /// Path of a file in the cache, as hf-hub finds it; no request is made.
    ///
    /// # Errors
    /// [`HubError::NotCached`], [`HubError::Disk`].
    pub(super) async fn cached(&self, revision: &str, file: &str) -> Result<PathBuf, HubError> {
        let found = self
            .repository
            .download_file()
            .filename(file)
            .revision(revision)
            .local_files_only(true)
            .send();
        found.await.map_err(|_| self.not_cached(revision, file))
    }

    /// Fetches a whole file into the cache, unless it is there, and checks it.
    ///
    /// # Errors
    /// Any [`HubError`]; [`HubError::NotCached`] when offline.
    pub(super) async fn whole(
        &self,
        revision: &str,
        file: &str,
        patience: Duration,
    ) -> Result<PathBuf, HubError> {
        if self.options.offline {
            return Err(self.not_cached(revision, file));
        }
        let _turn = self.turn(file).await;
        self.patiently(patience, async || {
            let facts = self.ask_facts(revision, file).await?;
            if let Some(path) = self.settled(revision, file, &facts) {
                return Ok(path);
            }
            let path = self.download(revision, file).await?;
            self.check(&path, &facts, revision, file).await?;
            Ok(path)
        })
        .await
    }

    /// Waits until no other process of ours fetches the file, so that nobody meets it half linked: hf-hub
    /// removes the link of every file that it fetches for a moment. Who cannot wait goes on without.
    async fn turn(&self, file: &str) -> Option<FileLock> {
        let waiting = async {
            loop {
                match FileLock::try_take(&self.folder.lock(file)) {
                    Ok(None) => tokio::time::sleep(LOCK_PERIOD).await,
                    Ok(taken) => return taken,
                    Err(error) => {
                        debug!(%error, file, "no lock");
                        return None;
                    }
                }
            }
        };
        let waited = tokio::time::timeout(self.patience(), waiting).await;
        waited.unwrap_or_default()
    }

    /// The file that the hub speaks of, if it is in the cache and sound, and the cache knows what the
    /// revision stands for: then hf-hub has nothing to do.
    fn settled(&self, revision: &str, file: &str, facts: &FileFacts) -> Option<PathBuf> {
        let path = self.folder.whole(&facts.commit, file)?;
        let is_resolved = revision == facts.commit
            || self.folder.commit_of(revision).as_deref() == Some(&facts.commit);
        let is_sound = || !matches!(checksum::fits(&path, &facts.blob.etag), Ok(Some(false)));
        (is_resolved && is_sound()).then_some(path)
    }

    async fn download(&self, revision: &str, file: &str) -> Result<PathBuf, Failure> {
        let subject = self.subject(revision, file);
        let progress = Arc::new(DownloadProgress::new(file, self.options.progress_bar));
        let mut download = Box::pin(
            self.repository
                .download_file()
                .filename(file)
                .revision(revision)
                .progress(Arc::clone(&progress))
                .send(),
        );
        let (mut seen, mut silent_looks) = (0, 0);
        loop {
            let look = self.deadline() / LOOKS_PER_DEADLINE;
            if let Ok(answer) = tokio::time::timeout(look, &mut download).await {
                return answer.map_err(|error| subject.failed(error));
            }
            silent_looks = if progress.bytes() == seen {
                silent_looks + 1
            } else {
                0
            };
            if silent_looks == LOOKS_PER_DEADLINE {
                return Err(subject.interrupted(silence(self.deadline())));
            }
            seen = progress.bytes();
        }
    }

    /// Checks a fetched file against its checksum, and takes it out of the cache if it is another.
    async fn check(
        &self,
        path: &Path,
        facts: &FileFacts,
        revision: &str,
        file: &str,
    ) -> Result<(), Failure> {
        let disk = |source: io::Error| match source.kind() {
            // Another client is just linking it.
            io::ErrorKind::NotFound => self.subject(revision, file).interrupted(source.to_string()),
            _ => Failure::for_good(failure::disk(path.to_owned(), source)),
        };
        // After a push to the branch in between, it is another file than the one asked about.
        let is_another = |target: PathBuf| target.file_name() != Some(facts.blob.etag.as_ref());
        if path.read_link().is_ok_and(is_another) {
            let detail = "it changed on the hub in between".to_owned();
            return Err(self.subject(revision, file).interrupted(detail));
        }
        let blob = path.canonicalize().map_err(disk)?;
        let is_sound = match checksum::fits(&blob, &facts.blob.etag).map_err(disk)? {
            Some(fits) => fits,
            None => blob.metadata().map_err(disk)?.len() == facts.blob.size,
        };
        if is_sound {
            return Ok(());
        }
        std::fs::remove_file(path).map_err(disk)?;
        if blob.exists() {
            std::fs::remove_file(&blob).map_err(disk)?;
        }
        // What hf-hub has stored may be the text of a refusal: asked again, it is told as such.
        self.stream(revision, file, 0..1).await.map(drop)?;
        Err(Failure {
            error: HubError::Damaged {
                repository: self.options.repository.clone(),
                file: file.to_owned(),
                etag: facts.blob.etag.clone(),
            },
            again: Again::Soon,
        })
    }
}

/// How often within the deadline it is looked whether hf-hub has got more bytes.
const LOOKS_PER_DEADLINE: u32 = 4;
