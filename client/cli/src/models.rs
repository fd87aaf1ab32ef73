//! `swarm models`: what the swarm lists, and whether it can be used.

use block_client::{RegisteredModel, Swarm};
use block_program::amounts::rate;
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use serde::Serialize;
use tokio::task::JoinSet;

use crate::cli::ModelsFlags;
use crate::ending::Ending;
use crate::map::{self, Contacts, ModelState, ModelTopology};
use crate::membership::{self, swarm_failure};
use crate::output;
use crate::progress::Waiting;

/// One model.
#[derive(Debug, Serialize)]
struct ModelRow {
    dht_prefix: String,
    repository: Option<String>,
    num_blocks: usize,
    covered: usize,
    state: ModelState,
    servers: usize,
    /// Announced tokens per second of the weakest block.
    bottleneck: f64,
}

/// Everything, for `--json`.
#[derive(Debug, Serialize)]
struct ModelList {
    models: Vec<ModelRow>,
}

/// Prints the models.
///
/// # Errors
/// The swarm cannot be asked.
pub(crate) async fn run(flags: ModelsFlags) -> Result<(), Ending> {
    let peers = membership::initial_peers(&flags.swarm)?;
    let swarm = membership::join(&flags.swarm, peers).await?;
    let waiting = Waiting::new("asking the swarm");
    let registry = swarm
        .registry()
        .await
        .map_err(|error| swarm_failure(&error))?;
    let mut models = Vec::new();
    for some in registry.chunks(AT_ONCE) {
        let mut asked = JoinSet::new();
        for model in some {
            let (swarm, model) = (swarm.clone(), model.clone());
            asked.spawn(async move { row(&swarm, model).await });
        }
        for row in asked.join_all().await {
            models.push(row?);
        }
    }
    models.sort_by(|left, right| left.dht_prefix.cmp(&right.dht_prefix));
    drop(waiting);
    let list = ModelList { models };
    let printed = if flags.json {
        output::json(&list)
    } else {
        output::text(&text(&list))
    };
    swarm.shutdown().await;
    printed
}

async fn row(swarm: &Swarm, model: RegisteredModel) -> Result<ModelRow, Ending> {
    let view = swarm.view(&model.dht_prefix, model.num_blocks);
    map::ready(&view).await?;
    let snapshot = view.snapshot();
    // The records are believed here: asking every server of every model would be rude.
    let contacts: Contacts = snapshot
        .servers
        .iter()
        .map(|server| (server.peer.to_string(), map::Contact::believed()))
        .collect();
    let topology = ModelTopology::new(&model.dht_prefix, &snapshot, &contacts);
    Ok(ModelRow {
        dht_prefix: model.dht_prefix,
        repository: model.repository,
        num_blocks: model.num_blocks,
        covered: topology.covered,
        state: topology.state,
        servers: topology.servers.len(),
        bottleneck: topology.bottleneck.inference,
    })
}

fn text(list: &ModelList) -> String {
    if list.models.is_empty() {
        return "the swarm lists no model\n".to_owned();
    }
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header([
            "model",
            "state",
            "covered",
            "servers",
            "tok/s",
            "repository",
        ]);
    for model in &list.models {
        table.add_row([
            map::plain(&model.dht_prefix),
            model.state.in_words().to_owned(),
            format!("{} of {}", model.covered, model.num_blocks),
            model.servers.to_string(),
            rate(model.bottleneck),
            map::plain(model.repository.as_deref().unwrap_or("–")),
        ]);
    }
    for column in [2, 3, 4] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    map::lines(&table)
}

/// Models looked up at the same time.
const AT_ONCE: usize = 16;
