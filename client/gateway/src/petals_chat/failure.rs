//! What a caller of Petals' chat API is told when something fails.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::api_error::{ApiError, ErrorCode};

/// An error as an answer by HTTP.
#[derive(Debug)]
pub(super) struct Failure(ApiError);

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        Self(error)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let body = message(&self.0).to_string();
        let (parts, _) = self.0.into_response().into_parts();
        Response::from_parts(parts, Body::from(body))
    }
}

/// `{"ok":false,"error","traceback"}`. Petals' own page acts on two phrases in `traceback`: by the first it asks for a
/// longer session, by the second it says that there is no capacity.
pub(super) fn message(error: &ApiError) -> Value {
    let words = match error.code() {
        ErrorCode::ContextLengthExceeded => format!("Maximum length exceeded: {error}"),
        ErrorCode::SwarmOverloaded => format!("attention cache is full: {error}"),
        _ => error.to_string(),
    };
    json!({ "ok": false, "error": error.body()["error"], "traceback": words })
}
