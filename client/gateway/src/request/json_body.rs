//! The body of a request: one JSON object.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use serde_json::{Map, Value};

use crate::api_error::{ApiError, ErrorCode};

/// A JSON object, whatever the content type says.
#[derive(Debug)]
pub(crate) struct JsonBody(pub(crate) Map<String, Value>);

impl<S: Send + Sync> FromRequest<S> for JsonBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let bytes = Bytes::from_request(request, state)
            .await
            .map_err(|rejection| {
                if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
                    ApiError::new(
                        ErrorCode::BodyTooLarge,
                        format!("the body has more than {MAX_BODY_BYTES} bytes"),
                    )
                } else {
                    ApiError::new(ErrorCode::InvalidValue, "the body broke off")
                }
            })?;
        match serde_json::from_slice(&bytes) {
            Ok(Value::Object(fields)) => Ok(Self(fields)),
            Ok(_) => Err(ApiError::new(
                ErrorCode::InvalidValue,
                "the body must be a JSON object",
            )),
            // The place alone: serde_json's own words may hold a part of the text.
            Err(error) => Err(ApiError::new(
                ErrorCode::InvalidValue,
                format!(
                    "the body is no JSON: line {}, column {}",
                    error.line(),
                    error.column()
                ),
            )),
        }
    }
}

/// Largest body that is read: some 500,000 tokens, more than any context.
pub(crate) const MAX_BODY_BYTES: usize = 2 * 1024 * 1024;
