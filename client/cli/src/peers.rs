//! `swarm peers`: the servers of one model, or of all, and the way to each.

use block_client::Swarm;
use block_program::Failure;
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use serde::Serialize;

use crate::cli::{ModelFlags, PeersFlags};
use crate::ending::Ending;
use crate::map::subject::{self, Subject};
use crate::map::{self, ModelTopology, plain};
use crate::membership::{self, swarm_failure};
use crate::output;
use crate::progress::Waiting;

/// Everything, for `--json`.
#[derive(Debug, Serialize)]
struct PeerList {
    peers: Vec<PeerRow>,
}

/// One server of one model; field names as in the map.
#[derive(Debug, Serialize)]
struct PeerRow {
    peer_id: String,
    public_name: Option<String>,
    version: Option<String>,
    dht_prefix: String,
    start_block: usize,
    end_block: usize,
    state: &'static str,
    /// `direct` or `relay`; `null` if the server does not say.
    path: Option<&'static str>,
    /// `null` if it does not answer.
    rtt_ms: Option<f64>,
    addresses: Vec<String>,
}

/// Prints the servers.
///
/// # Errors
/// The swarm cannot be asked, or does not know the model.
pub(crate) async fn run(flags: PeersFlags) -> Result<(), Ending> {
    let peers = membership::initial_peers(&flags.swarm)?;
    let swarm = membership::join(&flags.swarm, peers).await?;
    let waiting = Waiting::new("asking the swarm");
    let listed = list(&swarm, flags.model.as_deref()).await;
    drop(waiting);
    let printed = match listed {
        Ok(list) if flags.json => output::json(&list),
        Ok(list) => output::text(&text(&list)),
        Err(failure) => Err(failure.into()),
    };
    swarm.shutdown().await;
    printed
}

async fn list(swarm: &Swarm, model: Option<&str>) -> Result<PeerList, Failure> {
    let subjects = match model {
        Some(model) => vec![subject::find(&ModelFlags::named(model), swarm).await?],
        None => all(swarm).await?,
    };
    let mut peers = Vec::new();
    for subject in subjects {
        let view = swarm.view(&subject.dht_prefix, subject.num_blocks);
        map::ready(&view).await?;
        peers.extend(rows(map::look(swarm, &view, &subject.id).await));
    }
    Ok(PeerList { peers })
}

/// All models of the swarm, in order of their prefixes.
async fn all(swarm: &Swarm) -> Result<Vec<Subject>, Failure> {
    let registry = swarm
        .registry()
        .await
        .map_err(|error| swarm_failure(&error))?;
    let mut subjects: Vec<Subject> = registry
        .into_iter()
        .map(|model| Subject {
            id: model.dht_prefix.clone(),
            dht_prefix: model.dht_prefix,
            num_blocks: model.num_blocks,
        })
        .collect();
    subjects.sort_by(|left, right| left.dht_prefix.cmp(&right.dht_prefix));
    Ok(subjects)
}

fn rows(model: ModelTopology) -> impl Iterator<Item = PeerRow> {
    let path = |is_relayed| if is_relayed { "relay" } else { "direct" };
    model.servers.into_iter().map(move |server| PeerRow {
        peer_id: server.peer_id,
        public_name: server.public_name,
        version: server.version,
        dht_prefix: model.dht_prefix.clone(),
        start_block: server.start_block,
        end_block: server.end_block,
        state: server.state,
        path: server.using_relay.map(path),
        rtt_ms: server.rtt_ms,
        addresses: server.addresses,
    })
}

fn text(list: &PeerList) -> String {
    if list.peers.is_empty() {
        return "the swarm lists no server\n".to_owned();
    }
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header([
            "peer", "name", "version", "model", "blocks", "state", "path", "rtt",
        ]);
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "–".to_owned());
    for peer in &list.peers {
        table.add_row([
            peer.peer_id.clone(),
            or_dash(peer.public_name.as_deref().map(plain)),
            or_dash(peer.version.as_deref().map(plain)),
            plain(&peer.dht_prefix),
            format!("{}:{}", peer.start_block, peer.end_block),
            peer.state.to_owned(),
            or_dash(peer.path.map(str::to_owned)),
            or_dash(peer.rtt_ms.map(|rtt| format!("{rtt:.1} ms"))),
        ]);
    }
    if let Some(column) = table.column_mut(RTT_COLUMN) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    map::lines(&table)
}

const RTT_COLUMN: usize = 7;
