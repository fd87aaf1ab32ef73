//! The inner steps: key, limit, body, seat, handler.

use std::net::SocketAddr;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::header::{ALLOW, CONTENT_LENGTH, EXPECT};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use http_body_util::LengthLimitError;
use tokio::time::{Instant, timeout, timeout_at};

use super::answer_body::{self, Bounds};
use super::credential::Protocol;
use super::pace::{Pace, too_many};
use super::paths::{self, Access};
use super::queue::Waited;
use super::rate::{Allowance, Bucket};
use super::{Caller, Door, RequestId, address, credential};
use crate::terms::too_late;
use crate::{ApiError, ErrorCode};

/// A request that may go on.
struct Admitted {
    caller: Caller,
    allowance: Option<Allowance>,
    pace: Pace,
}

/// A request that may not.
struct Refused {
    error: ApiError,
    allowance: Option<Allowance>,
}

/// Lets a request through to its handler, or says why not.
pub(super) async fn pass(State(door): State<Door>, request: Request, next: Next) -> Response {
    if request.method() == Method::OPTIONS {
        let methods = HeaderValue::from_static("GET, HEAD, POST, DELETE, OPTIONS");
        return (StatusCode::NO_CONTENT, [(ALLOW, methods)]).into_response();
    }
    let (mut parts, body) = request.into_parts();
    let protocol = Protocol::of(&parts.headers);
    let Admitted {
        caller,
        allowance,
        pace,
    } = match door.admit(&mut parts) {
        Ok(admitted) => admitted,
        Err(refused) => {
            discard(&parts, body).await;
            return refused.into_response();
        }
    };
    parts.extensions.insert(caller.clone());
    parts.extensions.insert(door.queue().clone());
    parts.extensions.insert(pace);
    let mut response = match door.serve(parts, body, next).await {
        Ok(response) => response,
        Err(error) => error.into_response(),
    };
    if response.status() == StatusCode::SWITCHING_PROTOCOLS
        && let Some(protocol) = protocol
    {
        protocol.answer(response.headers_mut());
    }
    if let Some(allowance) = allowance {
        allowance.write(response.headers_mut());
    }
    response.extensions_mut().insert(caller);
    response
}

/// Answers paths that nothing serves.
pub(super) async fn unknown_path(uri: Uri) -> ApiError {
    let path: String = uri.path().chars().take(MAX_PATH_SHOWN).collect();
    ApiError::new(ErrorCode::UnknownUrl, format!("no such path: {path}"))
}

/// Answers paths that are served by other methods.
pub(super) async fn wrong_method(method: Method, uri: Uri) -> ApiError {
    let path: String = uri.path().chars().take(MAX_PATH_SHOWN).collect();
    let message = format!("{path} is not to be called by {method}");
    ApiError::new(ErrorCode::MethodNotAllowed, message)
}

impl Door {
    /// Whose request it is, and whether that one may make it now.
    fn admit(&self, request: &mut Parts) -> Result<Admitted, Refused> {
        let peer = request.extensions.get::<ConnectInfo<SocketAddr>>();
        let peer = peer.map(|ConnectInfo(peer)| *peer);
        let ip = address::of_caller(&request.headers, peer, self.0.config.trusts_proxy);
        let sent = credential::take(&mut request.headers);
        let keys = self.keys();
        let key = sent.as_deref().and_then(|sent| keys.find(sent));
        let access = paths::access(request.uri.path());
        let is_here = || address::is_this_machine(&request.headers, peer);
        if access == Access::Open || (access == Access::ThisMachine && is_here()) {
            let caller = key.map_or_else(|| Caller::anybody(ip, false), Caller::with_key);
            return Ok(Admitted {
                caller,
                allowance: None,
                pace: Pace::new(self, None),
            });
        }
        let (rate, bucket) = match key {
            Some(key) => (
                key.rate.or(self.0.config.rate),
                Bucket::Key(key.name.clone()),
            ),
            None => (self.0.config.rate, Bucket::of_address(ip)),
        };
        // Whoever frees something is let through at once; whoever guesses keys there is not.
        let is_stranger = key.is_none() && self.0.asks_for_keys;
        let counts = is_stranger || !paths::frees(&request.method, request.uri.path());
        let allowance = rate
            .filter(|_| counts)
            .map(|rate| self.0.limits.count(rate, &bucket));
        let refused = |error| Refused { error, allowance };
        if let Some(wait) = allowance.and_then(|allowance| allowance.wait) {
            return Err(refused(too_many(wait)));
        }
        let caller = match key {
            Some(key) => Caller::with_key(key),
            None if self.0.asks_for_keys => return Err(refused(no_key(sent.is_some()))),
            None => Caller::anybody(ip, self.0.is_local),
        };
        if matches!(access, Access::Admin | Access::ThisMachine) {
            caller.require_admin().map_err(refused)?;
        }
        let pace = Pace::new(self, rate.map(|rate| (rate, bucket)));
        Ok(Admitted {
            caller,
            allowance,
            pace,
        })
    }

    /// Reads the body, takes a seat if need be, and runs the handler.
    async fn serve(&self, mut parts: Parts, body: Body, next: Next) -> Result<Response, ApiError> {
        let deadline = Instant::now() + self.0.config.request_timeout;
        let id = parts.extensions.get::<RequestId>().cloned();
        let id = id.unwrap_or_else(|| RequestId::of(&parts.headers));
        let body = self.read(&parts, body).await?;
        let seat = if paths::makes_text(&parts.method, parts.uri.path()) {
            let asked = Instant::now();
            let seat = self.queue().seat().await?;
            parts.extensions.insert(Waited(asked.elapsed()));
            Some(seat)
        } else {
            None
        };
        let request = Request::from_parts(parts, body.into());
        let response = timeout_at(deadline, next.run(request))
            .await
            .map_err(|_| too_late())?;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Ok(response);
        }
        let bounds = Bounds {
            id,
            making: seat.map(|seat| (seat, deadline)),
            ending: self.0.ending.clone(),
        };
        Ok(answer_body::bound(response, bounds))
    }

    /// The whole body, so that nobody holds a seat while it trickles in.
    async fn read(&self, parts: &Parts, body: Body) -> Result<Bytes, ApiError> {
        let limit = self.0.config.max_body_bytes;
        let too_large = || {
            let message = format!("the body has more than {limit} bytes");
            ApiError::new(ErrorCode::BodyTooLarge, message)
        };
        let announced = parts.headers.get(CONTENT_LENGTH);
        let announced = announced.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        if announced.is_some_and(|length| length > limit as u64) {
            discard(parts, body).await;
            return Err(too_large());
        }
        let read = timeout(BODY_TIMEOUT, axum::body::to_bytes(body, limit)).await;
        let read = read.map_err(|_| {
            let message = format!(
                "the body did not arrive within {} s",
                BODY_TIMEOUT.as_secs()
            );
            ApiError::new(ErrorCode::Timeout, message)
        })?;
        read.map_err(|error| {
            if is_length_limit(&error) {
                too_large()
            } else {
                ApiError::new(ErrorCode::InvalidValue, "the body broke off")
            }
        })
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let mut response = self.error.into_response();
        if let Some(allowance) = self.allowance {
            allowance.write(response.headers_mut());
        }
        response
    }
}

fn no_key(is_sent: bool) -> ApiError {
    let message = if is_sent {
        "the API key is not known here"
    } else {
        "send an API key as Authorization: Bearer KEY"
    };
    ApiError::new(ErrorCode::InvalidApiKey, message)
}

fn is_length_limit(error: &axum::Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.is::<LengthLimitError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// Reads what a refused caller still sends, within bounds: many read no answer before they have sent all.
async fn discard(parts: &Parts, body: Body) {
    // Who asks first is told before it sends.
    if parts.headers.contains_key(EXPECT) {
        return;
    }
    let mut frames = body.into_data_stream();
    let reading = async {
        let mut left = MAX_DISCARDED_BYTES;
        while let Some(Ok(bytes)) = frames.next().await {
            left = left.saturating_sub(bytes.len());
            if left == 0 {
                break;
            }
        }
    };
    let _ = timeout(DISCARD_TIMEOUT, reading).await;
}

/// How long a body may take to arrive: 2 MB at 70 kB/s.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// What is read of a body that nobody wants.
const MAX_DISCARDED_BYTES: usize = 16 << 20;
const DISCARD_TIMEOUT: Duration = Duration::from_secs(5);
/// Characters of an unknown path that its error repeats.
const MAX_PATH_SHOWN: usize = 200;
