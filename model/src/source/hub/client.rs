//! Requests to the hub, each made again as long as patience lasts.
//!
//! All bytes come through hf-hub 1.0. Where it falls short, this code sits beside it:
//!
//! - its metadata call follows redirects and then misses the etag, size and commit of large files,
//!   which only the hub's own answer has: [`HubClient::facts`] asks without following
//! - it repeats requests at its own pace, whatever `Retry-After` says, and never one that was cut
//!   while bytes came: it is told not to, and [`HubClient::patiently`] does
//! - it has no deadline for a connection that says nothing: `timeout` here
//! - it stores what a second request answers without looking at the status, and under any etag, even
//!   one that leads out of the cache: facts are asked first, and files checked after (`whole_file`)
//! - its range call does not say whether the range was honoured, and cannot go on where an earlier
//!   call stopped: see `range_fetch`, `partial_file`

use std::ops::Range;
use std::time::{Duration, Instant};

use hf_hub::repository::download::HFByteStream;
use hf_hub::{HFClient, HFRepository, RepoTypeModel};
use reqwest::header::{ACCEPT_ENCODING, HeaderMap, LOCATION, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Response, Url};

use super::cache_folder::CacheFolder;
use super::failure::{self, Failure, Refusal, Subject};
use super::file_facts::FileFacts;
use super::patience::Patience;
use super::token;
use crate::error::HubError;
use crate::source::HubOptions;

/// A connection to the hub for one repository.
#[derive(Debug)]
pub(super) struct HubClient<'a> {
    pub(super) options: &'a HubOptions,
    hub: HFClient,
    pub(super) repository: HFRepository<RepoTypeModel>,
    pub(super) folder: CacheFolder,
    without_redirects: reqwest::Client,
    token: Option<String>,
}

impl<'a> HubClient<'a> {
    /// Reads the environment for what the options leave open; makes no request.
    ///
    /// # Errors
    /// [`HubError::Client`].
    pub(super) fn new(options: &'a HubOptions) -> Result<Self, HubError> {
        let unfit = |error: &dyn std::error::Error| HubError::Client(failure::chain(error));
        let variable = |name: &str| std::env::var(name).ok();
        let token = token::find(options.token.as_deref(), variable)?;
        let mut builder = HFClient::builder()
            .user_agent(USER_AGENT)
            .retry_max_attempts(0);
        if let Some(token) = &token {
            builder = builder.token(token);
        }
        if let Some(cache_dir) = &options.cache_dir {
            builder = builder.cache_dir(cache_dir);
        }
        if let Some(endpoint) = &options.endpoint {
            builder = builder.endpoint(endpoint);
        }
        let hub = builder.build().map_err(|error| unfit(&error))?;
        let without_redirects = reqwest::Client::builder()
            .user_agent(USER_AGENT)
            .redirect(Policy::none())
            .build()
            .map_err(|error| unfit(&error))?;
        let (owner, name) = hf_hub::split_id(&options.repository);
        Ok(Self {
            options,
            repository: hub.model(owner, name),
            folder: CacheFolder::new(hub.cache_dir(), &options.repository),
            hub,
            without_redirects,
            token,
        })
    }

    /// `owner/name`.
    pub(super) fn name(&self) -> &str {
        &self.options.repository
    }

    /// What a request is about, for its errors.
    pub(super) fn subject<'b>(&'b self, revision: &'b str, file: &'b str) -> Subject<'b> {
        Subject {
            options: self.options,
            endpoint: self.hub.endpoint(),
            revision,
            file,
        }
    }

    /// How long to go on without progress.
    pub(super) fn patience(&self) -> Duration {
        self.options.patience
    }

    /// Time without a byte after which a connection is given up for another one.
    pub(super) fn deadline(&self) -> Duration {
        self.options.patience / 2
    }

    /// Makes a request until it succeeds, cannot, or patience ends.
    ///
    /// # Errors
    /// The last one's.
    pub(super) async fn patiently<T>(
        &self,
        patience: Duration,
        mut attempt: impl AsyncFnMut() -> Result<T, Failure>,
    ) -> Result<T, HubError> {
        let mut patience = Patience::new(patience, Instant::now());
        loop {
            match attempt().await {
                Ok(answer) => return Ok(answer),
                Err(failure) => pause(&mut patience, failure).await?,
            }
        }
    }

    /// What the hub says of a file.
    ///
    /// # Errors
    /// Any [`HubError`]; [`HubError::NotCached`] when offline.
    pub(super) async fn facts(
        &self,
        revision: &str,
        file: &str,
        patience: Duration,
    ) -> Result<FileFacts, HubError> {
        if self.options.offline {
            return Err(self.not_cached(revision, file));
        }
        self.patiently(patience, async || self.ask_facts(revision, file).await)
            .await
    }

    /// One attempt.
    pub(super) async fn ask_facts(&self, revision: &str, file: &str) -> Result<FileFacts, Failure> {
        let subject = self.subject(revision, file);
        let answer = self.ask_headers(revision, file);
        let answer = tokio::time::timeout(self.deadline(), answer)
            .await
            .map_err(|_| subject.interrupted(silence(self.deadline())))??;
        let status = answer.status();
        if status.is_success() || status.is_redirection() {
            return FileFacts::parse(answer.headers())
                .map_err(|reason| Failure::for_good(subject.unreachable(reason)));
        }
        let header = |name: &str| text(answer.headers(), name);
        Err(subject.refused(&Refusal {
            status: status.as_u16(),
            host: failure::host(answer.url().as_str()),
            code: header("x-error-code"),
            message: header("x-error-message"),
            retry_after: header(RETRY_AFTER.as_str())
                .and_then(|seconds| seconds.trim().parse().ok())
                .map(Duration::from_secs),
        }))
    }

    /// The hub's own answer: followed are only redirects to another address of the hub itself, as
    /// after a repository was renamed.
    async fn ask_headers(&self, revision: &str, file: &str) -> Result<Response, Failure> {
        let subject = self.subject(revision, file);
        let mut url = self.address(revision, file).map_err(Failure::for_good)?;
        for _ in 0..MAX_RENAMES {
            let mut request = self
                .without_redirects
                .head(url.clone())
                .header(ACCEPT_ENCODING, "identity");
            if let Some(token) = &self.token {
                request = request.bearer_auth(token);
            }
            let answer = request.send().await.map_err(|error| subject.cut(&error))?;
            let is_renamed = |location: &String| Url::parse(location).is_err();
            let location = text(answer.headers(), LOCATION.as_str()).filter(is_renamed);
            let target = location.and_then(|location| url.join(&location).ok());
            match target {
                Some(target) if target.origin() == url.origin() => url = target,
                _ => return Ok(answer),
            }
        }
        let detail = format!("more than {MAX_RENAMES} redirects");
        Err(Failure::for_good(subject.unreachable(detail)))
    }

    fn address(&self, revision: &str, file: &str) -> Result<Url, HubError> {
        let endpoint = self.hub.endpoint();
        let unfit = || HubError::Client(format!("{endpoint:?} is no address of a hub"));
        let mut url = Url::parse(endpoint).map_err(|_| unfit())?;
        url.path_segments_mut()
            .map_err(|()| unfit())?
            .pop_if_empty()
            .extend(self.options.repository.split('/'))
            .extend(["resolve", revision, file]);
        Ok(url)
    }

    /// Opens a stream of some bytes of a file, with the length that the answer claims. One attempt.
    ///
    /// # Errors
    /// What went wrong and whether to try again.
    pub(super) async fn stream(
        &self,
        commit: &str,
        file: &str,
        range: Range<u64>,
    ) -> Result<(Option<u64>, HFByteStream), Failure> {
        let subject = self.subject(commit, file);
        let opened = self
            .repository
            .download_file_stream()
            .filename(file)
            .revision(commit)
            .range(range)
            .send();
        match tokio::time::timeout(self.deadline(), opened).await {
            Ok(opened) => opened.map_err(|error| subject.failed(error)),
            Err(_) => Err(subject.interrupted(silence(self.deadline()))),
        }
    }

    /// The file is not here, and the hub may not be asked.
    pub(super) fn not_cached(&self, revision: &str, file: &str) -> HubError {
        HubError::NotCached {
            repository: self.options.repository.clone(),
            revision: revision.to_owned(),
            file: file.to_owned(),
            cache_dir: self.hub.cache_dir().to_owned(),
        }
    }
}

/// Waits before the next attempt.
///
/// # Errors
/// The failure's, if there should be none.
pub(super) async fn pause(patience: &mut Patience, failure: Failure) -> Result<(), HubError> {
    let Some(pause) = patience.pause(failure.again, Instant::now()) else {
        return Err(failure.error);
    };
    tracing::debug!(error = %failure.error, ?pause, "trying again");
    if pause >= NOTICED_PAUSE {
        tracing::warn!(error = %failure.error, ?pause, "waiting for the hub");
    }
    tokio::time::sleep(pause).await;
    Ok(())
}

/// What to say of a connection that is there and says nothing.
pub(super) fn silence(deadline: Duration) -> String {
    format!("no bytes for {deadline:?}")
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.to_owned())
}

/// Who asks, for the hub's operators.
const USER_AGENT: &str = concat!("block-server/", env!("CARGO_PKG_VERSION"));

/// Redirects within the hub that are followed, as hf-hub does.
const MAX_RENAMES: usize = 10;

/// A longer pause looks like a program that hangs.
const NOTICED_PAUSE: Duration = Duration::from_secs(3);
