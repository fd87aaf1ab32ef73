//! A conversation keeps its session: the next turn sends its new tokens only, and says the same.

use std::time::{Duration, Instant};

use block_gateway::door::{Door, DoorConfig, KeyText};
use block_gateway::{GatewayConfig, KeepConfig, Listener, ListenerConfig, router};
use block_testing::PATIENCE;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::events::chunks;
use crate::wire::{Wire, send, send_as};
use crate::world::{Served, TestSwarm, chat, metric, on_runtime, serve, within};

const CHAT: &str = "/v1/chat/completions";
const START: &str =
    "Once upon a time there was a little girl named Lily. She liked to play outside.";

/// Sooner than servers are asked again and again, each time after twice the pause.
const SOON: Duration = Duration::from_secs(12);

fn keeping(sessions: usize, idle: Duration) -> GatewayConfig {
    GatewayConfig {
        keep: KeepConfig { sessions, idle },
        ..GatewayConfig::default()
    }
}

/// What is said, and how many tokens of the prompt were there before.
fn said(answer: &Value) -> (String, u64) {
    let text = answer["choices"][0]["message"]["content"].as_str().unwrap();
    let usage = &answer["usage"];
    let cached = usage["prompt_tokens_details"]["cached_tokens"].as_u64();
    (text.to_owned(), cached.unwrap())
}

/// Three turns, each after the answers before. For each turn: what was said, tokens of its prompt and those that were
/// there before, and how many the first server ran for it.
fn three_turns(swarm: &TestSwarm, served: &Served, more: &Value) -> Vec<(String, u64, u64, u64)> {
    let mut messages = vec![json!({ "role": "user", "content": START })];
    let mut turns = Vec::new();
    for next in [
        "One day she went to the park.",
        "Then it began to rain.",
        "",
    ] {
        let mut body = chat("", more);
        body["messages"] = messages.clone().into();
        let ran = || metric(&swarm.servers[0], "block_server_tokens_total");
        let before = ran();
        let answer = served.ok(CHAT, &body);
        let (text, cached) = said(&answer);
        let prompt = answer["usage"]["prompt_tokens"].as_u64().unwrap();
        let least = prompt - cached + 23;
        within(PATIENCE, "the steps are counted", || {
            ran() - before >= least
        });
        turns.push((text.clone(), prompt, cached, ran() - before));
        messages.push(json!({ "role": "assistant", "content": text }));
        messages.push(json!({ "role": "user", "content": next }));
    }
    turns
}

#[test]
fn the_next_turn_sends_its_new_tokens_only_and_says_the_same() {
    let swarm = TestSwarm::start("turns", &["0:4", "4:8"]);
    let keeps = swarm.serve(keeping(4, PATIENCE));
    let forgets = swarm.serve(keeping(0, PATIENCE));
    for more in [
        json!({}),
        json!({ "temperature": 0.8, "seed": 7, "presence_penalty": 0.5, "logprobs": true, "top_logprobs": 2 }),
    ] {
        let kept = three_turns(&swarm, &keeps, &more);
        let forgotten = three_turns(&swarm, &forgets, &more);
        for (turn, (kept, forgotten)) in kept.iter().zip(&forgotten).enumerate() {
            assert_eq!(kept.0, forgotten.0, "turn {turn}");
            let (prompt, cached, ran) = (kept.1, kept.2, kept.3);
            assert_eq!((prompt, 0), (forgotten.1, forgotten.2), "turn {turn}");
            // The last token of an answer is run only if somebody goes on after it.
            assert_eq!(forgotten.3, prompt + 23, "turn {turn}");
            assert_eq!(ran, prompt - cached + 23, "turn {turn}");
            assert!(
                turn == 0 || cached > prompt / 2,
                "turn {turn}: {cached} of {prompt}"
            );
        }
    }
}

#[test]
fn a_question_that_is_asked_again_is_answered_as_before() {
    let swarm = TestSwarm::start("again", &["0:4", "4:8"]);
    let served = swarm.serve(keeping(4, PATIENCE));
    let more = json!({ "logprobs": true, "top_logprobs": 3, "max_tokens": 8 });
    let first = served.ok(CHAT, &chat(START, &more));
    let again = served.ok(CHAT, &chat(START, &more));
    assert_eq!(first["choices"], again["choices"]);
    assert_eq!(said(&first).1, 0);
    // Its last token brings the first of the answer.
    let prompt = first["usage"]["prompt_tokens"].as_u64().unwrap();
    assert_eq!(said(&again).1, prompt - 1);

    // Of several choices one goes on in it, and a stream says the same.
    let several = served.ok(CHAT, &chat(START, &json!({ "n": 3, "max_tokens": 8 })));
    assert_eq!(said(&several).1, prompt - 1);
    for choice in several["choices"].as_array().unwrap() {
        assert_eq!(choice["message"], first["choices"][0]["message"]);
    }
    within(PATIENCE, "the others are closed", || {
        swarm.open_sessions() == [1, 1]
    });
    let usage = json!({ "max_tokens": 8, "stream_options": { "include_usage": true } });
    let chunks = chunks(served.stream(CHAT, &chat(START, &usage)).all());
    let usage = &chunks.last().unwrap()["usage"];
    assert_eq!(usage["prompt_tokens_details"]["cached_tokens"], prompt - 1);
}

#[test]
fn a_session_that_waits_ends_by_its_answers_id_in_time_and_with_the_gateway() {
    let swarm = TestSwarm::start("kept-ends", &["0:4", "4:8"]);
    let free = |why: &str| {
        within(Duration::from_secs(1), why, || {
            swarm.open_sessions() == [0, 0]
        });
    };
    let served = swarm.serve(keeping(4, PATIENCE));
    let answer = served.ok(CHAT, &chat(START, &json!({})));
    assert_eq!(swarm.open_sessions(), [1, 1]);
    let path = format!("/v1/sessions/{}", answer["id"].as_str().unwrap());
    let end = || Wire::read(send(served.address, ("DELETE", &path), None)).status;
    assert_eq!(end(), 200);
    free("it was ended by its id");
    assert_eq!(end(), 404);
    // Its answer ended well.
    let count = |outcome: &str| {
        let series = format!("block_server_sessions_total{{outcome=\"{outcome}\"}}");
        metric(&swarm.servers[0], &series)
    };
    within(PATIENCE, "it is counted", || count("closed") == 1);
    assert_eq!(count("cancelled"), 0);

    served.ok(CHAT, &chat(START, &json!({})));
    assert_eq!(swarm.open_sessions(), [1, 1]);
    on_runtime(served.gateway.stop());
    free("the gateway stopped");

    let brief = swarm.serve(keeping(4, Duration::from_millis(300)));
    brief.ok(CHAT, &chat(START, &json!({})));
    within(PATIENCE, "it has waited long enough", || {
        swarm.open_sessions() == [0, 0]
    });
}

#[test]
fn others_do_not_find_it() {
    let swarm = TestSwarm::start("others", &["0:8"]);
    let served = swarm.serve(keeping(4, PATIENCE));
    let any = ([127, 0, 0, 1], 0).into();
    let listener = on_runtime(Listener::bind(any, ListenerConfig::default())).unwrap();
    let address = listener.address();
    let config = DoorConfig {
        key_variable: Some(KeyText::new("one:sk-one,two:sk-two".to_owned())),
        ..DoorConfig::default()
    };
    let door = Door::new(config, address, CancellationToken::new()).unwrap();
    serve(listener, door.guard(router(served.gateway.clone())));
    let cached = |key: &str| {
        let body = chat(START, &json!({ "max_tokens": 8 }));
        let socket = send_as(key, address, ("POST", CHAT), Some(&body));
        said(&Wire::read(socket).json()).1
    };
    assert_eq!(cached("sk-one"), 0);
    assert_eq!(cached("sk-two"), 0);
    assert!(cached("sk-one") > 0);
    assert!(cached("sk-two") > 0);
}

#[test]
fn a_session_whose_server_died_while_it_waited_is_repaired_or_replaced() {
    let swarm = TestSwarm::start("kept-dies", &["0:4", "4:8", "4:8"]);
    let served = swarm.serve(keeping(4, PATIENCE));
    let first = served.ok(CHAT, &chat(START, &json!({})));
    let used = (1..3).find(|&index| metric(&swarm.servers[index], "block_server_tokens_total") > 0);
    swarm.servers[used.unwrap()].kill();
    let again = served.ok(CHAT, &chat(START, &json!({})));
    assert_eq!(first["choices"], again["choices"]);
}

#[test]
fn sessions_that_wait_make_room_where_a_server_has_no_more() {
    let swarm = TestSwarm::start_with("kept-yields", &["0:8"], &["--max-sessions-per-peer", "1"]);
    let served = swarm.serve(keeping(4, PATIENCE));
    served.ok(CHAT, &chat(START, &json!({})));
    assert_eq!(swarm.open_sessions(), [1]);
    let other =
        "The dog and the cat were friends, and every day they went to the big forest together.";
    let began = Instant::now();
    served.ok(CHAT, &chat(other, &json!({})));
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    within(PATIENCE, "none is kept for a while", || {
        swarm.open_sessions() == [0]
    });
}

#[test]
fn sessions_that_wait_make_room_for_an_answer_that_lost_its_server() {
    let flags = ["--max-sessions-per-peer", "1"];
    let swarm = TestSwarm::start_with("kept-repairs", &["0:8", "0:8"], &flags);
    let served = swarm.serve(keeping(4, PATIENCE));
    served.ok(CHAT, &chat(START, &json!({})));
    let kept_at = swarm.open_sessions().iter().position(|&open| open == 1);
    let more = json!({ "max_tokens": 400, "ignore_eos": true });
    let mut events = served.stream(CHAT, &chat("The dog and the cat were friends.", &more));
    events.next();
    assert_eq!(swarm.open_sessions(), [1, 1]);
    swarm.servers[1 - kept_at.unwrap()].kill();
    let began = Instant::now();
    let chunks = chunks(events.all());
    assert_eq!(
        chunks.last().unwrap()["choices"][0]["finish_reason"],
        "length"
    );
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
}
