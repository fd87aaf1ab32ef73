//! Executions: started, watched, cancelled, kept.

use std::time::Duration;

use axum::Router;
use block_gateway::door::{Door, DoorConfig, KeyText};
use block_gateway::{ExecutionConfig, Executions, Gateway, GatewayConfig, router};
use block_testing::PATIENCE;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::sockets::{Came, Client};
use crate::wire::{Wire, send, send_as};
use crate::world::{Served, TestSwarm, chat, on_runtime, open_sessions, served, swarm, within};

/// What the promise is.
const SOON: Duration = Duration::from_secs(1);

/// A gateway with executions, behind a door.
pub(crate) fn behind(gateway: Gateway, door: DoorConfig, config: ExecutionConfig) -> Served {
    Served::of(gateway, move |gateway, address| {
        let routes = router(gateway.clone()).merge(Executions::new(gateway, config).routes());
        guarded(routes, door, address)
    })
}

pub(crate) fn guarded(routes: Router, door: DoorConfig, address: std::net::SocketAddr) -> Router {
    let door = Door::new(door, address, CancellationToken::new()).unwrap();
    door.guard(routes)
}

fn executions() -> Served {
    let gateway = served().gateway.clone();
    behind(gateway, DoorConfig::default(), ExecutionConfig::default())
}

fn prompt(more: &Value) -> Value {
    let mut body = json!({ "prompt": "Once upon a time", "temperature": 0, "max_tokens": 24 });
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

fn start(served: &Served, more: &Value) -> String {
    let wire = served.post("/execution/start", &prompt(more));
    let status = wire.status;
    let mut value = wire.json();
    assert_eq!(status, 202, "{value}");
    let Value::String(id) = value["id"].take() else {
        panic!("{value}");
    };
    id
}

fn status(served: &Served, id: &str) -> Value {
    served.get(&format!("/execution/status/{id}")).json()
}

fn until(served: &Served, id: &str, state: &str) -> Value {
    within(PATIENCE, state, || status(served, id)["state"] == state);
    status(served, id)
}

fn watch(served: &Served, id: &str) -> Client {
    Client::connect(served.address, &format!("/ws/execution/{id}"), &[]).unwrap()
}

#[test]
fn an_execution_is_watched_from_its_start_whenever_one_comes() {
    let served = executions();
    // As the same question in a chat.
    let answer = served.ok(
        "/v1/chat/completions",
        &chat("Once upon a time", &json!({})),
    );
    let expected = &answer["choices"][0]["message"]["content"];
    // No policy: every server is on this machine.
    let id = start(&served, &json!({}));
    let (early, code) = watch(&served, &id).rest();
    assert_eq!(code, Some(1000));
    let kinds: Vec<_> = early.iter().map(|message| &message["type"]).collect();
    assert_eq!(early[0], json!({ "type": "state", "state": "Queued" }));
    assert_eq!(early[1], json!({ "type": "state", "state": "Running" }));
    assert_eq!(early[2]["hops"][1]["blocks"], "4:8", "{kinds:?}");
    let tokens = early.iter().filter(|message| message["type"] == "token");
    let mut text = String::new();
    for (number, token) in tokens.enumerate() {
        assert_eq!(token["index"], number);
        text += token["text"].as_str().unwrap();
    }
    assert_eq!(&text, expected);
    let [.., state, done] = early.as_slice() else {
        panic!("{kinds:?}");
    };
    assert_eq!(state["state"], "Completed");
    assert_eq!((&done["type"], &done["result"]), (&"done".into(), expected));
    for count in ["prompt_tokens", "completion_tokens", "total_tokens"] {
        assert_eq!(done["usage"][count], answer["usage"][count]);
    }

    let (late, code) = watch(&served, &id).rest();
    assert_eq!((late, code), (early, Some(1000)));

    let told = status(&served, &id);
    assert_eq!(told["state"], "Completed");
    assert_eq!(&told["result"], expected);
    assert_eq!(told["tokens"], answer["usage"]["completion_tokens"]);
    assert_eq!(told["error"], Value::Null);
    for time in ["start_time", "end_time"] {
        let time = told[time].as_str().unwrap();
        assert!(time.len() == 20 && time.ends_with('Z'), "{time}");
    }
    let cancelled = served.ok(&format!("/execution/cancel/{id}"), &json!({}));
    assert_eq!(cancelled, json!({ "id": id, "state": "Completed" }));

    let run = served.ok("/run_prompt", &prompt(&json!({ "model": "org/fable" })));
    assert_eq!(run, json!({ "result": expected }));
}

#[test]
fn ending_an_execution_frees_its_sessions_within_a_second() {
    let swarm = TestSwarm::start("execution", &["0:4", "4:8"]);
    let gateway = swarm.serve(GatewayConfig::default()).gateway;
    let served = behind(gateway, DoorConfig::default(), ExecutionConfig::default());
    served.ok("/run_prompt", &prompt(&json!({ "max_tokens": 2 })));
    // Connections stay open, and no session can be opened any more.
    swarm.servers[1].pause();
    let is_open = |count| open_sessions(&swarm.servers[0]) == count;
    let freed = || within(SOON, "the server that lives has freed it", || is_open(0));
    let opened = || within(PATIENCE, "a session is open", || is_open(1));

    let id = start(&served, &json!({}));
    opened();
    assert_eq!(status(&served, &id)["state"], "Running");
    let mut watching = watch(&served, &id);
    for _ in 0..2 {
        let cancelled = served.ok(&format!("/execution/cancel/{id}"), &json!({}));
        assert_eq!(cancelled, json!({ "id": id, "state": "Cancelled" }));
    }
    freed();
    let (told, code) = watching.rest();
    let last = told.last().unwrap();
    assert_eq!((&last["type"], code), (&"error".into(), Some(1000)));
    assert_eq!(last["error"]["code"], "cancelled");
    let told = status(&served, &id);
    assert_eq!(
        (&told["state"], &told["result"]),
        (&"Cancelled".into(), &Value::Null)
    );

    let id = start(&served, &json!({}));
    opened();
    let mut watching = watch(&served, &id);
    watching.say(&json!({ "type": "cancel" }));
    freed();
    assert_eq!(
        watching.rest().0.last().unwrap()["error"]["code"],
        "cancelled"
    );
    assert_eq!(status(&served, &id)["state"], "Cancelled");

    // By the call for answers, as everything that is under way.
    let id = start(&served, &json!({}));
    opened();
    served.ok(&format!("/v1/cancel/{id}"), &json!({}));
    freed();
    until(&served, &id, "Cancelled");

    let waiting = send(
        served.address,
        ("POST", "/run_prompt"),
        Some(&prompt(&json!({}))),
    );
    opened();
    drop(waiting);
    freed();

    let id = start(&served, &json!({}));
    opened();
    on_runtime(served.gateway.stop());
    freed();
    until(&served, &id, "Cancelled");
    let refused = served.post("/run_prompt", &prompt(&json!({})));
    assert_eq!(refused.status, 503);
}

#[test]
fn executions_wait_for_a_seat_as_chats_do() {
    let swarm = TestSwarm::start("seats", &["0:4", "4:8"]);
    let gateway = swarm.serve(GatewayConfig::default()).gateway;
    let door = DoorConfig {
        max_concurrent: 1,
        max_queue: 1,
        request_timeout: Duration::from_secs(10),
        ..DoorConfig::default()
    };
    let served = behind(gateway, door, ExecutionConfig::default());
    served.ok("/run_prompt", &prompt(&json!({ "max_tokens": 2 })));
    swarm.servers[1].pause();
    let first = start(&served, &json!({}));
    until(&served, &first, "Running");
    assert_eq!(served.get("/status").json()["state"], "busy");
    let second = start(&served, &json!({}));
    assert_eq!(status(&served, &second)["state"], "Queued");
    let (code, error) = served.error("/execution/start", &prompt(&json!({})));
    assert_eq!((code, &error["code"]), (429, &"queue_full".into()));
    let (code, _) = served.error("/run_prompt", &prompt(&json!({})));
    assert_eq!(code, 429);
    served.ok(&format!("/execution/cancel/{second}"), &json!({}));
    assert_eq!(status(&served, &second)["state"], "Cancelled");
    let third = start(&served, &json!({}));
    served.ok(&format!("/execution/cancel/{first}"), &json!({}));
    until(&served, &third, "Running");
    let failed = until(&served, &third, "Failed");
    assert_eq!(failed["error"]["code"], "timeout");
}

#[test]
fn an_execution_is_there_only_for_the_key_that_started_it() {
    let door = DoorConfig {
        key_variable: Some(KeyText::new("ann:key-of-ann,bob:key-of-bob".to_owned())),
        ..DoorConfig::default()
    };
    let gateway = served().gateway.clone();
    let served = behind(gateway, door, ExecutionConfig::default());
    let call = |key: &str, method: &str, path: &str, body: Option<&Value>| {
        Wire::read(send_as(key, served.address, (method, path), body))
    };
    let started = call(
        "key-of-ann",
        "POST",
        "/execution/start",
        Some(&prompt(&json!({}))),
    );
    assert_eq!(started.status, 202);
    let id = started.json()["id"].as_str().unwrap().to_owned();
    let (of_status, of_cancel) = (
        format!("/execution/status/{id}"),
        format!("/execution/cancel/{id}"),
    );
    for (key, expected) in [("key-of-ann", 200), ("key-of-bob", 404), ("none", 401)] {
        assert_eq!(call(key, "GET", &of_status, None).status, expected, "{key}");
        let cancelled = call(key, "POST", &of_cancel, Some(&json!({})));
        assert_eq!(cancelled.status, expected, "{key}");
    }
    let socket = format!("/ws/execution/{id}");
    let connect = |headers: &[(&'static str, &str)]| {
        Client::connect(served.address, &socket, headers).map(|client| client.protocol)
    };
    let protocol = "sec-websocket-protocol";
    assert_eq!(connect(&[("authorization", "Bearer key-of-ann")]), Ok(None));
    let taken = connect(&[(protocol, "bearer.key-of-ann")]);
    assert_eq!(taken, Ok(Some("bearer.key-of-ann".to_owned())));
    let taken = connect(&[(protocol, "swarm, bearer.key-of-ann")]);
    assert_eq!(taken, Ok(Some("swarm".to_owned())));
    for (headers, status) in [
        (&[][..], 401),
        (&[(protocol, "bearer.key-of-bob")], 404),
        (&[("x-api-key", "wrong")], 401),
    ] {
        assert_eq!(connect(headers).unwrap_err().0, status, "{headers:?}");
    }
    let in_url = format!("{socket}?key=key-of-ann&api_key=key-of-ann");
    let refused = Client::connect(served.address, &in_url, &[]);
    assert_eq!(refused.err().map(|(status, _)| status), Some(401));
    // A foreign page, which no CORS keeps from a WebSocket.
    let (origin, key) = ("origin", (protocol, "bearer.key-of-ann"));
    let (status, body) = connect(&[key, (origin, "https://evil.example")]).unwrap_err();
    assert_eq!(
        (status, &body["error"]["code"]),
        (403, &"host_not_allowed".into())
    );
    let ours = format!("http://localhost:{}", served.address.port());
    assert!(connect(&[key, (origin, &ours)]).is_ok());
}

#[test]
fn a_socket_is_pinged_and_takes_nothing_but_a_cancellation() {
    let swarm = TestSwarm::start("pings", &["0:4", "4:8"]);
    let gateway = swarm.serve(GatewayConfig::default()).gateway;
    let config = ExecutionConfig {
        ping_period: Duration::from_millis(200),
        ..ExecutionConfig::default()
    };
    let served = behind(gateway, DoorConfig::default(), config);
    served.ok("/run_prompt", &prompt(&json!({ "max_tokens": 2 })));
    swarm.servers[1].pause();
    let id = start(&served, &json!({}));
    until(&served, &id, "Running");
    let mut reader = watch(&served, &id);
    reader.hear_pings(5);
    let closed_by = |text: &str| {
        let mut client = watch(&served, &id);
        client.say_text(text);
        client.rest().1
    };
    assert_eq!(closed_by(r#"{"type":"stop"}"#), Some(1008));
    assert_eq!(closed_by("no JSON"), Some(1008));
    assert_eq!(closed_by(&"x".repeat(2000)), Some(1009));
    // None of this touched the execution, and neither does a reader that leaves.
    drop(reader);
    assert_eq!(status(&served, &id)["state"], "Running");
    served.ok(&format!("/execution/cancel/{id}"), &json!({}));
}

#[test]
fn a_reader_that_never_reads_holds_nobody_up() {
    let served = executions();
    let id = start(&served, &json!({ "max_tokens": 200 }));
    let silent = watch(&served, &id);
    until(&served, &id, "Completed");
    let (messages, _) = watch(&served, &id).rest();
    drop(silent);
    assert_eq!(messages.last().unwrap()["type"], "done");
}

#[test]
fn what_cannot_be_executed_is_the_one_error_object() {
    let served = executions();
    for (more, param) in [
        (json!({ "prompt": null }), "prompt"),
        (json!({ "prompt": 3 }), "prompt"),
        (json!({ "policy": true }), "policy"),
        (
            json!({ "policy": { "allow_networking": "no" } }),
            "policy.allow_networking",
        ),
        (json!({ "max_tokens": 0 }), "max_tokens"),
        (json!({ "temperature": -1 }), "temperature"),
    ] {
        for path in ["/execution/start", "/run_prompt"] {
            let (status, error) = served.error(path, &prompt(&more));
            assert_eq!((status, &error["param"]), (400, &param.into()), "{error}");
        }
    }
    let (status, error) = served.error("/run_prompt", &prompt(&json!({ "model": "other" })));
    assert_eq!((status, &error["code"]), (404, &"model_not_found".into()));
    let (status, error) = served.error("/run_prompt", &prompt(&json!({ "max_tokens": 9000 })));
    assert_eq!(
        (status, &error["code"]),
        (400, &"context_length_exceeded".into())
    );
    let unknown = served.get("/execution/status/exec-1");
    assert_eq!(unknown.status, 404);
    assert_eq!(unknown.json()["error"]["code"], "not_found");
    let refused = Client::connect(served.address, "/ws/execution/exec-1", &[]);
    assert_eq!(refused.err().map(|(status, _)| status), Some(404));
    let id = start(&served, &json!({}));
    let plain = served.get(&format!("/ws/execution/{id}"));
    assert_eq!(plain.status, 400);
    assert_eq!(plain.json()["error"]["code"], "invalid_value");
}

#[test]
fn the_status_of_the_gateway_has_figures_of_this_process() {
    let served = executions();
    let told = served.get("/status").json();
    assert_eq!(told["model_loaded"], true);
    assert!(
        ["idle", "busy"].contains(&told["state"].as_str().unwrap()),
        "{told}"
    );
    let resident = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = resident.split(' ').nth(1).unwrap().parse().unwrap();
    let memory = told["memory_usage"].as_u64().unwrap();
    // Other tests go on meanwhile.
    assert!(
        memory > pages * 4096 / 4 && memory < pages * 65536 * 4,
        "{memory} {pages}"
    );
    assert!(told["cpu_usage"].as_f64().unwrap() >= 0.0);
    assert_eq!(swarm().servers.len(), 2);
}

#[test]
fn what_has_ended_is_forgotten_after_its_time() {
    let config = ExecutionConfig {
        keep: Duration::from_millis(200),
        ..ExecutionConfig::default()
    };
    let served = behind(served().gateway.clone(), DoorConfig::default(), config);
    let id = start(&served, &json!({ "max_tokens": 2 }));
    let mut watching = watch(&served, &id);
    while watching.hear() != Came::Closed(Some(1000)) {}
    within(PATIENCE, "it is forgotten", || {
        served.get(&format!("/execution/status/{id}")).status == 404
    });
}
