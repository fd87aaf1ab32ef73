//! `swarm gateway` as a process.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use block_testing::{Home, PATIENCE, admin_get, fable};
use serde_json::Value;

use crate::process::Running;

/// The gateway to a server, and the address that it says.
pub(crate) fn ready(home: &Home, server: &str, more: &[&str]) -> (Running, String) {
    let model = fable();
    let line = [
        "gateway",
        "--model",
        model.to_str().unwrap(),
        "--listen",
        "127.0.0.1:0",
        "--initial-peers",
        server,
    ];
    let mut gateway = Running::start(home.command([&line[..], more].concat()));
    let line = gateway.line();
    let address = line.strip_prefix("READY http://").unwrap().to_owned();
    (gateway, address)
}

pub(crate) fn ask(address: &str, body: &str) -> TcpStream {
    post(address, "/v1/chat/completions", body)
}

fn post(address: &str, path: &str, body: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    stream
}

#[test]
fn it_answers_counts_and_ends_streams_politely() {
    let home = Home::new("swarm");
    let server = home.serve(&["--dtype", "f32"]);
    let (gateway, address) = ready(&home, &server.address, &[]);
    let mut reply = String::new();
    let question = r#"{"model": "fable-7m", "max_tokens": 4, "messages": [{"role": "user", "content": "Once"}]}"#;
    ask(&address, question).read_to_string(&mut reply).unwrap();
    let (_, body) = reply.split_once("\r\n\r\n").unwrap();
    let answer: Value = serde_json::from_str(body).unwrap();
    assert_eq!(answer["usage"]["completion_tokens"], 4);

    let (status, metrics) = admin_get(&address, "/metrics");
    assert_eq!(status, 200);
    for line in [
        "block_gateway_generated_tokens_total{model=\"fable-7m\"} 4",
        "block_gateway_http_requests_total{route=\"/v1/chat/completions\",method=\"POST\",code=\"200\"} 1",
        "block_gateway_queue_wait_seconds_count{model=\"fable-7m\"} 1",
        "block_gateway_session_reuse_total{outcome=\"miss\"} 1",
        // So few tokens are not worth keeping.
        "block_gateway_sessions_kept 0",
        "block_client_sessions_active 0",
    ] {
        assert!(metrics.contains(line), "{line} in\n{metrics}");
    }

    let endless = r#"{"model": "fable-7m", "max_tokens": 500, "ignore_eos": true, "stream": true, "messages": [{"role": "user", "content": "Once"}]}"#;
    let mut stream = ask(&address, endless);
    let mut first = [0; 1];
    stream.read_exact(&mut first).unwrap();
    gateway.signal("INT");
    let mut rest = String::new();
    stream.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("\"code\":\"cancelled\""), "{rest}");
    let ended = gateway.end();
    assert_eq!(
        (ended.code, ended.rest.as_str()),
        (Some(0), ""),
        "{}",
        ended.stderr
    );
    for part in [
        "fable-7m: 8 blocks, every block has a server",
        "curl http://",
    ] {
        assert!(ended.stderr.contains(part), "{part} in {}", ended.stderr);
    }
}

#[test]
fn the_apis_of_other_programs_are_there_if_asked_for() {
    let home = Home::new("swarm");
    let server = home.serve(&["--dtype", "f32"]);
    let reply = |address: &str, path: &str, body: &str| {
        let mut reply = String::new();
        post(address, path, body)
            .read_to_string(&mut reply)
            .unwrap();
        reply
    };
    let prompt = r#"{"prompt": "Once upon a time", "max_tokens": 4, "temperature": 0}"#;
    let inputs = "model=fable-7m&inputs=Once+upon+a+time&max_new_tokens=4";
    let (plain, address) = ready(&home, &server.address, &[]);
    for (path, body) in [("/run_prompt", prompt), ("/api/v1/generate", inputs)] {
        let refused = reply(&address, path, body);
        assert!(refused.starts_with("HTTP/1.1 404"), "{refused}");
    }
    drop(plain);
    let compat = ["--compat", "kekahyde,petals"];
    let (_gateway, address) = ready(&home, &server.address, &compat);
    // The server is on this machine, which every policy allows.
    let result = reply(&address, "/run_prompt", prompt);
    assert!(result.contains(r#"{"result":""#), "{result}");
    let generated = reply(&address, "/api/v1/generate", inputs);
    assert!(generated.contains(r#""ok":true"#), "{generated}");
    let (status, told) = admin_get(&address, "/status");
    assert_eq!(status, 200);
    assert!(told.contains(r#""model_loaded":true"#), "{told}");
}

#[test]
fn what_it_cannot_serve_is_said_before_it_listens() {
    let home = Home::new("swarm");
    let model = fable();
    let model = model.to_str().unwrap();
    let peers = [
        "--initial-peers",
        "/ip4/127.0.0.1/tcp/1/p2p/12D3KooWGjMCoGtTCVCBpBGm8nHGe7j6G5VZdCLVeYDXcGPrY1bq",
    ];
    let with = |more: &[&'static str]| {
        home.output([&["gateway", "--model", model][..], &peers, more].concat())
    };
    with(&["--listen", "0.0.0.0:0"]).fails_with(2, &["open to other machines", "hint:"]);
    with(&["--served-model-name", "a,b"]).fails_with(2, &["2 names for 1 models", "hint:"]);
    with(&["--model", "other/fable-7m", "--served-model-name", "a,a"])
        .fails_with(2, &["two models are called \"a\"", "hint:"]);
    home.output(["gateway", "--model", model])
        .fails_with(2, &["no swarm given"]);
    home.output(["gateway"]).fails_with(2, &["--model"]);
}

#[test]
fn a_hangup_reads_the_file_of_initial_peers_again() {
    let (home, other_home) = (Home::new("swarm"), Home::new("swarm"));
    let (server, other) = (home.serve(&[]), other_home.serve(&[]));
    let file = home.path().join("peers");
    std::fs::write(&file, &server.address).unwrap();
    let flags = ["--initial-peers-file", file.to_str().unwrap()];
    let (gateway, address) = ready(&home, &server.address, &flags);
    let known = |count: &str| {
        let (_, metrics) = admin_get(&address, "/metrics");
        metrics.contains(&format!("\nswarm_dht_routing_table_peers {count}\n"))
    };
    assert!(known("1"));
    std::fs::write(&file, &other.address).unwrap();
    gateway.signal("HUP");
    let began = Instant::now();
    while !known("2") {
        assert!(began.elapsed() < PATIENCE, "the new peer is not joined");
    }
    gateway.signal("TERM");
    assert_eq!(gateway.end().code, Some(0));
}
