use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::http::Request;
use block_client::topology::{Contact, Contacts};
use block_client::{Reach, ServerStatus, ViewSnapshot};
use block_network::PeerId;
use block_protocol::{ServerInfo, ServerState};
use futures::FutureExt;
use futures::StreamExt;
use futures::future::BoxFuture;
use serde_json::Value;
use tower::ServiceExt;

use super::*;

/// A swarm of one model whose servers a test chooses.
#[derive(Clone)]
struct Fake(Arc<Script>);

struct Script {
    snapshot: Mutex<ViewSnapshot>,
    silent: Mutex<Vec<PeerId>>,
    looks: AtomicUsize,
}

impl Fake {
    fn new(servers: Vec<ServerStatus>) -> Self {
        let snapshot = ViewSnapshot {
            dht_prefix: "m-hf".to_owned(),
            num_blocks: 8,
            servers,
            age: None,
            last_error: None,
        };
        Self(Arc::new(Script {
            snapshot: Mutex::new(snapshot),
            silent: Mutex::default(),
            looks: AtomicUsize::new(0),
        }))
    }

    fn change(&self, change: impl FnOnce(&mut Vec<ServerStatus>)) {
        change(&mut self.0.snapshot.lock().unwrap().servers);
    }
}

impl TopologySource for Fake {
    fn look(&self) -> BoxFuture<'_, Topology> {
        let looks = self.0.looks.fetch_add(1, Ordering::Relaxed);
        let snapshot = self.0.snapshot.lock().unwrap().clone();
        let silent = self.0.silent.lock().unwrap().clone();
        let peers = snapshot.servers.iter().map(|server| server.peer);
        let contacts: Contacts = peers
            .filter(|peer| !silent.contains(peer))
            .map(|peer| {
                let contact = Contact {
                    // It trembles.
                    rtt: Some(Duration::from_millis(20 + (looks % 5) as u64)),
                    addresses: Vec::new(),
                };
                (peer.to_string(), contact)
            })
            .collect();
        let topology = Topology {
            models: vec![ModelTopology::new("org/m", &snapshot, &contacts)],
            bootstrap: Vec::new(),
            listen_addresses: Vec::new(),
        };
        async move { topology }.boxed()
    }

    fn reach(&self, peer: PeerId) -> BoxFuture<'_, Result<(), String>> {
        let is_silent = self.0.silent.lock().unwrap().contains(&peer);
        let answer = if is_silent {
            Err("it is silent".to_owned())
        } else {
            Ok(())
        };
        async move { answer }.boxed()
    }
}

fn server(blocks: std::ops::Range<usize>) -> ServerStatus {
    ServerStatus {
        peer: PeerId::random(),
        state: ServerState::Online,
        blocks,
        throughput: 10.0,
        info: ServerInfo {
            inference_rps: Some(10.0),
            public_name: Some("al\nice".to_owned()),
            ..ServerInfo::default()
        },
        reach: Reach::Unknown,
        banned_for: None,
        measured: None,
    }
}

async fn ask(routes: &Router, path: &str) -> Body {
    let request = Request::get(path).body(Body::empty()).unwrap();
    let response = routes.clone().oneshot(request).await.unwrap();
    assert!(response.status().is_success());
    response.into_body()
}

async fn json(routes: &Router, path: &str) -> Value {
    let body = ask(routes, path).await;
    let bytes = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

/// The next event that is no ping: its name and its content.
async fn next(body: &mut BodyDataStream) -> (String, Value) {
    loop {
        let bytes = body.next().await.unwrap().unwrap();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let field = |name: &str| {
            let mut lines = text.lines();
            lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
        };
        if let (Some(name), Some(data)) = (field("event"), field("data")) {
            return (name.to_owned(), serde_json::from_str(data).unwrap());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn topology_and_peers_have_the_documented_shape() {
    let routes = System::start(
        Fake::new(vec![server(0..5), server(5..8)]),
        Accounts::default(),
    )
    .routes();
    let topology = json(&routes, "/v1/system/topology").await;
    assert!(topology["generated_at"].as_u64().unwrap() > 1_700_000_000);
    assert!(topology["age_seconds"].is_u64());
    assert!(topology["bootstrap"].is_array() && topology["listen_addresses"].is_array());
    let model = &topology["models"][0];
    assert_eq!(
        (&model["id"], &model["state"]),
        (&"org/m".into(), &"healthy".into())
    );
    assert_eq!(model["servers"][0]["public_name"], "alice");
    let peers = json(&routes, "/v1/system/peers").await;
    let peers = peers["peers"].as_array().unwrap();
    assert_eq!(peers.len(), 2);
    assert_eq!(peers[1]["model"], "org/m");
    assert_eq!(peers[1]["peer_id"], model["servers"][1]["peer_id"]);
}

#[tokio::test(start_paused = true)]
async fn a_subscriber_gets_the_whole_and_then_changes_within_5_s() {
    let [first, second] = [server(0..5), server(5..8)];
    let (gone, stays) = (second.peer, first.peer);
    let fake = Fake::new(vec![first, second]);
    let routes = System::start(fake.clone(), Accounts::default()).routes();
    let mut events = ask(&routes, "/v1/system/events").await.into_data_stream();
    let (name, whole) = next(&mut events).await;
    assert_eq!(
        (name.as_str(), whole["models"][0]["covered"].as_u64()),
        ("topology", Some(8))
    );

    fake.0.silent.lock().unwrap().push(gone);
    let died = tokio::time::Instant::now();
    let (name, change) = next(&mut events).await;
    assert!(died.elapsed() < Duration::from_secs(5));
    assert_eq!(name, "server");
    assert_eq!(change["model"], "org/m");
    assert_eq!(change["server"]["peer_id"], gone.to_string());
    assert_eq!(change["removed"], false);
    assert_eq!(change["server"]["state"], "unreachable");
    let (name, model) = next(&mut events).await;
    assert_eq!(
        (name.as_str(), &model["state"]),
        ("model", &"broken".into())
    );
    assert_eq!(model["missing"], serde_json::json!(["5:8"]));

    fake.change(|servers| servers.retain(|server| server.peer == stays));
    let (_, removed) = next(&mut events).await;
    assert_eq!(removed["server"]["peer_id"], gone.to_string());
    assert_eq!(removed["removed"], true);
}

#[tokio::test(start_paused = true)]
async fn a_slow_subscriber_skips_to_the_newest() {
    let fake = Fake::new(vec![server(0..8)]);
    let routes = System::start(fake.clone(), Accounts::default()).routes();
    let mut slow = ask(&routes, "/v1/system/events").await.into_data_stream();
    next(&mut slow).await;
    for throughput in 1..=50 {
        fake.change(|servers| servers[0].throughput = f64::from(throughput));
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    let (name, change) = next(&mut slow).await;
    assert_eq!(name, "server");
    assert_eq!(change["server"]["throughput"], 50.0);
    // Round trips that tremble were no news.
    assert_eq!(slow.next().now_or_never().map(|_| ()), None);
}

#[tokio::test(start_paused = true)]
async fn nobody_is_asked_while_nobody_looks() {
    let fake = Fake::new(vec![server(0..8)]);
    let routes = System::start(fake.clone(), Accounts::default()).routes();
    let looks = || fake.0.looks.load(Ordering::Relaxed);
    json(&routes, "/v1/system/topology").await;
    tokio::time::sleep(Duration::from_secs(100)).await;
    let rested = looks();
    tokio::time::sleep(Duration::from_secs(1000)).await;
    assert_eq!(looks(), rested);
    fake.change(Vec::clear);
    let topology = json(&routes, "/v1/system/topology").await;
    assert_eq!(topology["models"][0]["state"], "broken");
    assert_eq!(topology["age_seconds"], 0);

    let events = ask(&routes, "/v1/system/events").await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(looks() >= rested + 8);
    drop(events);
    tokio::time::sleep(Duration::from_secs(10)).await;
    let rested = looks();
    tokio::time::sleep(Duration::from_secs(100)).await;
    assert_eq!(looks(), rested);
}

#[tokio::test(start_paused = true)]
async fn accounts_of_answers_reach_subscribers_and_wait_for_nobody() {
    let accounts = Accounts::default();
    let routes = System::start(Fake::new(vec![server(0..8)]), accounts.clone()).routes();
    accounts.publish(Value::Null);
    let mut events = ask(&routes, "/v1/system/events").await.into_data_stream();
    next(&mut events).await;
    for number in 0..1000 {
        accounts.publish(serde_json::json!({ "id": number, "ttft_ms": 700 }));
    }
    let (name, account) = next(&mut events).await;
    assert_eq!(name, "route");
    assert!(account["id"].as_u64().unwrap() > 900, "{account}");
}

#[tokio::test(start_paused = true)]
async fn petals_monitor_is_answered_in_its_own_words() {
    let [mut first, second] = [server(0..5), server(5..8)];
    let silent = second.peer;
    first.info.cache_tokens_left = Some(1000);
    first.info.adapters = vec!["org/lora".to_owned()];
    first.info.next_pings = [(silent.to_string(), 0.5)].into();
    let reached = first.peer;
    let fake = Fake::new(vec![first, second]);
    fake.0.silent.lock().unwrap().push(silent);
    let routes = System::start(fake, Accounts::default()).petals_routes();
    let state = json(&routes, "/api/v1/state").await;
    let model = &state["model_reports"][0];
    assert_eq!(model["name"], "org/m");
    assert_eq!(model["short_name"], "m");
    assert_eq!(model["repository"], "https://huggingface.co/org/m");
    assert_eq!(
        (&model["state"], &model["num_blocks"]),
        (&"broken".into(), &8.into())
    );
    let [first, second] = [&model["server_rows"][0], &model["server_rows"][1]];
    assert_eq!(first["span"]["start"], 0);
    assert_eq!(first["span"]["end"], 5);
    assert_eq!(first["span"]["server_info"]["inference_rps"], 10.0);
    assert_eq!(first["cache_tokens_left_per_block"], 100);
    assert_eq!(first["adapters"][0]["short_name"], "lora");
    assert_eq!(second["state"], "unreachable");
    assert_eq!(second["pings_to_me"][reached.to_string()], 0.5);
    assert_eq!(
        state["reachability_issues"][0]["peer_id"],
        silent.to_string()
    );

    let asked = format!("/api/v1/is_reachable/{reached}");
    assert_eq!(json(&routes, &asked).await["success"], true);
    let asked = format!("/api/v1/is_reachable/{silent}");
    let answer = json(&routes, &asked).await;
    assert_eq!(
        (&answer["success"], &answer["message"]),
        (&false.into(), &"it is silent".into())
    );
    let nobody = Request::get("/api/v1/is_reachable/nobody")
        .body(Body::empty())
        .unwrap();
    let response = routes.clone().oneshot(nobody).await.unwrap();
    assert_eq!(response.status().as_u16(), 400);
}
