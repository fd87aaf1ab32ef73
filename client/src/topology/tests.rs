use std::time::Duration;

use block_network::PeerId;
use block_protocol::ServerInfo;

use crate::model_view::Reach;

use super::*;

fn server(state: ServerState, blocks: std::ops::Range<usize>, rps: f64) -> ServerStatus {
    ServerStatus {
        peer: PeerId::random(),
        state,
        blocks,
        throughput: rps,
        info: ServerInfo {
            inference_rps: Some(rps),
            next_pings: [("a".to_owned(), 0.5), ("b".to_owned(), f64::INFINITY)].into(),
            public_name: Some("\u{1b}[31mred".to_owned()),
            ..ServerInfo::default()
        },
        reach: Reach::Unknown,
        banned_for: None,
        measured: None,
    }
}

fn snapshot(servers: Vec<ServerStatus>) -> ViewSnapshot {
    ViewSnapshot {
        dht_prefix: "m-hf".to_owned(),
        num_blocks: 8,
        servers,
        age: None,
        last_error: None,
    }
}

fn all_answer(snapshot: &ViewSnapshot) -> Contacts {
    let answer = |server: &ServerStatus| {
        let contact = Contact {
            rtt: Some(Duration::from_micros(1500)),
            addresses: vec!["/ip4/127.0.0.1/tcp/1".to_owned()],
        };
        (server.peer.to_string(), contact)
    };
    snapshot.servers.iter().map(answer).collect()
}

#[test]
fn a_model_is_healthy_when_every_block_has_a_server_that_answers() {
    let snapshot = snapshot(vec![
        server(ServerState::Online, 0..5, 10.0),
        server(ServerState::Online, 4..8, 20.0),
        server(ServerState::Joining, 0..8, 40.0),
    ]);
    let whole = ModelTopology::new("m", &snapshot, &all_answer(&snapshot));
    assert_eq!((whole.state, whole.covered), (ModelState::Healthy, 8));
    assert_eq!(
        whole.bottleneck.inference, 10.0,
        "joining ones do not count"
    );
    let states: Vec<_> = whole
        .servers
        .iter()
        .map(|row| (row.state, row.health))
        .collect();
    assert_eq!(
        states,
        [
            ("online", "green"),
            ("online", "green"),
            ("joining", "amber")
        ]
    );

    let mut some = all_answer(&snapshot);
    some.remove(&snapshot.servers[1].peer.to_string());
    let broken = ModelTopology::new("m", &snapshot, &some);
    assert_eq!((broken.state, broken.covered), (ModelState::Broken, 5));
    assert_eq!(broken.missing, ["5:8"]);
    assert_eq!(broken.bottleneck.inference, 0.0);
    assert_eq!(
        (broken.servers[1].state, broken.servers[1].health),
        ("unreachable", "red")
    );
}

#[test]
fn runs_are_half_open() {
    assert_eq!(runs(&[0, 1, 4, 6, 7]), ["0:2", "4:5", "6:8"]);
    assert!(runs(&[]).is_empty());
}

#[test]
fn a_ping_that_failed_is_null_and_names_are_data() {
    let snapshot = snapshot(vec![server(ServerState::Online, 0..8, 1.0)]);
    let topology = ModelTopology::new("m", &snapshot, &all_answer(&snapshot));
    let json = serde_json::to_value(&topology).unwrap();
    let row = &json["servers"][0];
    assert_eq!(row["next_pings"]["a"], 0.5);
    assert!(row["next_pings"]["b"].is_null());
    assert_eq!(row["rtt_ms"], 1.5);
    for key in [
        "peer_id",
        "public_name",
        "version",
        "state",
        "start_block",
        "end_block",
        "throughput",
        "inference_rps",
        "forward_rps",
        "network_rps",
        "dtype",
        "quant_type",
        "adapters",
        "using_relay",
        "cache_tokens_left",
        "next_pings",
        "health",
        "codecs",
        "addresses",
    ] {
        assert!(row.get(key).is_some(), "{key}");
    }
    for key in [
        "id",
        "dht_prefix",
        "num_blocks",
        "state",
        "covered",
        "missing",
        "bottleneck",
    ] {
        assert!(json.get(key).is_some(), "{key}");
    }
    assert_eq!(row["public_name"], "[31mred");
}

#[test]
fn a_strangers_texts_are_bounded() {
    let mut flood = server(ServerState::Online, 0..8, 1.0);
    flood.info.public_name = Some(format!("\u{202e}\n{}", "é".repeat(5000)));
    flood.info.adapters = vec!["a\u{7}".repeat(5000); 5000];
    flood.info.next_pings = (0..5000).map(|number| (number.to_string(), 1.0)).collect();
    let snapshot = snapshot(vec![flood]);
    let topology = ModelTopology::new("m", &snapshot, &all_answer(&snapshot));
    let row = &topology.servers[0];
    assert_eq!(row.public_name.as_deref(), Some("é".repeat(64).as_str()));
    assert_eq!(row.adapters, vec!["a".repeat(64); 64]);
    assert_eq!(row.next_pings.len(), 64);
}
