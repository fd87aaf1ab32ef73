//! Requests to a gateway, or to another server that speaks OpenAI's HTTP API.

use std::time::Duration;

use block_program::{Exit, Failure};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode, Url};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::cli::GatewayUrlFlags;

/// A server at a base address.
#[derive(Debug, Clone)]
pub(crate) struct HttpClient {
    base: Url,
    key: Option<String>,
    client: Client,
}

/// Why a request has no answer of use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HttpFailure {
    /// Nobody answers, or the connection broke.
    #[error("{0}")]
    Broken(String),
    /// It answers that it will not.
    #[error("{message} (HTTP {status})")]
    Refused {
        status: StatusCode,
        /// Its words.
        message: String,
    },
    /// It answers something else.
    #[error("the answer is not what this API says: {0}")]
    Nonsense(String),
}

impl HttpClient {
    /// A server as the flags name it.
    ///
    /// # Errors
    /// The address is no HTTP address (exit 2).
    pub(crate) fn new(flags: &GatewayUrlFlags) -> Result<Self, Failure> {
        Self::at(&flags.url, flags.api_key.clone())
    }

    /// A server at `url`; `key` is sent with every request.
    ///
    /// # Errors
    /// The address is no HTTP address (exit 2).
    pub(crate) fn at(url: &str, key: Option<String>) -> Result<Self, Failure> {
        let wrong = |cause: String| {
            Failure::usage(format!("--url {url} cannot be used"))
                .cause(cause)
                .hint("an address such as http://127.0.0.1:8000")
        };
        let base = Url::parse(url).map_err(|error| wrong(error.to_string()))?;
        if !["http", "https"].contains(&base.scheme()) || base.cannot_be_a_base() {
            return Err(wrong("it is no HTTP address".to_owned()));
        }
        let mut base = base;
        // Other tools want the version in their base address.
        if base.path().trim_end_matches('/').ends_with("/v1")
            && let Ok(mut segments) = base.path_segments_mut()
        {
            segments.pop_if_empty().pop();
        }
        let client = Client::builder()
            .connect_timeout(CONNECT_DEADLINE)
            // A redirect would take the key to another host.
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| wrong(error.to_string()))?;
        Ok(Self { base, key, client })
    }

    /// A request to a path, given by its parts.
    pub(crate) fn request(&self, method: Method, path: &[&str]) -> RequestBuilder {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        let request = self.client.request(method, url);
        match &self.key {
            Some(key) => request.bearer_auth(key),
            None => request,
        }
    }

    /// Sends a request and reads its answer, which is JSON; an empty one is `null`.
    ///
    /// # Errors
    /// [`HttpFailure`].
    pub(crate) async fn json<T: DeserializeOwned>(
        &self,
        request: RequestBuilder,
    ) -> Result<T, HttpFailure> {
        let response = accepted(request.timeout(ANSWER_DEADLINE)).await?;
        let body = body(response).await?;
        let text = if body.is_empty() { b"null" } else { &body[..] };
        serde_json::from_slice(text).map_err(|error| HttpFailure::Nonsense(error.to_string()))
    }

    /// What to say when a request fails.
    pub(crate) fn failure(&self, error: &HttpFailure) -> Failure {
        let base = &self.base;
        match error {
            HttpFailure::Broken(_) => {
                Failure::new(Exit::Unavailable, format!("nobody answers at {base}"))
                    .caused_by(error)
                    .hint("start swarm gateway, or name another with --url")
            }
            HttpFailure::Refused { status, .. }
                if [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN].contains(status) =>
            {
                Failure::new(Exit::NoPermission, format!("{base} wants another key"))
                    .caused_by(error)
                    .hint("set SWARM_API_KEY to a key that may do this")
            }
            HttpFailure::Refused { .. } => {
                Failure::new(Exit::Unavailable, format!("{base} refuses"))
                    .caused_by(error)
                    .hint("check that --url is that of a swarm gateway")
            }
            HttpFailure::Nonsense(_) => {
                Failure::new(Exit::BadData, format!("{base} is no swarm gateway"))
                    .caused_by(error)
                    .hint("check --url")
            }
        }
    }
}

/// Sends a request whose answer is to be read by the caller.
///
/// # Errors
/// [`HttpFailure`], also for every status but success.
pub(crate) async fn accepted(request: RequestBuilder) -> Result<Response, HttpFailure> {
    let response = request.send().await.map_err(|error| broken(&error))?;
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let body = body(response).await.unwrap_or_default();
    let message = serde_json::from_slice::<Value>(&body)
        .ok()
        .and_then(|value| value["error"]["message"].as_str().map(str::to_owned))
        .unwrap_or_else(|| "it gives no reason".to_owned());
    Err(HttpFailure::Refused { status, message })
}

/// Reads an answer of bounded length.
async fn body(mut response: Response) -> Result<Vec<u8>, HttpFailure> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| broken(&error))? {
        if body.len() + chunk.len() > MAX_ANSWER_BYTES {
            return Err(HttpFailure::Nonsense(format!(
                "it has more than {MAX_ANSWER_BYTES} bytes"
            )));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// The last reason says most: the first only repeats the address.
pub(crate) fn broken(error: &reqwest::Error) -> HttpFailure {
    let mut reason: &dyn std::error::Error = error;
    while let Some(source) = reason.source() {
        reason = source;
    }
    HttpFailure::Broken(reason.to_string())
}

/// Longest wait for a connection.
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);
/// Longest wait for an answer that is not generated.
const ANSWER_DEADLINE: Duration = Duration::from_secs(30);
/// Largest answer that is read: ten thousand sessions have about 3 MB.
const MAX_ANSWER_BYTES: usize = 16 << 20;
