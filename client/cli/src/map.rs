//! `swarm map`: who serves which blocks of a model.
//!
//! No weights are needed: prefix and number of blocks come from the swarm's own list of models, else from `config.json`.

mod screen;
pub(crate) mod subject;
mod table;
mod watch;

use std::time::Duration;

use block_client::topology::{self, Asking};
use block_client::{ModelView, RouteError, Swarm};
use block_program::{Exit, Failure};

use crate::cli::MapFlags;
use crate::ending::Ending;
use crate::progress::Waiting;
use crate::{membership, output};

pub(crate) use block_client::topology::{Contact, Contacts, ModelState, ModelTopology, ping};
pub(crate) use table::{lines, plain, text};

/// Prints the map.
///
/// # Errors
/// The swarm cannot be asked, or does not know the model.
pub(crate) async fn run(flags: MapFlags) -> Result<(), Ending> {
    if flags.watch {
        watch::check()?;
    }
    let peers = membership::initial_peers(&flags.swarm)?;
    if let Some(prefix) = &flags.model.dht_prefix {
        crate::model_files::checked_prefix(prefix)?;
    }
    let flag_to_join = membership::flag_to_join(&flags.swarm);
    let swarm = membership::join(&flags.swarm, peers).await?;
    let waiting = Waiting::new("asking the swarm");
    let subject = subject::find(&flags.model, &swarm).await?;
    let view = swarm.view(&subject.dht_prefix, subject.num_blocks);
    ready(&view).await?;
    if flags.watch {
        drop(waiting);
        let watched = watch::run(&swarm, &view, &subject.id, flag_to_join).await;
        swarm.shutdown().await;
        return watched;
    }
    let topology = look(&swarm, &view, &subject.id).await;
    drop(waiting);
    let printed = if flags.json {
        output::json(&topology)
    } else {
        output::text(&text(&topology, flag_to_join))
    };
    swarm.shutdown().await;
    printed
}

/// The map of the model `id` now; asks every server that is on it.
pub(crate) async fn look(swarm: &Swarm, view: &ModelView, id: &str) -> ModelTopology {
    let snapshot = view.snapshot();
    let contacts = topology::ask(swarm, &snapshot, Asking::default()).await;
    ModelTopology::new(id, &snapshot, &contacts)
}

/// Waits until the records of a model have been read.
///
/// # Errors
/// They cannot be (exit 69).
pub(crate) async fn ready(view: &ModelView) -> Result<(), Failure> {
    view.ready(READY_DEADLINE)
        .await
        .map_err(|error: RouteError| {
            Failure::new(Exit::Unavailable, "the swarm cannot be asked")
                .caused_by(&error)
                .hint("try again")
        })
}

/// Longest wait for the records: a lookup through dead peers takes about three call timeouts.
const READY_DEADLINE: Duration = Duration::from_secs(30);
