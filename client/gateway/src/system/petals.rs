//! What Petals' monitor answers, in its words, for programs that read it: `--compat petals`.
//!
//! Shapes after petals-infra/health.petals.dev. Differs: no address is looked up or told (`peer_ip_info` is `unknown`),
//! `update_duration` is 0, and `top_contributors` counts every model, for none is official.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use axum::extract::{ConnectInfo, Path, State};
use axum::{Extension, Json};
use block_client::topology::{ModelTopology, ServerRow};
use block_network::PeerId;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::{System, Topology, now_seconds};
use crate::{ApiError, ErrorCode};

/// `GET /api/v1/state`.
pub(super) async fn state(State(system): State<System>) -> Json<Value> {
    let seen = system.watch.fresh().await;
    let updated = now_seconds().saturating_sub(seen.at.elapsed().as_secs());
    Json(report(&seen.topology, updated))
}

/// `GET /api/v1/is_reachable/{peer}`: Petals' servers ask it about themselves before they go online.
pub(super) async fn is_reachable(
    State(system): State<System>,
    Path(peer): Path<String>,
    caller: Option<Extension<ConnectInfo<SocketAddr>>>,
) -> Result<Json<Value>, ApiError> {
    let peer: PeerId = peer
        .parse()
        .map_err(|_| ApiError::invalid("peer", "this is no peer id"))?;
    // Anybody may ask, and each question makes this machine dial.
    let _dial = DIALS.try_acquire().map_err(|_| {
        ApiError::new(ErrorCode::QueueFull, "too many peers are being dialed")
            .retry_after(std::time::Duration::from_secs(5))
    })?;
    let reached = system.watch.source().reach(peer).await;
    Ok(Json(json!({
        "success": reached.is_ok(),
        "message": reached.err(),
        "your_ip": caller.map(|Extension(ConnectInfo(caller))| caller.ip().to_canonical()),
    })))
}

fn report(topology: &Topology, updated: u64) -> Value {
    let servers = || topology.models.iter().flat_map(|model| &model.servers);
    let mut contributors: BTreeMap<&str, usize> = BTreeMap::new();
    for server in servers().filter(|server| shows_name(server)) {
        if let Some(name) = &server.public_name {
            *contributors.entry(name).or_default() += num_blocks(server);
        }
    }
    let unreachable = servers().filter(|server| server.state == "unreachable");
    let issues: Vec<Value> = unreachable
        .map(|server| json!({ "peer_id": server.peer_id, "err": "it does not answer" }))
        .collect();
    let bootstrap_states: Vec<&str> = topology
        .bootstrap
        .iter()
        .map(|peer| match peer.state {
            "online" => "online",
            _ => "unreachable",
        })
        .collect();
    let models: Vec<Value> = topology.models.iter().map(model_report).collect();
    json!({
        "bootstrap_states": bootstrap_states,
        "top_contributors": contributors,
        "model_reports": models,
        "reachability_issues": issues,
        "last_updated": updated,
        "update_period": UPDATE_PERIOD_SECONDS,
        "update_duration": 0.0,
    })
}

fn model_report(model: &ModelTopology) -> Value {
    let is_repository = model.id.contains('/');
    let repository = is_repository.then(|| format!("{REPOSITORIES}{}", model.id));
    let rows: Vec<Value> = model
        .servers
        .iter()
        .map(|server| server_row(model, server))
        .collect();
    json!({
        "name": model.id,
        "short_name": short(&model.id),
        "state": model.state,
        "server_rows": rows,
        "num_blocks": model.num_blocks,
        "repository": repository,
        "dht_prefix": model.dht_prefix,
        "official": false,
        "limited": false,
    })
}

fn server_row(model: &ModelTopology, server: &ServerRow) -> Value {
    let adapters: Vec<Value> = server
        .adapters
        .iter()
        .map(|name| json!({ "name": name, "short_name": short(name) }))
        .collect();
    let pings: BTreeMap<&str, Option<f64>> = model
        .servers
        .iter()
        .filter_map(|from| {
            let ping = from.next_pings.get(&server.peer_id)?;
            Some((from.peer_id.as_str(), *ping))
        })
        .collect();
    let hidden = server.peer_id.chars().count().saturating_sub(PEER_CHARS);
    let tail: String = server.peer_id.chars().skip(hidden).collect();
    let mut row = json!({
        "short_peer_id": format!("...{tail}"),
        "peer_id": server.peer_id,
        "peer_ip_info": "unknown",
        "show_public_name": shows_name(server),
        "state": server.state,
        "span": {
            "peer_id": server.peer_id,
            "start": server.start_block,
            "end": server.end_block,
            "server_info": server_info(server),
        },
        "adapters": adapters,
        "pings_to_me": pings,
    });
    if let Some(tokens) = server.cache_tokens_left {
        // Petals counts keys and values.
        let per_block = tokens / (2 * num_blocks(server).max(1) as u64);
        row["cache_tokens_left_per_block"] = per_block.into();
    }
    row
}

fn server_info(server: &ServerRow) -> Value {
    let announced = match server.state {
        "unreachable" => "online",
        other => other,
    };
    json!({
        "state": announced,
        "throughput": server.throughput,
        "start_block": server.start_block,
        "end_block": server.end_block,
        "public_name": server.public_name,
        "version": server.version,
        "network_rps": server.network_rps,
        "forward_rps": server.forward_rps,
        "inference_rps": server.inference_rps,
        "adapters": server.adapters,
        "torch_dtype": server.dtype,
        "quant_type": server.quant_type,
        "using_relay": server.using_relay,
        "cache_tokens_left": server.cache_tokens_left,
        "next_pings": server.next_pings,
    })
}

/// Petals shows the names of those who give a good part of a model.
fn shows_name(server: &ServerRow) -> bool {
    server.state == "online" && num_blocks(server) >= NAMED_BLOCKS
}

fn num_blocks(server: &ServerRow) -> usize {
    server.end_block.saturating_sub(server.start_block)
}

fn short(name: &str) -> &str {
    name.rsplit_once('/').map_or(name, |(_, short)| short)
}

/// Peers that are dialed at the same time because somebody asks.
static DIALS: Semaphore = Semaphore::const_new(8);
const REPOSITORIES: &str = "https://huggingface.co/";
/// Petals' figure.
const NAMED_BLOCKS: usize = 10;
/// Last characters of a peer id in its short form, as Petals has it.
const PEER_CHARS: usize = 6;
/// The monitor's figure; a state is younger here.
const UPDATE_PERIOD_SECONDS: u64 = 60;
