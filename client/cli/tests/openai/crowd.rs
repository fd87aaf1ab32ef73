//! Two hundred streams at once: none fails but for the documented 429, all say the same, memory stays flat, and a reader
//! that takes nothing holds nobody up.

use std::io::{Read, Write};
use std::net::TcpStream;

use block_testing::{BlockServer, HttpGateway, PATIENCE, Span, admin_get, fable};
use futures::future::join_all;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

const CROWD: usize = 200;
const TOKENS: usize = 12;
const PREFIX: &str = "fable-7m-hf";
const ROUNDS: usize = 3;
/// What allocators keep back and give out again, between rounds that do the same.
const SLACK_BYTES: f64 = 24e6;

/// Both servers of a swarm, with a seat for everybody.
fn servers() -> (Vec<BlockServer>, String) {
    let (mut servers, mut address) = (Vec::new(), None);
    for blocks in ["0:4", "4:8"] {
        let span = Span {
            prefix: PREFIX,
            blocks,
            dtype: "f32",
            flags: &["--max-sessions", "512", "--max-sessions-per-peer", "512"],
        };
        let name = format!("openai-crowd-{}", blocks.replace(':', "-"));
        let server = BlockServer::spawn(&name, &fable(), &span, address.as_deref());
        let ready = server.await_ready();
        address.get_or_insert(ready.address);
        servers.push(server);
    }
    (servers, address.unwrap())
}

fn gateway(name: &str, address: &str, flags: &[&str]) -> (HttpGateway, String) {
    let names = ["--dht-prefix", PREFIX, "--served-model-name", "fable-7m"];
    let gateway = HttpGateway::spawn(name, &fable(), address, &[&names, flags].concat());
    let url = gateway.await_ready();
    (gateway, url)
}

fn question(number: usize, more: &Value) -> Value {
    let names = ["Lily", "Tom", "Max", "Sara"];
    let text = format!(
        "Once upon a time there was a child named {}.",
        names[number % names.len()]
    );
    let mut body = json!({
        "model": "fable-7m", "messages": [{ "role": "user", "content": text }],
        "stream": true, "temperature": 0, "max_tokens": TOKENS, "ignore_eos": true,
    });
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

/// The text of a stream that came to its end.
fn text_of(events: &str) -> String {
    let chunks = events
        .lines()
        .filter_map(|line| line.strip_prefix("data: "));
    let chunks: Vec<&str> = chunks.collect();
    assert_eq!(chunks.last(), Some(&"[DONE]"), "{events}");
    let texts = chunks.iter().filter_map(|chunk| {
        let chunk: Value = serde_json::from_str(chunk).ok()?;
        assert!(chunk.get("error").is_none(), "{chunk}");
        chunk["choices"][0]["delta"]["content"]
            .as_str()
            .map(str::to_owned)
    });
    texts.collect()
}

async fn ask(client: reqwest::Client, url: &str, number: usize) -> (u16, String) {
    let request = client.post(format!("{url}/v1/chat/completions"));
    let answer = request
        .json(&question(number, &json!({})))
        .send()
        .await
        .unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

/// All at once; status and body of each.
fn crowd(runtime: &Runtime, url: &str) -> Vec<(u16, String)> {
    let client = reqwest::Client::builder()
        .timeout(PATIENCE)
        .build()
        .unwrap();
    runtime.block_on(join_all(
        (0..CROWD).map(|number| ask(client.clone(), url, number)),
    ))
}

fn resident_bytes(url: &str) -> f64 {
    let (status, metrics) = admin_get(url.strip_prefix("http://").unwrap(), "/metrics");
    assert_eq!(status, 200);
    let name = "process_resident_memory_bytes ";
    let line = metrics.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap().parse().unwrap()
}

#[test]
fn two_hundred_streams_at_once() {
    let (_servers, address) = servers();
    let runtime = Runtime::new().unwrap();

    let (_usual, url) = gateway("openai-crowd-usual", &address, &[]);
    let alone = |number| {
        let client = reqwest::Client::new();
        let (status, events) = runtime.block_on(ask(client, &url, number));
        assert_eq!(status, 200, "{events}");
        text_of(&events)
    };
    let expected: Vec<String> = (0..4).map(alone).collect();
    let answers = crowd(&runtime, &url);
    let mut served = 0;
    for (number, (status, body)) in answers.iter().enumerate() {
        if *status == 200 {
            served += 1;
            assert_eq!(text_of(body), expected[number % 4]);
        } else {
            let error: Value = serde_json::from_str(body).unwrap();
            assert_eq!(
                (*status, &error["error"]["code"]),
                (429, &json!("queue_full"))
            );
        }
    }
    // As many as sit and wait by default, if nobody had to give up waiting.
    assert!((32..=CROWD).contains(&served), "{served} were served");

    let all = CROWD.to_string();
    let (_wide, url) = gateway(
        "openai-crowd-wide",
        &address,
        &["--max-concurrent", "256", "--max-queue", &all],
    );
    let long = json!({ "max_tokens": 480, "logprobs": true, "top_logprobs": 20 });
    let mut slow = send(&url, &question(0, &long));
    let mut resident = Vec::new();
    for round in 0..ROUNDS {
        for (number, (status, body)) in crowd(&runtime, &url).iter().enumerate() {
            assert_eq!(*status, 200, "round {round}: {body}");
            assert_eq!(text_of(body), expected[number % 4], "round {round}");
        }
        resident.push(resident_bytes(&url));
    }
    let grown = resident[ROUNDS - 1] - resident[0];
    assert!(grown < SLACK_BYTES, "{resident:?}");

    // Whoever took nothing meanwhile has lost nothing.
    let mut events = String::new();
    slow.read_to_string(&mut events).unwrap();
    assert!(text_of(&events).starts_with(&expected[0]));
}

/// Asks and reads nothing.
fn send(url: &str, body: &Value) -> TcpStream {
    let mut stream = TcpStream::connect(url.strip_prefix("http://").unwrap()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let body = body.to_string();
    write!(
        stream,
        "POST /v1/chat/completions HTTP/1.0\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    stream
}
