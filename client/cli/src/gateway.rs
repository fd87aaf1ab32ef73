//! `swarm gateway`: OpenAI's HTTP API over a swarm, until a signal comes.

pub(crate) mod door;
mod models;

use std::net::SocketAddr;

use axum::Router;
use block_client::Swarm;
use block_gateway::door::Door;
use block_gateway::system::{SwarmSource, System};
use block_gateway::{
    ExecutionConfig, Executions, Gateway, GatewayConfig, KeepConfig, Listener, PetalsChat,
    PetalsChatConfig, ServedModel, metrics, page, router,
};
use block_network::Multiaddr;
use block_program::http_port::metrics_routes;
use block_program::peers_file::{PeersFile, no_hangups};
use block_program::{Exporter, Failure, MetricsTable};
use tokio_util::sync::CancellationToken;

use crate::cli::GatewayFlags;
use crate::ending::Ending;
use crate::{membership, metrics_port, output};

/// The gateway's own metrics.
const GATEWAY: MetricsTable = MetricsTable {
    describe: metrics::describe_all,
    buckets: || metrics::histogram_buckets().collect(),
};

/// Serves until `stop` is cancelled; prints `READY <url>` once it listens.
///
/// # Errors
/// The flags contradict each other, a model or the swarm cannot be used, the address cannot be bound.
pub(crate) async fn run(flags: GatewayFlags, stop: CancellationToken) -> Result<(), Ending> {
    let peers = membership::initial_peers(&flags.swarm)?;
    let file = membership::peers_file(&flags.swarm)?;
    models::check(&flags.models)?;
    let config = GatewayConfig {
        allow_route: flags.models.allow_route,
        repair_deadline: flags.door.repair_timeout,
        keep: KeepConfig {
            sessions: usize::from(flags.door.keep_sessions),
            idle: flags.door.keep_session_seconds,
        },
        ..GatewayConfig::default()
    };
    let door = door::door(&flags.door, flags.listen, &stop)?;
    // Taken first: whoever gave a taken port need not wait for a download.
    let listener = door::listener(&flags.door, flags.listen, config.reader_patience).await?;
    let exporter = Exporter::of_process("swarm", &[metrics_port::CLIENT, GATEWAY])?;
    let preparing = async {
        let swarm = membership::join(&flags.swarm, peers.clone()).await?;
        let models = models::load(&flags.models, &swarm).await?;
        Ok::<_, Failure>((swarm, models))
    };
    let (swarm, models) = tokio::select! {
        ready = preparing => ready?,
        // Nothing has begun yet.
        () = stop.cancelled() => return Ok(()),
    };
    let gateway = Gateway::new(models, config);
    // Found ones are told like given ones.
    let peers = if flags.swarm.lan {
        found_peers(&swarm)
    } else {
        peers
    };
    let routes = routes(&flags, &gateway, &swarm, peers).merge(metrics_routes(exporter.clone()));
    let scheme = if flags.door.tls_cert.is_some() {
        "https"
    } else {
        "http"
    };
    say_hello(scheme, listener.address(), &gateway, flags.page == "on")?;
    tokio::select! {
        () = serve(&gateway, listener, door.guard(routes), &stop) => {}
        () = exporter.keep_up() => {}
        Err(error) = reload_on_hangup(file.as_ref(), &swarm, &door) => {
            return Err(no_hangups(&error).into());
        }
    }
    swarm.shutdown().await;
    Ok(())
}

/// Reads keys and initial peers again at every SIGHUP.
async fn reload_on_hangup(
    file: Option<&PeersFile>,
    swarm: &Swarm,
    door: &Door,
) -> std::io::Result<()> {
    let Some(file) = file else {
        return door.reload_on_hangup().await;
    };
    tokio::try_join!(door.reload_on_hangup(), file.reload_on_hangup(swarm.dht())).map(drop)
}

/// Where the peers of the local network are that the gateway joined by.
fn found_peers(swarm: &Swarm) -> Vec<Multiaddr> {
    let node = swarm.node();
    let connected = node.connected_peers();
    let found = node.local_peers().map(|found| found.borrow().clone());
    found
        .unwrap_or_default()
        .iter()
        .filter(|(peer, _)| connected.contains(peer))
        .flat_map(|(_, addresses)| addresses.first().cloned())
        .collect()
}

/// Looks at the swarm that `peers` lead into, for the page and for programs; `shows_addresses`: of the servers, too.
pub(crate) fn system(
    gateway: &Gateway,
    swarm: &Swarm,
    peers: Vec<Multiaddr>,
    shows_addresses: bool,
) -> System {
    let views = gateway
        .models()
        .iter()
        .map(|model| (model.name().to_owned(), model.remote().view.clone()));
    let source = SwarmSource::new(swarm.clone(), views.collect(), peers, shows_addresses);
    System::start(source, gateway.accounts().clone())
}

fn routes(flags: &GatewayFlags, gateway: &Gateway, swarm: &Swarm, peers: Vec<Multiaddr>) -> Router {
    let system = system(gateway, swarm, peers, flags.topology_addresses);
    let mut routes = router(gateway.clone()).merge(system.routes());
    if flags.page == "on" {
        routes = routes.merge(page::routes());
    }
    let answers = |api: &str| flags.compat.iter().any(|asked| asked == api);
    if answers("petals") {
        let chat = PetalsChat::new(gateway, PetalsChatConfig::default());
        routes = routes.merge(system.petals_routes()).merge(chat.routes());
    }
    if answers("kekahyde") {
        let config = ExecutionConfig {
            trusted_peers: flags.trusted_peers.clone(),
            ..ExecutionConfig::default()
        };
        routes = routes.merge(Executions::new(gateway, config).routes());
    }
    routes
}

/// Until `stop`; then streams get their error object, and what is written is sent.
pub(crate) async fn serve(
    gateway: &Gateway,
    listener: Listener,
    routes: Router,
    stop: &CancellationToken,
) {
    let ending = async {
        stop.cancelled().await;
        gateway.stop().await;
    };
    tokio::join!(listener.serve(routes, stop.clone()), ending);
}

/// Where it listens, for programs; what to do with it, for people.
fn say_hello(
    scheme: &str,
    address: SocketAddr,
    gateway: &Gateway,
    has_page: bool,
) -> Result<(), Ending> {
    let models = gateway.models();
    for model in models {
        output::remark(&models::in_words(model));
    }
    let name = models
        .first()
        .map_or("MODEL", |model| ServedModel::name(model));
    let url = format!("{scheme}://{address}");
    if has_page {
        output::remark(&format!("Chat and map: {url}/"));
    }
    output::remark(&format!(
        "Ask it:\n  curl {url}/v1/chat/completions -H 'content-type: application/json' \\\n    \
         -d '{{\"model\": \"{name}\", \"messages\": [{{\"role\": \"user\", \"content\": \"Once upon a time\"}}]}}'\n\
         Or give {url}/v1 to any OpenAI client as its base URL. Ctrl-C ends it.",
    ));
    match output::line(&format!("READY {url}")) {
        // Whoever closed it does not want the line; others still want the gateway.
        Ok(()) | Err(Ending::OutputClosed) => Ok(()),
        Err(ending) => Err(ending),
    }
}
