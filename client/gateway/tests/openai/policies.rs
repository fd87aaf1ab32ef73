//! Which servers an execution's policy admits. The servers of these tests are records of peers that nobody can reach, so
//! they are on another machine as far as anybody knows.

use std::collections::BTreeMap;
use std::time::Duration;

use block_client::swarm_view::Records;
use block_client::{ModelOptions, ModelSource, ModelView, Swarm, SwarmConfig};
use block_gateway::door::DoorConfig;
use block_gateway::{ExecutionConfig, Gateway, GatewayConfig, ServedModel, ServedModelOptions};
use block_network::PeerId;
use block_protocol::{ServerInfo, ServerRecord, ServerState, Span};
use block_testing::{PATIENCE, fable};
use serde_json::{Value, json};

use crate::executions::behind;
use crate::world::{Served, on_runtime, swarm, within};

/// A gateway to `servers` and their blocks, of which it knows only what these announced.
fn served(servers: &[(PeerId, std::ops::Range<usize>)], trusted: Vec<PeerId>) -> Served {
    let mut records = Records::new();
    for (peer, blocks) in servers {
        let record = ServerRecord {
            state: ServerState::Online,
            throughput: 1.0,
            info: ServerInfo {
                span: Some(Span::new(blocks.start, blocks.end).unwrap()),
                ..ServerInfo::default()
            },
        };
        for block in blocks.clone() {
            let of_block: &mut BTreeMap<_, _> = records.entry(block).or_default();
            of_block.insert(peer.to_base58(), record.clone());
        }
    }
    let gateway = on_runtime(async {
        let joined = Swarm::join(SwarmConfig::new(vec![swarm().address().parse().unwrap()]));
        let source = ModelSource::directory(fable()).unwrap();
        let loaded = joined.await.unwrap();
        let mut remote = loaded.load(source, ModelOptions::default()).await.unwrap();
        remote.view = ModelView::fixed("fable-7m-hf", 8, &records);
        let model = ServedModel::new(remote, ServedModelOptions::new("org/fable")).unwrap();
        let config = GatewayConfig {
            no_route_patience: Duration::from_millis(100),
            open_deadline: Duration::from_secs(2),
            ..GatewayConfig::default()
        };
        Gateway::new(vec![model], config)
    });
    let config = ExecutionConfig {
        trusted_peers: trusted,
        ..ExecutionConfig::default()
    };
    behind(gateway, DoorConfig::default(), config)
}

fn start(served: &Served, policy: &Value) -> (u16, Value) {
    let mut body = json!({ "prompt": "Once", "max_tokens": 4 });
    if !policy.is_null() {
        body["policy"] = policy.clone();
    }
    let wire = served.post("/execution/start", &body);
    (wire.status, wire.json())
}

#[test]
fn a_policy_admits_other_machines_only_if_it_says_so() {
    let peer = PeerId::random();
    let other = PeerId::random();
    let all = json!({ "allow_networking": true, "allow_hybrid_compute": true });
    let hybrid = json!({ "allow_hybrid_compute": true });
    let networking = json!({ "allow_networking": true, "allow_telemetry": true });
    for (trusted, policy, status) in [
        (vec![], &Value::Null, 403),
        (vec![], &json!({}), 403),
        (vec![], &hybrid, 403),
        (vec![], &networking, 403),
        (vec![], &all, 202),
        (vec![other], &hybrid, 403),
        (vec![peer], &hybrid, 202),
        (vec![peer], &Value::Null, 403),
        (vec![peer], &networking, 403),
    ] {
        let served = served(&[(peer, 0..8)], trusted.clone());
        let (found, body) = start(&served, policy);
        assert_eq!(found, status, "{policy} {trusted:?}: {body}");
        if status == 403 {
            assert_eq!(body["error"]["code"], "policy_forbids_network");
            assert_eq!(body["error"]["type"], "permission_error");
            assert_eq!(body["error"]["param"], "policy");
            continue;
        }
        let path = format!("/execution/status/{}", body["id"].as_str().unwrap());
        within(PATIENCE, "nobody answers", || {
            served.get(&path).json()["state"] == "Failed"
        });
        assert_eq!(served.get(&path).json()["error"]["code"], "no_route");
    }
}

#[test]
fn a_trusted_peer_does_not_open_the_way_to_others() {
    let (trusted, other) = (PeerId::random(), PeerId::random());
    let served = served(&[(trusted, 0..4), (other, 4..8)], vec![trusted]);
    let (status, body) = start(&served, &json!({ "allow_hybrid_compute": true }));
    assert_eq!(
        (status, &body["error"]["code"]),
        (403, &"policy_forbids_network".into())
    );
}

#[test]
fn blocks_that_nobody_has_are_no_matter_of_policy() {
    let served = served(&[(PeerId::random(), 0..4)], Vec::new());
    let (status, body) = start(&served, &Value::Null);
    assert_eq!((status, &body["error"]["code"]), (503, &"no_route".into()));
}
