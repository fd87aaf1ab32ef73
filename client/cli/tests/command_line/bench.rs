//! `swarm bench` against a swarm and against an OpenAI API.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use block_testing::{Home, fable};
use serde_json::Value;

use crate::http_api::serve;

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// What every record has.
fn is_record(record: &Value) {
    for name in ["ttft_ms", "itl_ms", "per_request"] {
        let spread = &record[name];
        let value = |key: &str| spread[key].as_f64().unwrap();
        assert!(
            value("p50") <= value("p90") && value("p90") <= value("max"),
            "{record}"
        );
    }
    assert!(
        record["tokens_per_second"].as_f64().unwrap() > 0.0,
        "{record}"
    );
    assert!(record["host"]["cores"].as_u64().unwrap() > 0, "{record}");
    assert_eq!(record["host"]["version"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn a_swarm_is_measured() {
    let home = Home::new("swarm");
    let server = home.serve(&[]);
    let model = fable();
    let line = [
        "bench",
        model.to_str().unwrap(),
        "--initial-peers",
        &server.address,
        "--requests",
        "4",
        "--concurrency",
        "2",
        "--prompt-tokens",
        "10",
        "--max-tokens",
        "5",
    ];
    let record = home.output([&line[..], &["--json"]].concat());
    assert_eq!((record.code, record.stderr.as_str()), (Some(0), ""));
    let record = json(&record.stdout);
    is_record(&record);
    assert_eq!(
        (&record["tokens"], &record["prompt_tokens"]),
        (&20.into(), &40.into())
    );
    assert_eq!(
        (&record["failed"], &record["url"]),
        (&0.into(), &Value::Null)
    );
    assert!(record["ttft_ms"]["p50"].as_f64().unwrap() > 0.0);
    let words = home.output(line);
    for part in [
        "4 of 4 answered, 2 at a time",
        "40 prompt, 20 answer",
        "first token",
        "tok/s",
    ] {
        assert!(words.stdout.contains(part), "{part} in {}", words.stdout);
    }
    home.output(["bench", model.to_str().unwrap()])
        .fails_with(2, &["no swarm given", "hint:"]);
}

const STREAM: &str = "\
: ping\n\n\
data: {\"choices\":[{\"text\":\"one\"}]}\n\n\
data: {\"choices\":[{\"text\":\" two\"}]}\n\n\
data: {\"choices\":[],\"usage\":{\"prompt_tokens\":11,\"completion_tokens\":4}}\n\n\
data: [DONE]\n\n";

#[test]
fn an_openai_api_is_measured_and_its_refusals_are_counted() {
    let home = Home::new("swarm");
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let complete = async move |Json(request): Json<Value>| {
        assert_eq!(request["stream_options"]["include_usage"], true);
        assert!(request["prompt"].as_str().unwrap().starts_with("the cat"));
        if count.fetch_add(1, Ordering::SeqCst) == 0 {
            let error = r#"{"error":{"message":"the queue is full"}}"#;
            return (StatusCode::TOO_MANY_REQUESTS, error.to_owned());
        }
        (StatusCode::OK, STREAM.to_owned())
    };
    let broken = async || "data: {\"error\":{\"message\":\"gave up\"}}\n\n";
    let url = serve(
        Router::new()
            .route("/v1/completions", post(complete))
            .route("/v1/chat/completions", post(broken)),
    );
    let line = [
        "bench",
        "some/model",
        "--url",
        &url,
        "--requests",
        "3",
        "--json",
    ];
    let record = home.output(line);
    assert_eq!(record.code, Some(0), "{}", record.stderr);
    let record = json(&record.stdout);
    is_record(&record);
    assert_eq!(
        (&record["failed"], &record["tokens"]),
        (&1.into(), &8.into())
    );
    assert_eq!(
        record["failures"][0],
        "the queue is full (HTTP 429 Too Many Requests)"
    );
    assert_eq!(asked.load(Ordering::SeqCst), 3);

    home.output([&line[..], &["--chat"]].concat())
        .fails_with(69, &["no request was answered", "gave up", "hint:"]);
    let version = format!("{url}/v1/");
    let line = ["bench", "some/model", "--url", &version, "--requests", "1"];
    assert_eq!(
        home.output(line).code,
        Some(0),
        "a base address may name the version"
    );
}
