mod keys;
mod streams;

use std::convert::Infallible;
use std::io::Write;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, Path as UrlPath, Request};
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json};
use futures::StreamExt;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tower::ServiceExt;

use super::*;

const LOCAL: &str = "127.0.0.1:8000";
const PUBLIC: &str = "0.0.0.0:8000";

fn door(config: DoorConfig, listen: &str) -> Door {
    Door::new(config, listen.parse().unwrap(), CancellationToken::new()).unwrap()
}

fn with_keys(keys: &str) -> DoorConfig {
    DoorConfig {
        key_variable: Some(KeyText::new(keys.to_owned())),
        ..DoorConfig::default()
    }
}

fn routes() -> Router {
    let who = |Extension(caller): Extension<Caller>| async move {
        Json(json!({
            "name": caller.name(),
            "is_admin": caller.is_admin(),
            "may_use_a": caller.may_use("a"),
        }))
    };
    let echo = |headers: HeaderMap, body: Bytes| async move {
        Json(json!({ "bytes": body.len(), "headers": format!("{headers:?}") }))
    };
    Router::new()
        .route("/health", get(|| async { "ok" }))
        .route("/metrics", get(|| async { "up 1" }))
        .route("/v1/models", get(who))
        .route("/v1/sessions", get(|| async { "all" }))
        .route("/v1/cancel/{id}", post(|| async { "gone" }))
        .route(
            "/v1/models/{id}",
            get(|UrlPath(id): UrlPath<String>| async { id }),
        )
        .route("/tokenize", post(echo))
        .route("/panic", get(panics))
}

async fn panics() -> Response {
    panic!("the secret of the handler");
}

/// A request as a local client makes it; `headers` go before its `Host`.
fn request(method: &str, path: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Request {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    if !headers.iter().any(|(name, _)| *name == "host") {
        request = request.header("host", "localhost:8000");
    }
    let mut request = request.body(body.into()).unwrap();
    let peer: SocketAddr = "127.0.0.1:50000".parse().unwrap();
    request.extensions_mut().insert(ConnectInfo(peer));
    request
}

async fn call(routes: &Router, request: Request) -> (StatusCode, HeaderMap, String) {
    let response = routes.clone().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let text = String::from_utf8(body.to_vec()).unwrap();
    (parts.status, parts.headers, text)
}

async fn ask(routes: &Router, path: &str, headers: &[(&str, &str)]) -> (StatusCode, Value) {
    let (status, _, text) = call(routes, request("GET", path, headers, Body::empty())).await;
    let json = serde_json::from_str(&text).unwrap_or(Value::String(text));
    (status, json)
}

#[tokio::test]
async fn large_bodies_are_refused_with_the_error_object_whether_announced_or_not() {
    let config = DoorConfig {
        max_body_bytes: 3_000_000,
        ..DoorConfig::default()
    };
    let routes = door(config, LOCAL).guard(routes());
    let fits = request("POST", "/tokenize", &[], vec![b'x'; 3_000_000]);
    let (status, _, text) = call(&routes, fits).await;
    assert!(status.is_success() && text.contains("3000000"), "{text}");
    let chunks = || futures::stream::iter((0..40).map(|_| Ok::<_, Infallible>(vec![0; 100_000])));
    let announced = request(
        "POST",
        "/tokenize",
        &[("content-length", "4000000")],
        Body::from_stream(chunks()),
    );
    let unannounced = request("POST", "/tokenize", &[], Body::from_stream(chunks()));
    for large in [announced, unannounced] {
        let (status, headers, text) = call(&routes, large).await;
        assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(headers["content-type"], "application/json");
        assert!(text.contains(r#""code":"body_too_large""#), "{text}");
    }
}

#[test]
fn refusals_are_counted_once_with_their_reason() {
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    let exposed = recorder.handle();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    metrics::with_local_recorder(&recorder, || {
        runtime.block_on(async {
            let counted = routes().layer(middleware::from_fn(track));
            let routes = door(with_keys("a:k"), PUBLIC).guard(counted);
            ask(&routes, "/v1/models", &[]).await;
            ask(&routes, "/v1/models", &[("x-api-key", "k")]).await;
            ask(&routes, "/nothing", &[("x-api-key", "k")]).await;
        });
    });
    let text = exposed.render();
    let value = |labels: &[&str]| {
        let mut lines = text.lines();
        let line = lines.find(|line| labels.iter().all(|label| line.contains(label)));
        line.and_then(|line| line.rsplit_once(' '))
            .map(|(_, value)| value.to_owned())
    };
    let requests = "block_gateway_http_requests_total{";
    for (labels, expected) in [
        (vec!["block_gateway_rejected_total{", r#""auth""#], "1"),
        (vec![requests, "/v1/models", "401"], "1"),
        (vec![requests, "/v1/models", "200"], "1"),
        (vec![requests, "other", "404"], "1"),
    ] {
        assert_eq!(
            value(&labels).as_deref(),
            Some(expected),
            "{labels:?} {text}"
        );
    }
}

#[tokio::test]
async fn unknown_paths_and_methods_are_answered_with_the_error_object() {
    let routes = door(DoorConfig::default(), LOCAL).guard(routes());
    for (method, path, status, code) in [
        ("GET", "/v1/embeddings", 404, "unknown_url"),
        ("POST", "/v1/models", 405, "method_not_allowed"),
        ("PUT", "/health", 405, "method_not_allowed"),
    ] {
        let (found, headers, text) = call(&routes, request(method, path, &[], "")).await;
        assert_eq!(found.as_u16(), status, "{method} {path}");
        assert_eq!(headers["content-type"], "application/json");
        let body: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(body["error"]["code"], code);
    }
    for path in ["/v1/models", "/health", "/tokenize", "/nothing"] {
        let (status, headers, _) = call(&routes, request("OPTIONS", path, &[], "")).await;
        assert_eq!(status, StatusCode::NO_CONTENT);
        assert!(headers.contains_key("allow"));
    }
    let (status, _, text) = call(&routes, request("HEAD", "/v1/models", &[], "")).await;
    assert_eq!((status.as_u16(), text.as_str()), (200, ""));
    assert_eq!(
        ask(&routes, "/v1/models/org%2Fname", &[]).await.1,
        json!("org/name")
    );
}

#[tokio::test]
async fn every_answer_has_a_name_and_the_headers_that_browsers_obey() {
    let routes = door(with_keys("a:k"), LOCAL).guard(routes());
    for (path, host) in [
        ("/health", "localhost"),
        ("/v1/models", "localhost"),
        ("/health", "evil.example"),
    ] {
        let headers = [("x-request-id", "mine-1"), ("host", host)];
        let (_, headers, _) = call(&routes, request("GET", path, &headers, "")).await;
        assert_eq!(headers["x-request-id"], "mine-1");
        assert_eq!(headers["x-content-type-options"], "nosniff");
        assert_eq!(headers["x-frame-options"], "DENY");
        let policy = headers["content-security-policy"].to_str().unwrap();
        assert!(policy.contains("default-src 'none'"));
    }
    let (_, headers, _) = call(&routes, request("GET", "/health", &[], "")).await;
    assert!(
        headers["x-request-id"]
            .to_str()
            .unwrap()
            .starts_with("req-")
    );
}

#[tokio::test]
async fn a_panic_is_an_error_with_a_name_and_nothing_of_the_inside() {
    let routes = door(DoorConfig::default(), LOCAL).guard(routes());
    let (status, headers, text) = call(
        &routes,
        request("GET", "/panic", &[("x-request-id", "mine-2")], ""),
    )
    .await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(headers["x-request-id"], "mine-2");
    assert!(
        text.contains("internal_error") && text.contains("mine-2"),
        "{text}"
    );
    assert!(!text.contains("secret"), "{text}");
}

#[tokio::test]
async fn cors_is_off_by_default_and_names_what_clients_send_and_read() {
    let origin = "https://app.example";
    let preflight = || {
        let headers = [
            ("origin", origin),
            ("access-control-request-method", "POST"),
            (
                "access-control-request-headers",
                "authorization,x-stainless-os",
            ),
        ];
        request("OPTIONS", "/v1/chat/completions", &headers, "")
    };
    let off = door(with_keys("a:k"), PUBLIC).guard(routes());
    let (_, headers, _) = call(&off, preflight()).await;
    assert!(!headers.contains_key("access-control-allow-origin"));

    for (allowed, answered) in [(origin, origin), ("*", "*")] {
        let config = DoorConfig {
            cors_origins: vec![allowed.to_owned()],
            ..with_keys("a:k")
        };
        let routes = door(config, PUBLIC).guard(routes());
        let (status, headers, _) = call(&routes, preflight()).await;
        assert!(status.is_success());
        assert_eq!(headers["access-control-allow-origin"], answered);
        assert!(!headers.contains_key("access-control-allow-credentials"));
        let sent = headers["access-control-allow-headers"].to_str().unwrap();
        for name in [
            "authorization",
            "content-type",
            "x-api-key",
            "x-stainless-os",
        ] {
            assert!(sent.split(',').any(|sent| sent.trim() == name), "{sent}");
        }
        // An error, too, has to be readable.
        let asked = request("GET", "/v1/models", &[("origin", origin)], "");
        let (status, headers, _) = call(&routes, asked).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED);
        assert_eq!(headers["access-control-allow-origin"], answered);
        let read = headers["access-control-expose-headers"].to_str().unwrap();
        for name in ["x-request-id", "retry-after", "x-ratelimit-limit-requests"] {
            assert!(read.contains(name), "{read}");
        }
    }
    let config = DoorConfig {
        cors_origins: vec!["https://other.example".to_owned()],
        ..with_keys("a:k")
    };
    let other = door(config, PUBLIC).guard(routes());
    let (_, headers, _) = call(&other, preflight()).await;
    assert!(!headers.contains_key("access-control-allow-origin"));
}
