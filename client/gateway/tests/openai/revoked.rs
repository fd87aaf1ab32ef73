//! Keys that the operator takes away while a WebSocket or a stream of the swarm's events is open.

use std::sync::OnceLock;

use axum::Router;
use block_gateway::door::{Door, DoorConfig};
use block_gateway::system::{Accounts, System, Topology, TopologySource};
use block_gateway::{
    ExecutionConfig, Executions, Gateway, GatewayConfig, PetalsChat, PetalsChatConfig, router,
};
use block_network::PeerId;
use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::{Value, json};
use tempfile::NamedTempFile;
use tokio_util::sync::CancellationToken;

use crate::sockets::{Came, Client};
use crate::wire::{Wire, send_as};
use crate::world::{Served, TestSwarm, served};

/// A gateway whose keys stand in a file.
struct Keyed {
    served: Served,
    file: NamedTempFile,
    door: Door,
}

impl Keyed {
    fn new(gateway: Gateway, routes: impl FnOnce(&Gateway) -> Router) -> Self {
        let file = NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "ann:key-of-ann\nbob:key-of-bob\n").unwrap();
        let config = DoorConfig {
            key_file: Some(file.path().to_owned()),
            ..DoorConfig::default()
        };
        let door = OnceLock::new();
        let served = Served::of(gateway, |gateway, address| {
            let new = Door::new(config, address, CancellationToken::new()).unwrap();
            door.get_or_init(|| new)
                .guard(router(gateway.clone()).merge(routes(gateway)))
        });
        let door = door.into_inner().unwrap();
        Self { served, file, door }
    }

    fn connect(&self, key: &str, path: &str) -> Client {
        let header = format!("Bearer {key}");
        Client::connect(self.served.address, path, &[("authorization", &header)]).unwrap()
    }

    /// As on SIGHUP.
    fn remove_ann(&self) {
        std::fs::write(self.file.path(), "bob:key-of-bob\n").unwrap();
        self.door.reload_keys().unwrap();
    }
}

fn assert_is_told(message: &Value) {
    let error = &message["error"];
    assert_eq!(error["code"], "invalid_api_key", "{message}");
    let said = error["message"].as_str().unwrap();
    assert!(said.contains("the key ann was removed"), "{message}");
}

#[test]
fn a_conversation_ends_when_its_key_is_removed() {
    let keyed = Keyed::new(served().gateway.clone(), |gateway| {
        PetalsChat::new(gateway, PetalsChatConfig::default()).routes()
    });
    let open = |key: &str| {
        let mut client = keyed.connect(key, "/api/v2/generate");
        let opening =
            json!({ "type": "open_inference_session", "model": "org/fable", "max_length": 64 });
        client.say(&opening);
        assert_eq!(client.json(), json!({ "ok": true }));
        client
    };
    let ask = |client: &mut Client| {
        client.say(&json!({ "type": "generate", "inputs": "Once", "max_new_tokens": 2 }));
        client.json()
    };
    let (mut ann, mut bob) = (open("key-of-ann"), open("key-of-bob"));
    assert_eq!(ask(&mut ann)["ok"], true);
    keyed.remove_ann();
    // At once: whoever asks nothing is told as well.
    assert_is_told(&ann.json());
    assert_eq!(ann.hear(), Came::Closed(Some(1000)));
    assert_eq!(ask(&mut bob)["ok"], true);
}

#[test]
fn who_listens_to_an_execution_is_told_that_the_key_is_removed() {
    let swarm = TestSwarm::start("revoked", &["0:4", "4:8"]);
    let gateway = swarm.serve(GatewayConfig::default()).gateway;
    let keyed = Keyed::new(gateway, |gateway| {
        Executions::new(gateway, ExecutionConfig::default()).routes()
    });
    let post = |path: &str, body: &Value| {
        let call = ("POST", path);
        Wire::read(send_as(
            "key-of-ann",
            keyed.served.address,
            call,
            Some(body),
        ))
    };
    let prompt = json!({ "prompt": "Once", "temperature": 0, "max_tokens": 2 });
    assert_eq!(post("/run_prompt", &prompt).status, 200);
    // It hangs, so that there is something to listen to.
    swarm.servers[1].pause();
    let started = post("/execution/start", &prompt).json();
    let path = format!("/ws/execution/{}", started["id"].as_str().unwrap());
    let mut ann = keyed.connect("key-of-ann", &path);
    assert_eq!(ann.json()["type"], "state");
    keyed.remove_ann();
    let (messages, code) = ann.rest();
    let last = messages.last().unwrap();
    assert_eq!(last["type"], "error");
    assert_is_told(last);
    assert_eq!(code, Some(1000));
}

/// A swarm of which nothing is known.
struct Unknown;

impl TopologySource for Unknown {
    fn look(&self) -> BoxFuture<'_, Topology> {
        let topology = Topology {
            models: Vec::new(),
            bootstrap: Vec::new(),
            listen_addresses: Vec::new(),
        };
        async move { topology }.boxed()
    }

    fn reach(&self, _: PeerId) -> BoxFuture<'_, Result<(), String>> {
        async { Ok(()) }.boxed()
    }
}

#[test]
fn the_swarms_events_end_when_the_key_is_removed() {
    let keyed = Keyed::new(served().gateway.clone(), |_| {
        System::start(Unknown, Accounts::default()).routes()
    });
    let listen = |key| {
        let call = ("GET", "/v1/system/events");
        Wire::read(send_as(key, keyed.served.address, call, None))
    };
    let mut ann = listen("key-of-ann");
    assert_eq!(ann.status, 200);
    assert!(ann.some().starts_with(b"event: topology"));
    keyed.remove_ann();
    // Not after the next ping only.
    assert_eq!(ann.some(), b"");
    assert_eq!(listen("key-of-ann").status, 401);
}
