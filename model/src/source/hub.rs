//! Files of a repository on the Hugging Face hub, through the cache that Python tools share.
//!
//! A branch or tag is resolved to a commit once, by the first file; all later files come from
//! that commit, so a push in between cannot mix two versions of a model.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hf_hub::{HFClient, HFError};

use super::download_progress::DownloadProgress;
use super::hub_options::HubOptions;
use crate::error::HubError;

/// A repository at one commit.
#[derive(Debug)]
pub(super) struct HubRepository {
    options: HubOptions,
    commit: String,
    stall_limit: Duration,
}

impl HubRepository {
    /// Resolves the revision by fetching the configuration.
    ///
    /// # Errors
    /// Any [`HubError`].
    pub(super) fn resolve(options: HubOptions) -> Result<Self, HubError> {
        options.check()?;
        let mut repository = Self {
            commit: options.revision.clone(),
            options,
            stall_limit: STALL_LIMIT,
        };
        let path = repository.file("config.json")?;
        // …/snapshots/COMMIT/config.json
        let commit = path.parent().and_then(Path::file_name);
        let commit = commit.ok_or_else(|| HubError::Client(format!("no snapshot in {path:?}")))?;
        repository.commit = commit.to_string_lossy().into_owned();
        Ok(repository)
    }

    pub(super) fn name(&self) -> &str {
        &self.options.repository
    }

    pub(super) fn commit(&self) -> &str {
        &self.commit
    }

    /// Path of a file in the cache, fetched first if need be.
    ///
    /// # Errors
    /// Any [`HubError`].
    pub(super) fn file(&self, file: &str) -> Result<PathBuf, HubError> {
        // A thread of its own, because a runtime may neither be entered nor dropped inside another.
        std::thread::scope(|scope| {
            let fetching = scope.spawn(|| self.fetch(file));
            fetching
                .join()
                .unwrap_or_else(|_| Err(HubError::Client("the hub client panicked".to_owned())))
        })
    }

    fn fetch(&self, file: &str) -> Result<PathBuf, HubError> {
        let client = self.client()?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(DOWNLOAD_THREADS)
            .enable_all()
            .build()
            .map_err(|error| HubError::Client(error.to_string()))?;
        let fetched = runtime.block_on(self.download(&client, file));
        // Not waiting: a file lock held by another process may never be granted.
        runtime.shutdown_background();
        fetched
    }

    async fn download(&self, client: &HFClient, file: &str) -> Result<PathBuf, HubError> {
        let progress = Arc::new(DownloadProgress::new(file, self.options.progress_bar));
        let (owner, name) = hf_hub::split_id(&self.options.repository);
        let repository = client.model(owner, name);
        let mut download = Box::pin(
            repository
                .download_file()
                .filename(file)
                .revision(&self.commit)
                .local_files_only(self.options.offline)
                .progress(Arc::clone(&progress))
                .send(),
        );
        let mut seen = 0;
        loop {
            match tokio::time::timeout(self.stall_limit, &mut download).await {
                Ok(Ok(path)) => return Ok(path),
                Ok(Err(error)) => return Err(self.explain(file, client, &error)),
                Err(_) if progress.bytes() == seen => {
                    return Err(
                        self.unreachable(file, format!("no bytes for {:?}", self.stall_limit))
                    );
                }
                Err(_) => seen = progress.bytes(),
            }
        }
    }

    fn client(&self) -> Result<HFClient, HubError> {
        let mut builder = HFClient::builder();
        if let Some(token) = &self.options.token {
            builder = builder.token(token);
        }
        if let Some(cache_dir) = &self.options.cache_dir {
            builder = builder.cache_dir(cache_dir);
        }
        if let Some(endpoint) = &self.options.endpoint {
            builder = builder.endpoint(endpoint);
        }
        builder
            .build()
            .map_err(|error| HubError::Client(error.to_string()))
    }

    /// Sorts the hub client's errors by who must act.
    fn explain(&self, file: &str, client: &HFClient, error: &HFError) -> HubError {
        let repository = self.options.repository.clone();
        let (file, detail) = (file.to_owned(), chain(error));
        match error {
            HFError::RepoNotFound { .. }
            | HFError::RevisionNotFound { .. }
            | HFError::EntryNotFound { .. } => HubError::NotFound {
                repository,
                revision: self.commit.clone(),
                file,
                detail,
            },
            HFError::LocalEntryNotFound { .. } => HubError::NotCached {
                repository,
                revision: self.commit.clone(),
                file,
                cache_dir: client.cache_dir().to_owned(),
            },
            HFError::AuthRequired { .. } => HubError::AccessDenied {
                repository,
                file,
                advice: format!(
                    "check the name, and pass a token that may read it ({TOKEN_PLACES})"
                ),
                detail,
            },
            HFError::Forbidden { .. } => HubError::AccessDenied {
                repository,
                file,
                advice: format!(
                    "ask for access at {}/{}",
                    client.endpoint(),
                    self.options.repository
                ),
                detail,
            },
            _ => self.unreachable(&file, detail),
        }
    }

    fn unreachable(&self, file: &str, detail: String) -> HubError {
        HubError::Unreachable {
            repository: self.options.repository.clone(),
            file: file.to_owned(),
            detail,
        }
    }
}

/// An error with its causes on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

/// Time without a single byte after which a download is given up; two of them may pass.
const STALL_LIMIT: Duration = Duration::from_secs(60);

/// Threads of a download: one for the network, one for what blocks it.
const DOWNLOAD_THREADS: usize = 2;

/// Where a token is looked for, in this order.
const TOKEN_PLACES: &str = "given, or HF_TOKEN, or the hub client's token file";

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::time::Duration;

    use super::{HubError, HubOptions, HubRepository};

    #[test]
    fn a_hub_that_stops_answering_is_given_up() {
        // Connections are accepted by the kernel, and nobody ever answers.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let cache = tempfile::tempdir().unwrap();
        let mut options = HubOptions::new("own/model");
        options.endpoint = Some(format!("http://{}", listener.local_addr().unwrap()));
        options.cache_dir = Some(cache.path().to_owned());
        let repository = HubRepository {
            options,
            commit: "main".to_owned(),
            stall_limit: Duration::from_millis(50),
        };
        let error = repository.file("config.json").unwrap_err();
        assert!(matches!(error, HubError::Unreachable { .. }), "{error:?}");
        assert!(error.to_string().contains("no bytes"), "{error}");
    }
}
