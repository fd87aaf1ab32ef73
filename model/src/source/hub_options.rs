//! Which repository of the hub, and how to reach it.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

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
    /// How long to go on with a hub that refuses, cuts connections or says nothing, without a byte in
    /// between; one minute by default. A connection that is silent for half of it is made anew.
    pub patience: Duration,
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
            patience: PATIENCE,
        }
    }

    /// Name and revision become parts of URLs and of paths, so they may hold no surprises.
    pub(super) fn check(&self) -> Result<(), HubError> {
        let name: Vec<_> = self.repository.split('/').collect();
        if name.len() > 2 || !name.into_iter().all(is_plain) {
            return Err(HubError::Client(format!(
                "{:?} is no repository name; one is written owner/name",
                self.repository
            )));
        }
        if !self.revision.split('/').all(is_plain) {
            return Err(HubError::Client(format!(
                "{:?} is no branch, tag or commit",
                self.revision
            )));
        }
        Ok(())
    }
}

/// Whether a word of the hub's can be part of a URL or path as it is.
pub(super) fn is_plain(part: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let length = 1..=MAX_NAME_BYTES;
    length.contains(&part.len()) && part.chars().all(allowed) && !part.starts_with('.')
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
            .field("patience", &self.patience)
            .finish_non_exhaustive()
    }
}

/// A router that starts again or a hub's stumble is over by then.
const PATIENCE: Duration = Duration::from_secs(60);

/// The hub's own limit for either half of a name; no revision needs more.
const MAX_NAME_BYTES: usize = 96;

#[cfg(test)]
mod tests {
    use super::HubOptions;

    #[test]
    fn a_name_cannot_lead_elsewhere() {
        for name in ["gpt2", "meta-llama/Llama-3.1-8B", "a_b/c.d"] {
            assert!(HubOptions::new(name).check().is_ok(), "{name}");
        }
        for name in [
            "", "/", "a/", "../a", "a/..", "a/b/c", "a b/c", "a/b?x", "a/b#c", "a\\b",
        ] {
            assert!(HubOptions::new(name).check().is_err(), "{name}");
        }
        let at = |revision: &str| {
            let mut options = HubOptions::new("a/b");
            options.revision = revision.to_owned();
            options.check()
        };
        assert!(at("refs/pr/1").is_ok() && at("v1.0").is_ok());
        assert!(at("../../x").is_err() && at("/x").is_err() && at("").is_err());
    }

    #[test]
    fn a_token_is_not_printed() {
        let mut options = HubOptions::new("a/b");
        options.token = Some("hf_secret".to_owned());
        assert!(!format!("{options:?}").contains("secret"));
    }
}
