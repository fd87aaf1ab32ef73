//! `swarm demo`: a private swarm of three servers on this machine, a story through it, and a server that dies on the way;
//! with `--page` a gateway to it and its page instead of the story.
//!
//! Everything lives in one temporary folder and on free ports, of loopback unless `--share` says otherwise: the model is
//! part of this program, identities are thrown away, and no configuration of this user, cache or other swarm is touched. The servers are children of this process: they are killed when their handles are dropped, and end by
//! themselves when this process is killed, so that no way out of here leaves one running.

mod fable;
mod hints;
mod page;
mod place;
mod server_process;
mod story;

pub(crate) use place::Share;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use block_client::{LocalModel, Swarm, SwarmConfig};
use block_model::ModelSource;
use block_program::{Exit, Failure, ModelName, model_failure, multiaddrs, on_blocking_thread};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::cli::DemoFlags;
use crate::ending::Ending;
use crate::map::{self, ModelState, ModelTopology};
use crate::membership::swarm_failure;
use crate::output;
use crate::progress::Waiting;
use crate::session_failure::local_failure;

use server_process::{Part, ServerProcess, Stage};

/// The servers. Any one of the last two can be lost; the quicker one of them is the one that is used.
const SERVERS: [Part; 3] = [
    Part {
        name: "ada",
        blocks: "0:5",
        block_delay_ms: 8,
    },
    Part {
        name: "ben",
        blocks: "3:8",
        block_delay_ms: 8,
    },
    Part {
        name: "cleo",
        blocks: "4:8",
        block_delay_ms: 12,
    },
];
/// The one to lose.
const SPARE: usize = 1;

/// Shows it all, from nothing to nothing.
///
/// # Errors
/// No server program, a server that does not start, an address that cannot be listened on; without `--page` also Ctrl-C.
/// Nothing is left running.
pub(crate) async fn run(flags: DemoFlags, stop: CancellationToken) -> Result<(), Ending> {
    let ip = place::ip(flags.share.as_ref())?;
    let program = server_program(flags.block_server.clone())?;
    // Taken first: whoever gave a taken port need not wait for servers.
    let listener = match flags.page {
        true => Some(page::listener(flags.listen).await?),
        false => None,
    };
    let folder = tempfile::Builder::new()
        .prefix("swarm-demo-")
        .tempdir()
        .map_err(|error| {
            Failure::new(Exit::OsError, "no temporary folder can be made").caused_by(&error)
        })?;
    let model = fable::write(folder.path())?;
    let stage = Stage {
        program,
        folder,
        model,
        ip,
        is_shared: flags.share.is_some(),
        is_slow: flags.page,
    };
    let mut servers = Vec::new();
    let shown = match listener {
        Some(listener) => page::show(&stage, listener, &mut servers, &stop).await,
        None => tokio::select! {
            shown = show(&flags, &stage, &mut servers) => shown,
            () = stop.cancelled() => Err(Ending::Interrupted),
        },
    };
    for server in &mut servers {
        server.kill().await;
    }
    if shown.is_ok() {
        output::line("All servers are stopped, and the temporary folder is removed.")?;
    }
    shown
}

async fn show(
    flags: &DemoFlags,
    stage: &Stage,
    servers: &mut Vec<ServerProcess>,
) -> Result<(), Ending> {
    start_servers(stage, servers).await?;
    let swarm = join(servers).await?;
    let told = tell(flags, &swarm, &stage.model, servers).await;
    swarm.shutdown().await;
    told
}

async fn tell(
    flags: &DemoFlags,
    swarm: &Swarm,
    model: &Path,
    servers: &mut [ServerProcess],
) -> Result<(), Ending> {
    let local = load(model.to_owned()).await?;
    let prefix = ModelName {
        name: model.display().to_string(),
        is_local: true,
    }
    .dht_prefix(local.config.family)?;
    let view = swarm.view(&prefix, local.config.num_blocks);
    let topology = complete_map(swarm, &view).await?;
    output::line("")?;
    output::text(&map::text(&topology, "--initial-peers ADDR"))?;
    output::line("")?;
    story::tell(flags, swarm, view, Arc::new(local), servers).await
}

/// Starts the first server, then the others through it, and says so.
async fn start_servers(stage: &Stage, servers: &mut Vec<ServerProcess>) -> Result<(), Ending> {
    output::line(&format!(
        "Starting three servers on this machine, each with a part of the story model's {} blocks.",
        fable::NUM_BLOCKS
    ))?;
    let waiting = Waiting::new("starting servers");
    let [first, others @ ..] = SERVERS;
    let first = ServerProcess::start(stage, first, &[], None)?;
    servers.push(first.ready(START_DEADLINE).await?);
    let mut starting = Vec::new();
    for other in others {
        let first = servers.first().map(|first| first.address.as_str());
        starting.push(ServerProcess::start(stage, other, first.as_slice(), None)?);
    }
    for server in starting {
        servers.push(server.ready(START_DEADLINE).await?);
    }
    drop(waiting);
    for server in servers.iter() {
        output::line(&format!(
            "  {:<5} blocks {}   process {}   {}",
            server.part.name, server.part.blocks, server.pid, server.address
        ))?;
    }
    Ok(())
}

async fn join(servers: &[ServerProcess]) -> Result<Swarm, Failure> {
    let peers = servers
        .iter()
        .map(|server| multiaddrs::parse("READY", &server.address))
        .collect::<Result<_, _>>()?;
    let config = SwarmConfig {
        join_timeout: START_DEADLINE,
        refresh_period: REFRESH_PERIOD,
        ..SwarmConfig::new(peers)
    };
    Swarm::join(config)
        .await
        .map_err(|error| swarm_failure(&error))
}

async fn load(model: PathBuf) -> Result<LocalModel, Failure> {
    on_blocking_thread(move || {
        let name = model.display().to_string();
        let source = ModelSource::directory(&model)
            .map_err(|error| model_failure::failure(&error, &name))?;
        LocalModel::load(&source).map_err(|error| local_failure(&error, &name))
    })
    .await
}

/// The map once every server is on it.
async fn complete_map(
    swarm: &Swarm,
    view: &block_client::ModelView,
) -> Result<ModelTopology, Failure> {
    let _waiting = Waiting::new("waiting until the swarm knows all servers");
    map::ready(view).await?;
    let deadline = Instant::now() + START_DEADLINE;
    loop {
        let topology = map::look(swarm, view, MODEL_NAME).await;
        let online = topology.servers.iter().filter(|row| row.state == "online");
        if topology.state == ModelState::Healthy && online.count() == SERVERS.len() {
            return Ok(topology);
        }
        if Instant::now() > deadline {
            return Err(Failure::new(
                Exit::Unavailable,
                "the servers of the demo did not find each other",
            )
            .cause(map::text(&topology, "--initial-peers ADDR"))
            .hint("try again; swarm demo -v tells more"));
        }
        tokio::time::sleep(REFRESH_PERIOD).await;
    }
}

/// The program that serves blocks: as given, else beside this one.
fn server_program(given: Option<PathBuf>) -> Result<PathBuf, Failure> {
    let path = match given {
        Some(path) => path,
        None => std::env::current_exe()
            .map_err(|error| {
                Failure::new(Exit::OsError, "this program does not know where it is")
                    .caused_by(&error)
                    .hint("--block-server FILE")
            })?
            .with_file_name("block-server"),
    };
    if path.is_file() {
        return Ok(path);
    }
    Err(Failure::new(
        Exit::NoInput,
        format!("there is no server program {}", path.display()),
    )
    .hint("cargo build --release makes it beside swarm; --block-server FILE names another one"))
}

/// What the story model is called.
const MODEL_NAME: &str = "fable-7m";
/// Longest wait for a server to be online, and for all to know of each other: a busy machine needs some of it.
const START_DEADLINE: Duration = Duration::from_secs(60);
/// How often the demo looks at its own small swarm.
const REFRESH_PERIOD: Duration = Duration::from_millis(500);
