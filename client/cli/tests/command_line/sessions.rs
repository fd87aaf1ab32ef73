//! `swarm ps` and `swarm stop`.

use std::sync::{Arc, Mutex};

use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{delete, get};
use axum::{Json, Router};
use block_testing::Home;
use serde_json::{Value, json};

use crate::http_api::serve;

const KEY: &str = "a-key";
const ID: &str = "chatcmpl-5f/1";

type Answer = (StatusCode, Json<Value>);

fn error(status: StatusCode, message: &str) -> Answer {
    let error = json!({"error": {"message": message, "type": "t", "param": null, "code": "c"}});
    (status, Json(error))
}

fn is_admin(headers: &HeaderMap) -> bool {
    headers
        .get("authorization")
        .is_some_and(|value| value == &format!("Bearer {KEY}"))
}

/// One session, until it is stopped.
fn gateway() -> String {
    let sessions = Arc::new(Mutex::new(vec![json!({
        "id": ID,
        "model": "fable-7m",
        "state": "running",
        "age_seconds": 75.2,
        "prompt_tokens": 9,
        "tokens": 40,
        "caller": "alice",
        "hops": [{"peer": "12D3KooWAAAAbbbbCCCC", "blocks": "0:8"}]
    })]));
    let listed = Arc::clone(&sessions);
    let list = async move |headers: HeaderMap| -> Answer {
        if !is_admin(&headers) {
            return error(StatusCode::UNAUTHORIZED, "no such key");
        }
        let data = listed.lock().unwrap().clone();
        (
            StatusCode::OK,
            Json(json!({"object": "list", "data": data})),
        )
    };
    let stop = async move |Path(id): Path<String>| -> Answer {
        let mut sessions = sessions.lock().unwrap();
        let before = sessions.len();
        sessions.retain(|session| session["id"] != id.as_str());
        match before - sessions.len() {
            0 => error(StatusCode::NOT_FOUND, "it has ended"),
            _ => (StatusCode::OK, Json(json!({"id": id, "deleted": true}))),
        }
    };
    serve(
        Router::new()
            .route("/v1/sessions", get(list))
            .route("/v1/sessions/{id}", delete(stop)),
    )
}

#[test]
fn sessions_are_listed_and_stopped() {
    let home = Home::new("swarm");
    let url = gateway();
    let swarm = |line: &[&str]| home.output([line, &["--url", &url, "--api-key", KEY]].concat());
    let table = swarm(&["ps"]);
    assert_eq!(table.code, Some(0), "{}", table.stderr);
    for part in [
        ID,
        "fable-7m",
        "running",
        "1 min",
        "40",
        "alice",
        "0:8 …bbbbCCCC",
    ] {
        assert!(table.stdout.contains(part), "{part} in {}", table.stdout);
    }
    let list: Value = serde_json::from_str(&swarm(&["ps", "--json"]).stdout).unwrap();
    assert_eq!(list["data"][0]["tokens"], 40);

    assert_eq!(swarm(&["stop", ID]).stdout, format!("stopped {ID}\n"));
    swarm(&["stop", ID]).fails_with(66, &[ID, "it has ended", "hint: swarm ps"]);
    assert_eq!(swarm(&["ps"]).stdout, "no session\n");
}

#[test]
fn a_gateway_that_cannot_be_asked_says_why() {
    let home = Home::new("swarm");
    let url = gateway();
    home.output(["ps", "--url", &url])
        .fails_with(77, &["no such key", "hint: set SWARM_API_KEY"]);
    let by_variable = home
        .command(["ps", "--url", &url])
        .env("SWARM_API_KEY", KEY)
        .output()
        .unwrap();
    assert_eq!(by_variable.status.code(), Some(0));
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = format!("http://{}", closed.local_addr().unwrap());
    drop(closed);
    home.output(["ps", "--url", &nobody])
        .fails_with(69, &["nobody answers at", "hint: start swarm gateway"]);
    let page = serve(Router::new().route("/v1/sessions", get(async || "<html>")));
    home.output(["ps", "--url", &page])
        .fails_with(65, &["is no swarm gateway", "hint: check --url"]);
    let other = serve(Router::new());
    home.output(["ps", "--url", &other])
        .fails_with(69, &["refuses", "404", "hint:"]);
    home.output(["ps", "--url", "ftp://127.0.0.1"])
        .fails_with(2, &["--url ftp://127.0.0.1 cannot be used", "hint:"]);
}
