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
async fn a_key_opens_what_its_scopes_say() {
    let config = with_keys("alice:k1:model=a,bob:k2:model=b,root:k3:admin");
    let routes = door(config, PUBLIC).guard(routes());
    let who = |name, is_admin, a| json!({ "name": name, "is_admin": is_admin, "may_use_a": a });
    for (headers, expected) in [
        (("authorization", "Bearer k1"), who("alice", false, true)),
        (("x-api-key", "k2"), who("bob", false, false)),
        (
            ("sec-websocket-protocol", "bearer.k3"),
            who("root", true, true),
        ),
    ] {
        let (status, body) = ask(&routes, "/v1/models", &[headers]).await;
        assert_eq!((status, body), (StatusCode::OK, expected));
    }
    for path in ["/v1/models", "/v1/sessions", "/nothing", "/tokenize"] {
        for headers in [vec![], vec![("authorization", "Bearer k4")]] {
            let (status, body) = ask(&routes, path, &headers).await;
            assert_eq!(status, StatusCode::UNAUTHORIZED, "{path}");
            assert_eq!(body["error"]["code"], "invalid_api_key");
        }
    }
    for (path, key, expected) in [
        ("/v1/sessions", "k1", 403),
        ("/v1/sessions", "k3", 200),
        ("/health", "k4", 200),
    ] {
        let (status, _) = ask(&routes, path, &[("x-api-key", key)]).await;
        assert_eq!(status.as_u16(), expected, "{path} {key}");
    }
}

#[tokio::test]
async fn metrics_are_for_this_machine_or_an_admin() {
    let routes = door(with_keys("alice:k1,root:k3:admin"), PUBLIC).guard(routes());
    let of_proxy = ("x-forwarded-for", "203.0.113.1");
    for (headers, expected) in [
        (vec![], 200),
        (vec![of_proxy], 401),
        (vec![of_proxy, ("x-api-key", "k1")], 403),
        (vec![of_proxy, ("x-api-key", "k3")], 200),
    ] {
        let (status, _) = ask(&routes, "/metrics", &headers).await;
        assert_eq!(status.as_u16(), expected, "{headers:?}");
    }
}

#[test]
fn without_keys_only_this_machine_is_let_in_unless_told_otherwise() {
    let new =
        |config, listen: &str| Door::new(config, listen.parse().unwrap(), CancellationToken::new());
    let no_auth = DoorConfig {
        no_auth: true,
        ..DoorConfig::default()
    };
    assert!(new(DoorConfig::default(), LOCAL).is_ok());
    assert!(new(DoorConfig::default(), "[::1]:80").is_ok());
    for open in [PUBLIC, "10.0.0.1:80", "[::]:80"] {
        let refused = new(DoorConfig::default(), open);
        assert!(matches!(refused, Err(DoorError::NoKeys(_))), "{open}");
        assert!(new(no_auth.clone(), open).is_ok());
    }
    let both = DoorConfig {
        no_auth: true,
        ..with_keys("a:b")
    };
    assert!(matches!(new(both, LOCAL), Err(DoorError::KeysAndNoAuth)));
    let shown = format!("{:?}", with_keys("alice:very-secret"));
    assert!(!shown.contains("very-secret"));
}

#[tokio::test]
async fn a_key_never_reaches_what_is_behind_the_door() {
    let routes = door(with_keys("alice:very-secret"), LOCAL).guard(routes());
    for header in [
        ("authorization", "Bearer very-secret"),
        ("x-api-key", "very-secret"),
        ("sec-websocket-protocol", "bearer.very-secret"),
    ] {
        let (status, _, text) = call(&routes, request("POST", "/tokenize", &[header], "{}")).await;
        assert_eq!(status, StatusCode::OK);
        assert!(!text.contains("very-secret"), "{text}");
    }
}

#[tokio::test]
async fn keys_are_read_again_on_a_hangup_and_a_broken_file_changes_nothing() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "alice:k1").unwrap();
    let config = DoorConfig {
        key_file: Some(file.path().to_owned()),
        ..DoorConfig::default()
    };
    let door = door(config, PUBLIC);
    let routes = door.guard(routes());
    let status = async |key: &str| ask(&routes, "/v1/models", &[("x-api-key", key)]).await.0;

    let watching = {
        let door = door.clone();
        let mut reload = Box::pin(async move { door.reload_on_hangup().await });
        // One look installs the handler.
        assert!(futures::poll!(&mut reload).is_pending());
        tokio::spawn(reload)
    };
    std::fs::write(file.path(), "bob:k2\n").unwrap();
    let pid = std::process::id().to_string();
    let hang_up = tokio::process::Command::new("sh")
        .args(["-c", "kill -HUP $0", &pid])
        .status();
    assert!(hang_up.await.unwrap().success());
    let patience = tokio::time::Instant::now() + Duration::from_secs(10);
    while status("k2").await != StatusCode::OK {
        assert!(tokio::time::Instant::now() < patience);
        tokio::task::yield_now().await;
    }
    assert_eq!(status("k1").await, StatusCode::UNAUTHORIZED);
    watching.abort();

    for broken in ["bob k2\n", "# nothing left\n"] {
        std::fs::write(file.path(), broken).unwrap();
        assert!(door.reload_keys().is_err());
        assert_eq!(status("k2").await, StatusCode::OK);
    }
}

#[tokio::test]
async fn a_limit_counts_by_key_and_wrong_keys_by_address() {
    let config = DoorConfig {
        rate: Some("2/h".parse().unwrap()),
        ..with_keys("alice:k1,bob:k2:rate=1/h")
    };
    let routes = door(config, PUBLIC).guard(routes());
    let status = async |key| {
        ask(&routes, "/v1/models", &[("x-api-key", key)])
            .await
            .0
            .as_u16()
    };
    let seen = [
        status("k1").await,
        status("k1").await,
        status("k1").await,
        status("k2").await,
        status("k2").await,
        status("x1").await,
        status("x2").await,
        status("x3").await,
    ];
    assert_eq!(seen, [200, 200, 429, 200, 429, 401, 401, 429]);

    let again = request("GET", "/v1/models", &[("x-api-key", "k1")], Body::empty());
    let (status, headers, text) = call(&routes, again).await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
    assert!(text.contains("rate_limit_exceeded"), "{text}");
    let seconds: u64 = headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=1800).contains(&seconds), "{seconds}");
    assert_eq!(headers["x-ratelimit-limit-requests"], "2");
    assert_eq!(headers["x-ratelimit-remaining-requests"], "0");
    assert_eq!(headers["x-ratelimit-reset-requests"], "3600s");
    let cancel = request(
        "POST",
        "/v1/cancel/1",
        &[("x-api-key", "k1")],
        Body::empty(),
    );
    assert_eq!(call(&routes, cancel).await.0, StatusCode::OK);
    assert_eq!(ask(&routes, "/health", &[]).await.0, StatusCode::OK);
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

/// A route that streams what a test sends.
fn streaming(path: &str) -> (Router, mpsc::Sender<&'static str>) {
    let (sender, receiver) = mpsc::channel(4);
    let receiver = Arc::new(tokio::sync::Mutex::new(receiver));
    let stream = move || {
        let receiver = Arc::clone(&receiver);
        async move {
            let events = futures::stream::unfold(receiver, |receiver| async move {
                let text: &str = receiver.lock().await.recv().await?;
                assert!(text != "panic", "the secret of the stream");
                Some((Ok::<_, Infallible>(Event::default().data(text)), receiver))
            });
            Sse::new(events).into_response()
        }
    };
    (
        Router::new().route(path, post(stream.clone()).get(stream)),
        sender,
    )
}

async fn next(body: &mut axum::body::BodyDataStream) -> Option<String> {
    let bytes = body.next().await?.unwrap();
    Some(String::from_utf8(bytes.to_vec()).unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_seat_is_held_until_the_stream_has_ended_or_is_dropped() {
    let config = DoorConfig {
        max_concurrent: 1,
        max_queue: 0,
        ..DoorConfig::default()
    };
    let door = door(config, LOCAL);
    let (routes, sender) = streaming("/v1/chat/completions");
    let routes = door.guard(routes);
    let start = || {
        routes
            .clone()
            .oneshot(request("POST", "/v1/chat/completions", &[], "{}"))
    };

    let first = start().await.unwrap();
    assert_eq!(door.queue().free_seats(), 0);
    let (status, headers, text) =
        call(&routes, request("POST", "/v1/chat/completions", &[], "")).await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
    assert!(
        text.contains("queue_full") && headers.contains_key("retry-after"),
        "{text}"
    );
    drop(first);
    assert_eq!(door.queue().free_seats(), 1);

    let mut body = start().await.unwrap().into_body().into_data_stream();
    sender.send("one").await.unwrap();
    assert_eq!(next(&mut body).await.unwrap(), "data: one\n\n");
    assert_eq!(door.queue().free_seats(), 0);
    drop(sender);
    assert_eq!(next(&mut body).await, None);
    assert_eq!(door.queue().free_seats(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_takes_too_long_or_panics_ends_with_the_error_object_and_frees_its_seat() {
    let config = DoorConfig {
        request_timeout: Duration::from_secs(60),
        ..DoorConfig::default()
    };
    let door = door(config, LOCAL);
    let (stream, sender) = streaming("/v1/chat/completions");
    let never = post(|| async { std::future::pending::<()>().await });
    let routes = door.guard(stream.route("/v1/completions", never));

    let (status, _, text) = call(&routes, request("POST", "/v1/completions", &[], "")).await;
    assert_eq!(status, StatusCode::GATEWAY_TIMEOUT);
    assert!(text.contains(r#""code":"timeout""#), "{text}");

    for (sent, code) in [("one", "timeout"), ("panic", "internal_error")] {
        let started = request("POST", "/v1/chat/completions", &[], "");
        let response = routes.clone().oneshot(started).await.unwrap();
        let mut body = response.into_body().into_data_stream();
        assert_eq!(door.queue().free_seats(), 31);
        sender.send(sent).await.unwrap();
        let mut last = next(&mut body).await.unwrap();
        if sent == "one" {
            last = next(&mut body).await.unwrap();
        }
        let event: Value = serde_json::from_str(last.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(event["error"]["code"], code);
        assert!(!last.contains("secret"), "{last}");
        assert_eq!(next(&mut body).await, None);
        assert_eq!(door.queue().free_seats(), 32);
    }
}

#[tokio::test(start_paused = true)]
async fn other_streams_have_no_deadline_and_end_with_the_gateway() {
    let ending = CancellationToken::new();
    let door = Door::new(
        DoorConfig::default(),
        LOCAL.parse().unwrap(),
        ending.clone(),
    )
    .unwrap();
    let (stream, sender) = streaming("/v1/system/events");
    let routes = door.guard(stream);
    let started = request("GET", "/v1/system/events", &[], "");
    let response = routes.clone().oneshot(started).await.unwrap();
    let mut body = response.into_body().into_data_stream();
    tokio::time::advance(Duration::from_secs(10_000)).await;
    sender.send("one").await.unwrap();
    assert_eq!(next(&mut body).await.unwrap(), "data: one\n\n");
    ending.cancel();
    assert_eq!(next(&mut body).await, None);
}
