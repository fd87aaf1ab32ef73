//! `swarm demo`: a private swarm of three servers on this machine, a story through it, and a server that dies on the way.
//!
//! Everything lives in one temporary folder and on free loopback ports: the model is part of this program, identities
//! are thrown away, and no configuration, cache or other swarm of this machine is touched. The servers are children of
//! this process: they are killed when their handles are dropped, so that no way out of here leaves one running.

mod fable;
mod server_process;
mod story;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use block_client::{LocalModel, Swarm, SwarmConfig};
use block_model::ModelSource;
use block_program::{Exit, Failure, ModelName, model_failure, multiaddrs, on_blocking_thread};
use tempfile::TempDir;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::cli::DemoFlags;
use crate::ending::Ending;
use crate::map::{self, ModelState, ModelTopology};
use crate::membership::swarm_failure;
use crate::output;
use crate::progress::Waiting;
use crate::session_failure::local_failure;

use server_process::ServerProcess;

/// The servers: name and blocks. Any one of the last two can be lost.
const SERVERS: [(&str, &str); 3] = [("ada", "0:5"), ("ben", "3:8"), ("cleo", "4:8")];

/// Shows it all, from nothing to nothing.
///
/// # Errors
/// No server program, a server that does not start, Ctrl-C. Nothing is left running.
pub(crate) async fn run(flags: DemoFlags, stop: CancellationToken) -> Result<(), Ending> {
    let program = server_program(flags.block_server.clone())?;
    let folder = tempfile::Builder::new()
        .prefix("swarm-demo-")
        .tempdir()
        .map_err(|error| {
            Failure::new(Exit::OsError, "no temporary folder can be made").caused_by(&error)
        })?;
    let mut servers = Vec::new();
    let shown = tokio::select! {
        shown = show(&flags, &program, &folder, &mut servers) => shown,
        () = stop.cancelled() => Err(Ending::Interrupted),
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
    program: &Path,
    folder: &TempDir,
    servers: &mut Vec<ServerProcess>,
) -> Result<(), Ending> {
    let model = fable::write(folder.path())?;
    output::line(&format!(
        "Starting three servers on this machine, each with a part of the story model's {} blocks.",
        fable::NUM_BLOCKS
    ))?;
    start_servers(program, folder.path(), &model, servers).await?;
    for server in servers.iter() {
        output::line(&format!(
            "  {:<5} blocks {}   process {}   {}",
            server.name, server.blocks, server.pid, server.address
        ))?;
    }
    let swarm = join(servers).await?;
    let told = tell(flags, &swarm, &model, servers).await;
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
    output::text(&map::text(&topology))?;
    output::line("")?;
    story::tell(flags, swarm, view, Arc::new(local), servers).await
}

/// Starts the first server, then the others through it.
async fn start_servers(
    program: &Path,
    folder: &Path,
    model: &Path,
    servers: &mut Vec<ServerProcess>,
) -> Result<(), Failure> {
    let _waiting = Waiting::new("starting servers");
    let [first, others @ ..] = SERVERS;
    let first = ServerProcess::start(program, folder, model, first, None)?;
    servers.push(first.ready(START_DEADLINE).await?);
    let mut starting = Vec::new();
    for other in others {
        let way_in = servers.first().map(|first| first.address.as_str());
        starting.push(ServerProcess::start(program, folder, model, other, way_in)?);
    }
    for server in starting {
        servers.push(server.ready(START_DEADLINE).await?);
    }
    Ok(())
}

async fn join(servers: &[ServerProcess]) -> Result<Swarm, Failure> {
    // The first is never killed.
    let peers = servers
        .iter()
        .take(1)
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
        let topology = map::look(swarm, view, "fable-7m").await;
        let online = topology.servers.iter().filter(|row| row.state == "online");
        if topology.state == ModelState::Healthy && online.count() == SERVERS.len() {
            return Ok(topology);
        }
        if Instant::now() > deadline {
            return Err(Failure::new(
                Exit::Unavailable,
                "the servers of the demo did not find each other",
            )
            .cause(map::text(&topology))
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

/// Longest wait for a server to be online, and for all to know of each other: a busy machine needs some of it.
const START_DEADLINE: Duration = Duration::from_secs(60);
/// How often the demo looks at its own small swarm.
const REFRESH_PERIOD: Duration = Duration::from_millis(500);
