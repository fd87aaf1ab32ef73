//! Files of a repository on the Hugging Face hub, through the cache that Python tools share.
//!
//! A branch or tag is resolved to a commit once, by the first file; all later files come from
//! that commit, so a push in between cannot mix two versions of a model.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hf_hub::{HFClient, HFError};

use super::download_progress::DownloadProgress;
use crate::error::HubError;

/// Which repository, and how to reach it.
#[derive(Clone)]
pub struct HubOptions {
    /// `owner/name`.
    pub repository: String,
    /// Branch, tag or commit; `main` by default.
    pub revision: String,
    /// Access token. Without one the hub client looks at `HF_TOKEN` and its token file.
    pub token: Option<String>,
    /// Root of the cache; by default where the Python hub client has it.
    pub cache_dir: Option<PathBuf>,
    /// Base URL of the hub; by default `HF_ENDPOINT` or the public one.
    pub endpoint: Option<String>,
    /// Whether to use the cache alone and make no request.
    pub offline: bool,
    /// Whether to draw a progress bar on stderr; never drawn if that is not a terminal.
    pub progress_bar: bool,
}

impl HubOptions {
    /// Options with their defaults for `owner/name`.
    pub fn new(repository: impl Into<String>) -> Self {
        Self {
            repository: repository.into(),
            revision: "main".to_owned(),
            token: None,
            cache_dir: None,
            endpoint: None,
            offline: false,
            progress_bar: true,
        }
    }
}

impl fmt::Debug for HubOptions {
    /// Shows everything but the token.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("HubOptions")
            .field("repository", &self.repository)
            .field("revision", &self.revision)
            .field("token_is_set", &self.token.is_some())
            .field("cache_dir", &self.cache_dir)
            .field("endpoint", &self.endpoint)
            .field("offline", &self.offline)
            .finish_non_exhaustive()
    }
}

/// A repository at one commit.
#[derive(Debug)]
pub(super) struct HubRepository {
    options: HubOptions,
    commit: String,
}

impl HubRepository {
    /// Resolves the revision by fetching the configuration.
    ///
    /// # Errors
    /// Any [`HubError`].
    pub(super) fn resolve(options: HubOptions) -> Result<Self, HubError> {
        check_name(&options.repository)?;
        let mut repository = Self {
            commit: options.revision.clone(),
            options,
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
            match tokio::time::timeout(STALL_LIMIT, &mut download).await {
                Ok(Ok(path)) => return Ok(path),
                Ok(Err(error)) => return Err(self.explain(file, client, &error)),
                Err(_) if progress.bytes() == seen => {
                    return Err(self.unreachable(file, format!("no bytes for {STALL_LIMIT:?}")));
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
                advice: "check the name, and pass a token that may read it",
                detail,
            },
            HFError::Forbidden { .. } => HubError::AccessDenied {
                repository,
                file,
                advice: "ask for access on the model's page",
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

/// The name becomes part of a URL and of a directory, so it may hold no surprises.
fn check_name(repository: &str) -> Result<(), HubError> {
    let plain = |part: &str| {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        (1..=MAX_NAME_BYTES).contains(&part.len())
            && part.chars().all(allowed)
            && !part.starts_with('.')
    };
    let parts: Vec<_> = repository.split('/').collect();
    if parts.len() <= 2 && parts.into_iter().all(plain) {
        Ok(())
    } else {
        Err(HubError::Client(format!(
            "{repository:?} is no repository name; one is written owner/name"
        )))
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

/// The hub's own limit for either half of a name.
const MAX_NAME_BYTES: usize = 96;

#[cfg(test)]
mod tests {
    use super::{HubOptions, check_name};

    #[test]
    fn a_name_cannot_lead_elsewhere() {
        for name in ["gpt2", "meta-llama/Llama-3.1-8B", "a_b/c.d"] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        for name in [
            "", "/", "a/", "../a", "a/..", "a/b/c", "a b/c", "a/b?x", "a/b#c", "a\\b",
        ] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }

    #[test]
    fn a_token_is_not_printed() {
        let mut options = HubOptions::new("a/b");
        options.token = Some("hf_secret".to_owned());
        assert!(!format!("{options:?}").contains("secret"));
    }
}
