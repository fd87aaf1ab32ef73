//! Petals' chat API, as its front ends use it.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use block_gateway::door::{DoorConfig, KeyText};
use block_gateway::{Gateway, GatewayConfig, PetalsChat, PetalsChatConfig, router};
use block_testing::PATIENCE;
use serde_json::{Value, json};

use crate::executions::guarded;
use crate::sockets::{Came, Client};
use crate::wire::Wire;
use crate::world::{Served, TestSwarm, chat, metric, on_runtime, served, text, within};

const PATH: &str = "/api/v2/generate";
/// What the promise is.
const SOON: Duration = Duration::from_secs(1);

fn behind(gateway: Gateway, door: DoorConfig, config: PetalsChatConfig) -> Served {
    Served::of(gateway, move |gateway, address| {
        let routes = router(gateway.clone()).merge(PetalsChat::new(gateway, config).routes());
        guarded(routes, door, address)
    })
}

fn petals() -> Served {
    let gateway = served().gateway.clone();
    behind(gateway, DoorConfig::default(), PetalsChatConfig::default())
}

/// A socket whose session is open.
fn open(served: &Served, max_length: usize) -> Client {
    let mut client = Client::connect(served.address, PATH, &[]).unwrap();
    client.say(&opening(max_length));
    assert_eq!(client.json(), json!({ "ok": true }));
    client
}

fn opening(max_length: usize) -> Value {
    json!({ "type": "open_inference_session", "model": "org/fable", "max_length": max_length })
}

/// A question token by token, as Petals' page asks.
fn question(inputs: &str, max_new_tokens: usize) -> Value {
    json!({ "type": "generate", "inputs": inputs, "max_new_tokens": max_new_tokens })
}

/// Parts up to the last: their text, and their tokens.
fn answer(client: &mut Client) -> (String, u64) {
    let (mut outputs, mut tokens) = (String::new(), 0);
    loop {
        let part = client.json();
        assert_eq!(part["ok"], true, "{part}");
        outputs += part["outputs"].as_str().unwrap();
        tokens += part["token_count"].as_u64().unwrap();
        if part["stop"] == true {
            return (outputs, tokens);
        }
    }
}

fn expected(served: &Served, prompt: &str, max_tokens: usize) -> String {
    let answer = served.ok(
        "/v1/completions",
        &text(prompt, &json!({ "max_tokens": max_tokens })),
    );
    answer["choices"][0]["text"].as_str().unwrap().to_owned()
}

/// Sends a form as curl does.
fn form(served: &Served, body: &str) -> Wire {
    let mut stream = TcpStream::connect(served.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(
        stream,
        "POST /api/v1/generate HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
         content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    Wire::read(stream)
}

#[test]
fn one_session_answers_again_and_again_and_is_sent_only_what_is_new() {
    let swarm = TestSwarm::start("petals", &["0:8"]);
    let gateway = swarm.serve(GatewayConfig::default()).gateway;
    let served = behind(gateway, DoorConfig::default(), PetalsChatConfig::default());
    let whole = expected(&served, "Once upon a time", 20);
    let seen = || metric(&swarm.servers[0], "block_server_tokens_total{");
    let before = seen();
    let mut client = open(&served, 256);
    client.say(&question("Once upon a time", 8));
    let (first, tokens) = answer(&mut client);
    assert_eq!(tokens, 8);
    let prompt = seen() - before - 7;
    // Nothing new: the answer goes on where it ended.
    client.say(&json!({ "type": "generate", "max_new_tokens": 12 }));
    let (second, tokens) = answer(&mut client);
    assert_eq!(tokens, 12);
    assert_eq!(first + &second, whole);
    assert_eq!(seen() - before, prompt + 7 + 12);
    // A few new tokens, and the last one of the answer.
    client.say(&json!({ "type": "generate", "inputs": " Then", "max_length": 64 }));
    let (_, tokens) = answer(&mut client);
    let new = seen() - before - (prompt + 19) - tokens;
    assert!((1..=4).contains(&new), "{new}");
    assert_eq!(swarm.open_sessions(), [1]);
    let listed = served.get("/v1/sessions").json();
    assert_eq!(listed["data"][0]["hops"][0]["blocks"], "0:8");
    drop(client);
    within(SOON, "the session is closed", || {
        swarm.open_sessions() == [0]
    });
}

#[test]
fn an_answer_comes_in_parts_until_a_stop_text() {
    let served = petals();
    let whole = expected(&served, "Once upon a time", 40);
    let stop = whole.split(' ').find(|word| word.ends_with('.')).unwrap();
    let upto = &whole[..whole.find(stop).unwrap() + stop.len()];
    let mut client = Client::connect(served.address, PATH, &[]).unwrap();
    // Both at once, as its documentation does.
    client.say(&opening(128));
    let mut asked = question("Once upon a time", 1);
    asked["stop_sequence"] = stop.into();
    client.say(&asked);
    assert_eq!(client.json(), json!({ "ok": true }));
    let first = client.json();
    assert_eq!(first["stop"], false);
    assert_eq!(first["token_count"], 1);
    let (rest, _) = answer(&mut client);
    assert_eq!(first["outputs"].as_str().unwrap().to_owned() + &rest, upto);

    // An extra one ends it as well; the session goes on as if the first had come.
    let mut client = open(&served, 128);
    asked["stop_sequence"] = "###".into();
    asked["extra_stop_sequences"] = json!(["</s>", stop]);
    client.say(&asked);
    assert_eq!(answer(&mut client).0, upto);
    client.say(&question(" The", 3));
    assert_eq!(answer(&mut client).1, 3);

    // Without any it ends where the session does.
    let mut client = open(&served, 16);
    let mut asked = question("Once upon a time", 1);
    asked["stop_sequence"] = "never said".into();
    client.say(&asked);
    let (_, tokens) = answer(&mut client);
    assert!((1..16).contains(&tokens), "{tokens}");
}

#[test]
fn failures_are_told_in_words_and_close_the_socket() {
    let served = petals();
    let unknown = json!({ "type": "open_inference_session", "model": "none", "max_length": 8 });
    for (first, code, words) in [
        (unknown, "model_not_found", "org/fable"),
        (opening(100_000), "invalid_value", "max_length may be"),
        (question("x", 1), "invalid_value", "open_inference_session"),
        (json!([1]), "invalid_value", "JSON object"),
    ] {
        let mut client = Client::connect(served.address, PATH, &[]).unwrap();
        client.say(&first);
        let failed = client.json();
        assert_eq!(failed["ok"], false);
        assert_eq!(failed["error"]["code"], code, "{failed}");
        let told = failed["traceback"].as_str().unwrap();
        assert!(told.contains(words), "{told}");
        for trace in ["Traceback", "panicked", ".rs", "src/"] {
            assert!(!failed.to_string().contains(trace), "{failed}");
        }
        assert_eq!(client.hear(), Came::Closed(Some(1000)));
    }
    for (asked, code, words) in [
        (
            question("Once", 500),
            "context_length_exceeded",
            "Maximum length exceeded",
        ),
        (
            json!({ "type": "generate", "inputs": "x" }),
            "invalid_value",
            "max_new_tokens",
        ),
        (
            json!({ "type": "generate", "max_new_tokens": 1 }),
            "invalid_value",
            "no token",
        ),
        (opening(8), "invalid_value", "generate"),
    ] {
        let mut client = open(&served, 64);
        client.say(&asked);
        let failed = client.json();
        assert_eq!(failed["error"]["code"], code, "{failed}");
        assert!(
            failed["traceback"].as_str().unwrap().contains(words),
            "{failed}"
        );
        assert_eq!(client.hear(), Came::Closed(Some(1000)));
    }
}

#[test]
fn a_conversation_ends_when_it_is_idle_ended_or_left() {
    let swarm = TestSwarm::start("petals-ends", &["0:4", "4:8"]);
    let gateway = swarm.serve(GatewayConfig::default()).gateway;
    let config = PetalsChatConfig {
        idle: Duration::from_millis(300),
        ..PetalsChatConfig::default()
    };
    let freed = || {
        within(SOON, "the sessions are closed", || {
            swarm.open_sessions() == [0, 0]
        });
    };
    let hasty = behind(gateway.clone(), DoorConfig::default(), config);
    let mut client = open(&hasty, 64);
    assert_eq!(client.json()["error"]["code"], "timeout");
    assert_eq!(client.hear(), Came::Closed(Some(1000)));
    freed();

    let served = behind(gateway, DoorConfig::default(), PetalsChatConfig::default());
    let mut client = open(&served, 64);
    assert_eq!(swarm.open_sessions(), [1, 1]);
    let id = served.get("/v1/sessions").json()["data"][0]["id"].clone();
    served.ok(&format!("/v1/cancel/{}", id.as_str().unwrap()), &json!({}));
    freed();
    assert_eq!(client.json()["error"]["code"], "cancelled");

    // In the middle of an answer that hangs.
    let mut client = open(&served, 256);
    client.say(&question("Once", 1));
    answer(&mut client);
    swarm.servers[1].pause();
    client.say(&question("Then", 100));
    drop(client);
    within(SOON, "the server that lives has freed it", || {
        crate::world::open_sessions(&swarm.servers[0]) == 0
    });
    on_runtime(served.gateway.stop());
}

#[test]
fn a_conversation_takes_the_place_of_a_session_that_waits() {
    let swarm = TestSwarm::start_with("petals-room", &["0:8"], &["--max-sessions-per-peer", "1"]);
    let gateway = swarm.serve(GatewayConfig::default()).gateway;
    let served = behind(gateway, DoorConfig::default(), PetalsChatConfig::default());
    let asked = "Once upon a time there was a little girl named Lily. She liked to play outside.";
    served.ok("/v1/chat/completions", &chat(asked, &json!({})));
    assert_eq!(swarm.open_sessions(), [1]);
    let mut client = open(&served, 64);
    client.say(&question("Once", 2));
    assert_eq!(answer(&mut client).1, 2);
}

#[test]
fn one_caller_has_four_sockets_at_most() {
    let served = petals();
    let connect = || Client::connect(served.address, PATH, &[]);
    let mut clients: Vec<_> = (0..4).map(|_| connect().unwrap()).collect();
    let (status, refused) = connect().err().unwrap();
    assert_eq!((status, &refused["ok"]), (429, &false.into()));
    assert_eq!(refused["error"]["code"], "queue_full");
    clients.pop();
    within(PATIENCE, "its place is free", || connect().is_ok());
}

#[test]
fn one_question_and_answer_by_http() {
    let served = petals();
    let whole = expected(&served, "Once upon a time", 10);
    let wire = form(
        &served,
        "model=org%2Ffable&inputs=Once+upon+a+time&max_new_tokens=10",
    );
    assert_eq!(wire.status, 200);
    assert_eq!(wire.json(), json!({ "ok": true, "outputs": whole }));
    let asked = json!({
        "model": "org/fable", "inputs": "Once upon a time", "max_new_tokens": 10, "do_sample": 0,
    });
    let answered = served.ok("/api/v1/generate", &asked);
    assert_eq!(answered["outputs"], whole.as_str());
    for (body, status, code) in [
        (
            "model=none&inputs=x&max_new_tokens=1",
            404,
            "model_not_found",
        ),
        ("model=org/fable&inputs=x", 400, "invalid_value"),
        ("model=org/fable&max_new_tokens=1", 400, "invalid_value"),
        ("inputs=x", 400, "invalid_value"),
        (
            "model=org/fable&inputs=x&max_new_tokens=100000",
            400,
            "context_length_exceeded",
        ),
        ("", 400, "invalid_value"),
    ] {
        let wire = form(&served, body);
        assert_eq!(wire.status, status, "{body}");
        let failed = wire.json();
        assert_eq!(
            (&failed["ok"], &failed["error"]["code"]),
            (&false.into(), &code.into())
        );
    }
}

#[test]
fn sockets_stand_behind_the_door() {
    let door = DoorConfig {
        key_variable: Some(KeyText::new(
            "ann:key-of-ann:rate=3/h,bob:key-of-bob".to_owned(),
        )),
        ..DoorConfig::default()
    };
    let config = PetalsChatConfig {
        max_sockets: 1,
        ..PetalsChatConfig::default()
    };
    let served = behind(served().gateway.clone(), door, config);
    let connect = |key: &str| {
        let protocol = format!("bearer.{key}");
        Client::connect(
            served.address,
            PATH,
            &[("sec-websocket-protocol", &protocol)],
        )
    };
    assert_eq!(connect("none").err().map(|(status, _)| status), Some(401));
    // The handshake and each question count: three an hour.
    let mut client = connect("key-of-ann").unwrap();
    client.say(&opening(64));
    assert_eq!(client.json(), json!({ "ok": true }));
    let (status, refused) = connect("key-of-bob").err().unwrap();
    assert_eq!((status, &refused["ok"]), (429, &false.into()));
    assert_eq!(refused["error"]["code"], "queue_full");
    for _ in 0..2 {
        client.say(&question("Once", 2));
        answer(&mut client);
    }
    client.say(&question("Once", 2));
    assert_eq!(client.json()["error"]["code"], "rate_limit_exceeded");
    assert_eq!(client.hear(), Came::Closed(Some(1000)));
    drop(client);
    within(PATIENCE, "its place is free", || {
        connect("key-of-bob").is_ok()
    });
}
