//! `swarm demo --page`: the gateway and its page over the demo's servers, until a signal comes.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use block_client::{ModelOptions, RemoteModel, Swarm};
use block_gateway::door::{Door, DoorConfig};
use block_gateway::{
    Gateway, GatewayConfig, Listener, ListenerConfig, ServedModel, ServedModelOptions, page, router,
};
use block_model::ModelSource;
use block_program::{Exit, Failure, ModelName, model_failure, multiaddrs, on_blocking_thread};
use futures::future::select_all;
use tokio_util::sync::CancellationToken;

use super::server_process::{ServerProcess, Stage};
use super::{MODEL_NAME, SPARE, START_DEADLINE, hints};
use crate::ending::Ending;
use crate::session_failure::remote_failure;
use crate::{gateway, output};

/// The socket of the page.
///
/// # Errors
/// The address is open to others (2), or cannot be bound (71).
pub(super) async fn listener(listen: SocketAddr) -> Result<Listener, Failure> {
    if !listen.ip().is_loopback() {
        return Err(
            Failure::usage(format!("--listen {listen} would be open to other machines")).hint(
                "the demo's page is for this machine, such as 127.0.0.1:8000; swarm gateway opens one to others, with keys",
            ),
        );
    }
    let config = ListenerConfig {
        drain_timeout: gateway::door::CLOSE_DEADLINE,
        ..ListenerConfig::default()
    };
    gateway::door::bind(listen, config).await
}

/// Starts the servers, opens the page, says what to try, and keeps it all alive until `stop`.
///
/// # Errors
/// A server does not start, or the gateway cannot be opened.
pub(super) async fn show(
    stage: &Stage,
    listener: Listener,
    servers: &mut Vec<ServerProcess>,
    stop: &CancellationToken,
) -> Result<(), Ending> {
    let address = listener.address();
    let preparing = async {
        super::start_servers(stage, servers).await?;
        let swarm = super::join(servers).await?;
        let gateway = Gateway::new(vec![load(stage, &swarm).await?], GatewayConfig::default());
        let door = Door::new(DoorConfig::default(), address, stop.clone()).map_err(|error| {
            Failure::new(Exit::Software, "the page cannot be opened").caused_by(&error)
        })?;
        Ok::<_, Ending>((swarm, gateway, door))
    };
    let (swarm, gateway, door) = tokio::select! {
        ready = preparing => ready?,
        () = stop.cancelled() => return Ok(()),
    };
    output::line(&hints::text(address, stage, servers))?;
    let routes = door.guard(routes(&swarm, &gateway, servers)?);
    let served = tokio::select! {
        () = gateway::serve(&gateway, listener, routes, stop) => Ok(()),
        failed = replace_lost(stage, servers) => failed,
    };
    swarm.shutdown().await;
    served
}

/// What stays at home of the model, and its servers as the gateway sees them.
async fn load(stage: &Stage, swarm: &Swarm) -> Result<ServedModel, Failure> {
    let name = stage.model.display().to_string();
    let (folder, called) = (stage.model.clone(), name.clone());
    let source = on_blocking_thread(move || {
        ModelSource::directory(&folder).map_err(|error| model_failure::failure(&error, &called))
    })
    .await?;
    let prefix = ModelName {
        name: name.clone(),
        is_local: true,
    }
    .dht_prefix(source.config().family)?;
    let options = ModelOptions {
        dht_prefix: Some(prefix),
    };
    let remote: RemoteModel = swarm
        .load(source, options)
        .await
        .map_err(|error| remote_failure(&error, &name))?;
    // The first answer finds all of them.
    super::complete_map(swarm, &remote.view).await?;
    let options = ServedModelOptions {
        source: Some(hints::MODEL_IN_CLONE.to_owned()),
        ..ServedModelOptions::new(MODEL_NAME)
    };
    ServedModel::new(remote, options).map_err(|error| {
        Failure::new(Exit::Software, "the story model cannot be served").caused_by(&error)
    })
}

fn routes(swarm: &Swarm, gateway: &Gateway, servers: &[ServerProcess]) -> Result<Router, Failure> {
    let peers = servers
        .iter()
        .map(|server| multiaddrs::parse("READY", &server.address))
        .collect::<Result<_, _>>()?;
    // The addresses are those that this machine's owner has just been told.
    let system = gateway::system(gateway, swarm, peers, true);
    Ok(router(gateway.clone())
        .merge(system.routes())
        .merge(page::routes()))
}

/// Starts a server that has ended again, after a while in which the others can be seen to do its work.
///
/// # Errors
/// Nobody reads what is said about it, or it cannot be started.
async fn replace_lost(stage: &Stage, servers: &mut [ServerProcess]) -> Result<(), Ending> {
    loop {
        let ends = servers.iter_mut().map(|server| Box::pin(server.ended()));
        let ((), lost, _) = select_all(ends).await;
        let Some(server) = servers.get(lost) else {
            continue;
        };
        let (part, pid) = (server.part, server.pid);
        output::line(&format!(
            "{} (process {pid}) is gone; the Swarm tab shows it. It is started again in {} s.",
            part.name,
            REPLACE_DELAY.as_secs()
        ))?;
        tokio::time::sleep(REPLACE_DELAY).await;
        // All others: another one may have been lost meanwhile.
        let others = servers
            .iter()
            .enumerate()
            .filter(|(place, _)| *place != lost);
        let ways_in: Vec<&str> = others.map(|(_, other)| other.address.as_str()).collect();
        let starting = ServerProcess::start(stage, part, &ways_in, servers.get(lost))?;
        let online = starting.ready(START_DEADLINE).await?;
        let hint = if lost == SPARE {
            format!("; again: kill -9 {}", online.pid)
        } else {
            String::new()
        };
        output::line(&format!(
            "{} is back as process {}{hint}",
            part.name, online.pid
        ))?;
        if let Some(place) = servers.get_mut(lost) {
            *place = online;
        }
    }
}

/// How long a server stays away: longer than an answer takes, and than the page needs to show it.
const REPLACE_DELAY: Duration = Duration::from_secs(20);
