//! What the health monitor sees of our servers.

use serde_json::{Value, json};

use crate::swarm::{SWARM, Swarm};
use block_testing::{BlockServer, PATIENCE, Span, repository};

#[test]
fn records_are_complete_and_none_is_rejected() {
    let swarm = &*SWARM;
    let view = view(swarm);
    assert_eq!(
        view["rejected"],
        json!([]),
        "records that a Petals reader refuses"
    );
    for (chain, hop, server) in swarm.our_hops() {
        let model = &view["models"][chain.prefix];
        let record = &model["servers"][&hop.contact.peer_id];
        let blocks: Vec<_> = chain.hops.iter().map(|hop| hop.blocks.1).collect();
        assert_eq!(model["num_blocks"], json!(blocks.last()), "{model}");
        assert_eq!(record["state"], "ONLINE", "{}: {record}", chain.prefix);
        assert_eq!(
            [&record["start_block"], &record["end_block"]],
            [hop.blocks.0, hop.blocks.1]
        );
        let dtype = if chain.dtype == "bf16" {
            "bfloat16"
        } else {
            "float32"
        };
        assert_eq!(record["torch_dtype"], dtype);
        assert_eq!(record["quant_type"], "none");
        assert_eq!(record["throughput"], 10.0);
        assert_eq!(record["using_relay"], false);
        assert!(
            record["version"]
                .as_str()
                .is_some_and(|version| !version.is_empty()),
            "{record}"
        );
        assert!(
            record["cache_tokens_left"]
                .as_u64()
                .is_some_and(|tokens| tokens > 0),
            "{record}"
        );
        for block in hop.blocks.0..hop.blocks.1 {
            let servers = &model["servers_of_block"][block as usize];
            assert_eq!(
                servers,
                &json!([hop.contact.peer_id]),
                "block {block} of {}",
                chain.prefix
            );
        }
        assert_eq!(
            server.further_output(),
            Vec::<String>::new(),
            "stdout carries the READY line only"
        );
    }
}

#[test]
fn info_is_answered_without_a_block() {
    let swarm = &*SWARM;
    for (_, hop, _) in swarm.our_hops() {
        let info = info(swarm, &hop.contact.peer_id);
        assert_eq!(info["dht_client_mode"], false, "{info}");
        assert!(
            info["version"]
                .as_str()
                .is_some_and(|version| !version.is_empty()),
            "{info}"
        );
        assert!(
            info["cache_tokens_available"]
                .as_u64()
                .is_some_and(|tokens| tokens > 0),
            "{info}"
        );
    }
}

#[test]
fn reachability_of_others_is_checked() {
    // A well-formed peer id that nobody has.
    const NOBODY: &str = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";
    let swarm = &*SWARM;
    let hops = &swarm.chain("fable-two").hops;
    let [first, second] = [0, 1].map(|index| hops[index].contact.peer_id.as_str());
    let checks = |about: &str| -> bool {
        swarm
            .monitor
            .call("check", json!({ "peer_id": first, "about": about }))
    };
    assert!(checks(first), "a server vouches for itself");
    assert!(checks(second), "a server reaches another one");
    assert!(
        !checks(NOBODY),
        "a server cannot reach a peer that does not exist"
    );
}

#[test]
fn an_open_session_takes_its_share_of_the_cache() {
    const MAX_LENGTH: u64 = 64;
    let swarm = &*SWARM;
    let chain = swarm.chain("random-idle");
    let [hop] = &chain.hops[..] else {
        panic!("one server")
    };
    let free = || {
        info(swarm, &hop.contact.peer_id)["cache_tokens_available"]
            .as_u64()
            .unwrap()
    };
    let before = free();
    swarm.client.call::<()>(
        "hold",
        json!({ "prefix": chain.prefix, "max_length": MAX_LENGTH }),
    );
    let during = free();
    swarm.client.call::<()>("release", json!({}));
    assert_eq!(
        before - during,
        MAX_LENGTH * u64::from(hop.blocks.1 - hop.blocks.0)
    );
    let arguments = json!({
        "peer_id": hop.contact.peer_id,
        "expected": { "cache_tokens_available": before },
        "patience_s": PATIENCE.as_secs() / 2,
    });
    let after: Value = swarm.monitor.call("await_info", arguments);
    assert_eq!(
        after["cache_tokens_available"], before,
        "the cache of a closed session is free again"
    );
}

#[test]
fn a_server_that_leaves_says_so() {
    const PREFIX: &str = "leaver";
    let swarm = &*SWARM;
    let model = repository().join("models/fable-7m");
    let server = BlockServer::spawn(
        PREFIX,
        &model,
        &Span {
            prefix: PREFIX,
            blocks: "2:4",
            dtype: "f32",
            flags: &[],
        },
        swarm.bootstrap.as_str(),
    );
    let contact = server.await_ready();
    let await_state = |state: &str| {
        let arguments = json!({
            "model": PREFIX,
            "peer_id": contact.peer_id,
            "state": state,
            "patience_s": PATIENCE.as_secs() / 2,
        });
        assert_eq!(swarm.monitor.call::<Value>("await_state", arguments), state);
    };
    await_state("ONLINE");
    server.terminate();
    await_state("OFFLINE");
}

fn view(swarm: &Swarm) -> Value {
    swarm.monitor.call("view", json!({}))
}

fn info(swarm: &Swarm, peer_id: &str) -> Value {
    swarm.monitor.call("info", json!({ "peer_id": peer_id }))
}
