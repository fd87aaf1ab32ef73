//! Ending an answer early frees its caches at every server within a second.

use std::time::Duration;

use block_gateway::GatewayConfig;
use block_testing::PATIENCE;
use serde_json::{Value, json};

use crate::events::Event;
use crate::wire::{Wire, send};
use crate::world::{Served, TestSwarm, chat, on_runtime, open_sessions, within};

const CHAT: &str = "/v1/chat/completions";

/// What the promise is, and what looking itself takes on a busy machine.
const SOON: Duration = Duration::from_secs(1);

fn endless() -> Value {
    chat(
        "Once",
        &json!({ "ignore_eos": true, "max_tokens": 480, "n": 2 }),
    )
}

fn sessions(served: &Served) -> Vec<Value> {
    served.get("/v1/sessions").json()["data"]
        .as_array()
        .unwrap()
        .clone()
}

/// Text has come, so sessions are open at both servers.
fn until_text(events: &mut crate::events::Events) -> Value {
    events
        .find_map(|event| match event {
            Event::Data(chunk) if chunk["choices"][0]["delta"]["content"] != "" => Some(chunk),
            Event::Data(_) | Event::Done | Event::Comment => None,
        })
        .unwrap()
}

fn assert_freed(swarm: &TestSwarm) {
    within(SOON, "the servers have freed the sessions", || {
        swarm.open_sessions().iter().all(|count| *count == 0)
    });
}

#[test]
fn a_dropped_stream_frees_its_sessions() {
    let swarm = TestSwarm::start("drop", &["0:4", "4:8"]);
    let served = swarm.serve(GatewayConfig::default());
    let mut events = served.stream(CHAT, &endless());
    until_text(&mut events);
    assert_eq!(swarm.open_sessions(), [2, 2]);
    drop(events);
    assert_freed(&swarm);
    assert!(sessions(&served).is_empty());

    // A plain answer, which nobody waits for any more.
    let socket = send(served.address, ("POST", CHAT), Some(&endless()));
    within(PATIENCE, "it is under way", || {
        swarm.open_sessions() == [2, 2]
    });
    drop(socket);
    assert_freed(&swarm);
    within(SOON, "it is off the list", || sessions(&served).is_empty());
}

#[test]
fn an_answer_is_ended_by_its_id_and_its_reader_is_told() {
    let swarm = TestSwarm::start("by-id", &["0:4", "4:8"]);
    let served = swarm.serve(GatewayConfig::default());
    for (method, path) in [("POST", "/v1/cancel/"), ("DELETE", "/v1/sessions/")] {
        let mut events = served.stream(CHAT, &endless());
        let id = until_text(&mut events)["id"].as_str().unwrap().to_owned();
        let listed = sessions(&served);
        let [session] = listed.as_slice() else {
            panic!("{listed:?}");
        };
        assert_eq!(session["id"], id.as_str());
        assert_eq!(session["model"], "org/fable");
        assert_eq!(session["state"], "generating");
        assert_eq!(session["choices"], 2);
        assert!(session["tokens"].as_u64().unwrap() > 0);
        assert_eq!(session["hops"][1]["blocks"], "4:8");
        let wire = Wire::read(send(served.address, (method, &format!("{path}{id}")), None));
        assert_eq!(wire.status, 200);
        assert_freed(&swarm);
        let last = events.last().unwrap();
        let Event::Data(last) = last else {
            panic!("{last:?}");
        };
        assert_eq!(last["error"]["code"], "cancelled");
        let again = Wire::read(send(served.address, (method, &format!("{path}{id}")), None));
        assert_eq!(again.status, 404);
    }
}

#[test]
fn what_hangs_is_ended_as_well() {
    let swarm = TestSwarm::start("hang", &["0:4", "4:8"]);
    let config = GatewayConfig {
        head_patience: Duration::from_secs(600),
        ..GatewayConfig::default()
    };
    let served = swarm.serve(config);
    let mut events = served.stream(CHAT, &endless());
    let id = until_text(&mut events)["id"].as_str().unwrap().to_owned();
    // Connections stay open, and no step comes back.
    swarm.servers[1].pause();
    let cancel = |id: &str| served.post(&format!("/v1/cancel/{id}"), &json!({})).status;
    assert_eq!(cancel(&id), 200);
    within(SOON, "the server that lives has freed them", || {
        open_sessions(&swarm.servers[0]) == 0
    });

    // Now no session can be opened; nothing of the head has come.
    let mut body = endless();
    body["stream"] = true.into();
    let socket = send(served.address, ("POST", CHAT), Some(&body));
    within(PATIENCE, "the server that lives has sessions", || {
        open_sessions(&swarm.servers[0]) == 2
    });
    let listed = sessions(&served);
    assert_eq!(listed[0]["state"], "opening");
    assert_eq!(cancel(listed[0]["id"].as_str().unwrap()), 200);
    within(SOON, "the server that lives has freed them", || {
        open_sessions(&swarm.servers[0]) == 0
    });
    let wire = Wire::read(socket);
    assert_eq!(wire.status, 400);
    assert_eq!(wire.json()["error"]["code"], "cancelled");
}

#[test]
fn a_gateway_that_stops_tells_every_stream() {
    let swarm = TestSwarm::start("stop", &["0:4", "4:8"]);
    let served = swarm.serve(GatewayConfig::default());
    let mut events = served.stream(CHAT, &endless());
    until_text(&mut events);
    on_runtime(served.gateway.stop());
    assert_freed(&swarm);
    let Some(Event::Data(last)) = events.last() else {
        panic!("an error object");
    };
    assert_eq!(last["error"]["code"], "cancelled");
    let (status, _) = served.error(CHAT, &endless());
    assert_eq!(status, 503);
}
