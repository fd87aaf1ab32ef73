//! The one error object of every answer, also inside a stream: OpenAI's
//! `{"error":{"message","type","param","code"}}`.
//!
//! The official clients choose an exception class by the status alone and show `message`; they retry 429 and 5xx by
//! themselves, and obey `retry-after`.

use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use serde_json::{Value, json};

use crate::track::RejectedBy;

/// What went wrong, as programs tell it: the key `code`. Status and `type` follow from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorCode {
    /// The body is no JSON, or a field has a value that it cannot have.
    InvalidValue,
    /// Prompt and answer do not fit in the model's context.
    ContextLengthExceeded,
    /// No key, or none that is known.
    InvalidApiKey,
    /// The key may not use this model or call.
    NotAllowed,
    /// The servers that an execution's policy admits do not have all blocks.
    PolicyForbidsNetwork,
    /// The request names another host, or comes from a page of another site.
    HostNotAllowed,
    /// No such model here.
    ModelNotFound,
    /// No such path.
    UnknownUrl,
    /// No such request or session, or not any more.
    NotFound,
    /// The path has no such method.
    MethodNotAllowed,
    /// The body is larger than what is read.
    BodyTooLarge,
    /// Too many requests of this key or address.
    RateLimitExceeded,
    /// Too many requests wait.
    QueueFull,
    /// Blocks that no server serves.
    NoRoute,
    /// Servers have no room for another session.
    SwarmOverloaded,
    /// Servers failed and no others could go on.
    RouteLost,
    /// Not done within the time that the gateway gives a request.
    Timeout,
    /// The caller, or somebody in its name, ended it.
    Cancelled,
    /// A defect of the gateway.
    InternalError,
}

/// An error as a caller gets it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    code: ErrorCode,
    message: String,
    param: Option<String>,
    retry_after: Option<Duration>,
}

impl ErrorCode {
    /// Its name in the key `code`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::InvalidValue => "invalid_value",
            Self::ContextLengthExceeded => "context_length_exceeded",
            Self::InvalidApiKey => "invalid_api_key",
            Self::NotAllowed => "model_not_allowed",
            Self::PolicyForbidsNetwork => "policy_forbids_network",
            Self::HostNotAllowed => "host_not_allowed",
            Self::ModelNotFound => "model_not_found",
            Self::UnknownUrl => "unknown_url",
            Self::NotFound => "not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::BodyTooLarge => "body_too_large",
            Self::RateLimitExceeded => "rate_limit_exceeded",
            Self::QueueFull => "queue_full",
            Self::NoRoute => "no_route",
            Self::SwarmOverloaded => "swarm_overloaded",
            Self::RouteLost => "route_lost",
            Self::Timeout => "timeout",
            Self::Cancelled => "cancelled",
            Self::InternalError => "internal_error",
        }
    }

    /// The status of an answer that is nothing but this error.
    #[must_use]
    pub fn status(self) -> StatusCode {
        match self {
            Self::InvalidValue | Self::ContextLengthExceeded | Self::Cancelled => {
                StatusCode::BAD_REQUEST
            }
            Self::InvalidApiKey => StatusCode::UNAUTHORIZED,
            Self::NotAllowed | Self::PolicyForbidsNetwork | Self::HostNotAllowed => {
                StatusCode::FORBIDDEN
            }
            Self::ModelNotFound | Self::UnknownUrl | Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::RateLimitExceeded | Self::QueueFull => StatusCode::TOO_MANY_REQUESTS,
            Self::NoRoute | Self::SwarmOverloaded => StatusCode::SERVICE_UNAVAILABLE,
            Self::RouteLost => StatusCode::BAD_GATEWAY,
            Self::Timeout => StatusCode::GATEWAY_TIMEOUT,
            Self::InternalError => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The kind of error in the key `type`.
    #[must_use]
    pub fn kind(self) -> &'static str {
        match self.status() {
            StatusCode::UNAUTHORIZED => "authentication_error",
            StatusCode::FORBIDDEN => "permission_error",
            StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
            status if status.is_server_error() => "server_error",
            _ => "invalid_request_error",
        }
    }
}

impl ApiError {
    /// An error with a message for people.
    #[must_use]
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            param: None,
            retry_after: None,
        }
    }

    /// A field of the request that has a value it cannot have.
    #[must_use]
    pub fn invalid(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            param: Some(param.into()),
            ..Self::new(ErrorCode::InvalidValue, message)
        }
    }

    /// With the field of the request that it is about.
    #[must_use]
    pub fn about(self, param: impl Into<String>) -> Self {
        Self {
            param: Some(param.into()),
            ..self
        }
    }

    /// With a time after which the caller may try again, in whole seconds, rounded up.
    #[must_use]
    pub fn retry_after(self, wait: Duration) -> Self {
        Self {
            retry_after: Some(wait),
            ..self
        }
    }

    /// What went wrong, as programs tell it.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        self.code
    }

    /// `{"error":{"message","type","param","code"}}`, as a body and as an event of a stream.
    #[must_use]
    pub fn body(&self) -> Value {
        json!({ "error": {
            "message": self.message,
            "type": self.code.kind(),
            "param": self.param,
            "code": self.code.name(),
        } })
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.code.status(), Json(self.body())).into_response();
        response.extensions_mut().insert(RejectedBy(self.code));
        let headers = response.headers_mut();
        if let Some(wait) = self.retry_after {
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.code == ErrorCode::InvalidApiKey {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_openais_object_with_the_headers_that_clients_obey() {
        let error = ApiError::invalid("temperature", "temperature is 0 to 2, not 3");
        assert_eq!(
            error.body(),
            json!({ "error": {
                "message": "temperature is 0 to 2, not 3",
                "type": "invalid_request_error",
                "param": "temperature",
                "code": "invalid_value",
            } })
        );
        let full = ApiError::new(ErrorCode::QueueFull, "64 requests wait")
            .retry_after(Duration::from_millis(1_500))
            .into_response();
        assert_eq!(full.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(full.headers()[header::RETRY_AFTER], "2");
        let key = ApiError::new(ErrorCode::InvalidApiKey, "no key").into_response();
        assert_eq!(key.headers()[header::WWW_AUTHENTICATE], "Bearer");
    }
}
