//! Every failure is the one error object.

use std::time::Duration;

use block_gateway::{GatewayConfig, ServedModelOptions};
use serde_json::{Value, json};

use crate::wire::{Wire, send};
use crate::world::{TestSwarm, chat, served, swarm, text, within};

const CHAT: &str = "/v1/chat/completions";
const TEXT: &str = "/v1/completions";

/// A chat with this field is refused, and the field is named.
fn is_refused(more: &Value, param: &str) {
    let (status, error) = served().error(CHAT, &chat("abc", more));
    assert_eq!(
        (status, &error["param"]),
        (400, &param.into()),
        "{more}: {error}"
    );
    assert_eq!(error["code"], "invalid_value");
    assert_eq!(error["type"], "invalid_request_error");
}

#[test]
fn a_number_that_cannot_be_used_is_named() {
    for (more, param) in [
        (json!({ "temperature": 3 }), "temperature"),
        (json!({ "temperature": "hot" }), "temperature"),
        (json!({ "top_p": 0 }), "top_p"),
        (json!({ "top_k": -2 }), "top_k"),
        (json!({ "min_p": 1.5 }), "min_p"),
        (json!({ "presence_penalty": -3 }), "presence_penalty"),
        (json!({ "frequency_penalty": 2.5 }), "frequency_penalty"),
        (json!({ "repetition_penalty": 0 }), "repetition_penalty"),
        (json!({ "n": 5 }), "n"),
        (json!({ "n": 0 }), "n"),
        (json!({ "n": 1.5 }), "n"),
        (json!({ "max_tokens": 0 }), "max_tokens"),
        (
            json!({ "max_completion_tokens": -1 }),
            "max_completion_tokens",
        ),
        (json!({ "seed": "x" }), "seed"),
    ] {
        is_refused(&more, param);
    }
}

#[test]
fn a_field_that_cannot_be_used_is_named() {
    for (more, param) in [
        (json!({ "stop": ["a", "b", "c", "d", "e"] }), "stop"),
        (json!({ "stop": [""] }), "stop"),
        (json!({ "stop": 1 }), "stop"),
        (json!({ "logprobs": 3 }), "logprobs"),
        (json!({ "top_logprobs": 3 }), "top_logprobs"),
        (
            json!({ "logprobs": true, "top_logprobs": 21 }),
            "top_logprobs",
        ),
        (json!({ "stream": "yes" }), "stream"),
        (json!({ "stream_options": {} }), "stream_options"),
        (
            json!({ "stream": true, "stream_options": { "include_usage": 1 } }),
            "stream_options.include_usage",
        ),
        (json!({ "tools": [{}] }), "tools"),
        (json!({ "tool_choice": "required" }), "tool_choice"),
        (json!({ "functions": [{}] }), "functions"),
        (json!({ "modalities": ["audio"] }), "modalities"),
        (json!({ "audio": {} }), "audio"),
        (json!({ "prediction": {} }), "prediction"),
        (json!({ "web_search_options": {} }), "web_search_options"),
        (json!({ "messages": "hello" }), "messages"),
        (json!({ "messages": [] }), "messages"),
        (json!({ "messages": ["hello"] }), "messages[0]"),
        (
            json!({ "messages": [{ "role": "bard", "content": "" }] }),
            "messages[0].role",
        ),
        (
            json!({ "messages": [{ "role": "user" }] }),
            "messages[0].content",
        ),
        (
            json!({ "messages": [{ "role": "user", "content": "a" }, { "role": "user", "content": [{ "type": "image_url" }] }] }),
            "messages[1].content",
        ),
        (
            json!({ "messages": [{ "role": "assistant", "tool_calls": [] }] }),
            "messages[0].tool_calls",
        ),
        (
            json!({ "continue_final_message": true, "add_generation_prompt": true }),
            "continue_final_message",
        ),
        (json!({ "chat_template_kwargs": 1 }), "chat_template_kwargs"),
        (
            json!({ "chat_template_kwargs": { "messages": [] } }),
            "messages",
        ),
        (json!({ "logit_bias": { "x": 1 } }), "logit_bias"),
        (json!({ "logit_bias": { "3": 101 } }), "logit_bias"),
        (json!({ "min_tokens": -1 }), "min_tokens"),
        (
            json!({ "response_format": { "type": "xml" } }),
            "response_format",
        ),
        (
            json!({ "response_format": { "type": "json_schema", "json_schema": {} } }),
            "response_format",
        ),
        (
            json!({ "response_format": {
                "type": "json_schema", "json_schema": { "schema": { "type": "nothing" } },
            } }),
            "response_format",
        ),
        (json!({ "route": ["nobody"] }), "route"),
        (json!({ "model": null }), "model"),
    ] {
        is_refused(&more, param);
    }
}

#[test]
fn a_field_of_a_text_that_cannot_be_used_is_named() {
    for (more, param) in [
        (json!({ "prompt": null }), "prompt"),
        (json!({ "prompt": [] }), "prompt"),
        (json!({ "prompt": [1, "a"] }), "prompt"),
        (json!({ "prompt": [4096] }), "prompt"),
        (json!({ "prompt": [[]] }), "prompt"),
        (
            json!({ "prompt": ["a", "a", "a", "a", "a"], "n": 4 }),
            "prompt",
        ),
        (json!({ "max_tokens": 0 }), "max_tokens"),
        (json!({ "logprobs": 6 }), "logprobs"),
        (json!({ "echo": 1 }), "echo"),
        (json!({ "best_of": 2 }), "best_of"),
        (json!({ "suffix": "x" }), "suffix"),
    ] {
        let (status, error) = served().error(TEXT, &text("a", &more));
        assert_eq!(
            (status, &error["param"]),
            (400, &param.into()),
            "{more}: {error}"
        );
    }
}

#[test]
fn what_does_not_fit_in_the_context_says_so() {
    for (path, body, param) in [
        (
            CHAT,
            chat("hello", &json!({ "max_tokens": 512 })),
            "messages",
        ),
        (
            CHAT,
            chat(&"hello ".repeat(600), &json!({ "max_tokens": null })),
            "messages",
        ),
        (TEXT, text("hello", &json!({ "max_tokens": 600 })), "prompt"),
    ] {
        let (status, error) = served().error(path, &body);
        assert_eq!(status, 400);
        assert_eq!(error["code"], "context_length_exceeded");
        assert_eq!(error["param"], param);
        assert!(
            error["message"].as_str().unwrap().contains("512"),
            "{error}"
        );
    }
    let capped = ServedModelOptions {
        max_tokens_cap: Some(8),
        max_model_len: Some(64),
        ..ServedModelOptions::new("org/fable")
    };
    let capped = swarm().serve_as(GatewayConfig::default(), capped);
    let (status, error) = capped.error(CHAT, &chat("hello", &json!({ "max_tokens": 9 })));
    assert_eq!((status, &error["param"]), (400, &"max_tokens".into()));
    let free = json!({ "max_tokens": null, "ignore_eos": true });
    let answer = capped.ok(CHAT, &chat("hello", &free));
    assert_eq!(answer["usage"]["completion_tokens"], 8);
}

#[test]
fn whatever_is_not_there_is_an_error_object_too() {
    let (status, error) = served().error(CHAT, &chat("a", &json!({ "model": "other" })));
    assert_eq!((status, &error["code"]), (404, &"model_not_found".into()));
    for path in ["/v1/embeddings", "/v1/responses", "/nowhere", "/v1/models/"] {
        let wire = served().get(path);
        assert_eq!(wire.headers["content-type"], "application/json");
        assert_eq!(wire.status, 404, "{path}");
    }
    let (status, error) = served().error("/v1/embeddings", &json!({}));
    assert_eq!((status, &error["code"]), (404, &"unknown_url".into()));
    let wire = served().get(CHAT);
    assert_eq!(wire.status, 405);
    assert_eq!(wire.headers["allow"], "POST");
    assert_eq!(wire.json()["error"]["code"], "method_not_allowed");
    let wire = Wire::read(send(served().address, ("OPTIONS", CHAT), None));
    assert_eq!((wire.status, wire.headers["allow"].as_str()), (204, "POST"));
    let (status, error) = served().error("/v1/cancel/chatcmpl-none", &json!({}));
    assert_eq!((status, &error["code"]), (404, &"not_found".into()));
}

#[test]
fn a_body_that_is_no_object_or_too_large_is_refused() {
    let raw = |body: &str| {
        use std::io::Write;
        let mut stream = std::net::TcpStream::connect(served().address).unwrap();
        write!(
            stream,
            "POST {CHAT} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let wire = Wire::read(stream);
        (wire.status, wire.json()["error"]["code"].clone())
    };
    for body in [
        "",
        "{",
        "[]",
        "\"secret words\"",
        "{\"messages\": secret}",
        "\u{0}",
    ] {
        assert_eq!(raw(body), (400, "invalid_value".into()), "{body:?}");
    }
    let deep = "[".repeat(100_000);
    assert_eq!(raw(&deep), (400, "invalid_value".into()));
    let large = json!({ "model": "x".repeat(3 * 1024 * 1024) });
    let (status, error) = served().error(CHAT, &large);
    assert_eq!((status, &error["code"]), (413, &"body_too_large".into()));
}

#[test]
fn blocks_without_a_server_are_told_with_a_status_also_to_streams() {
    let half = TestSwarm::start("half", &["0:4"]);
    let config = GatewayConfig {
        no_route_patience: Duration::from_millis(200),
        ..GatewayConfig::default()
    };
    let served = half.serve(config);
    within(block_testing::PATIENCE, "the records are read", || {
        served.get("/health/ready").json()["status"] == "no_route"
    });
    let ready = served.get("/health/ready");
    assert_eq!(ready.status, 503);
    assert_eq!(ready.json()["missing"], json!(["4:8"]));
    let model = served.get("/v1/models/org/fable").json();
    assert_eq!(model["swarm"]["covered"], 4);
    for is_stream in [false, true] {
        let body = chat("hello", &json!({ "stream": is_stream }));
        let wire = served.post(CHAT, &body);
        assert_eq!(wire.status, 503);
        assert_eq!(wire.headers["retry-after"], "10");
        let error: Value = wire.json()["error"].take();
        assert_eq!(error["code"], "no_route");
        assert_eq!(error["type"], "server_error");
        assert!(
            error["message"].as_str().unwrap().contains("4:8"),
            "{error}"
        );
    }
}
