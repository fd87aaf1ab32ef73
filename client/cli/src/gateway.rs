//! `swarm gateway`: OpenAI's HTTP API over a swarm, until a signal comes.

mod models;

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use block_gateway::{Gateway, GatewayConfig, PatientListener, ServedModel, metrics, router};
use block_program::http_port::metrics_routes;
use block_program::{Exit, Exporter, Failure, MetricsTable};
use tokio::net::TcpListener;
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
    if !flags.listen.ip().is_loopback() {
        return Err(Failure::usage(format!(
            "--listen {} would be open to other machines",
            flags.listen
        ))
        .hint("listen on 127.0.0.1, and let a reverse proxy check who calls")
        .into());
    }
    let peers = membership::initial_peers(&flags.swarm)?;
    models::check(&flags.models)?;
    // Taken first: whoever gave a taken port need not wait for a download.
    let listener = bind(flags.listen).await?;
    let exporter = Exporter::of_process("swarm", &[metrics_port::CLIENT, GATEWAY])?;
    let preparing = async {
        let swarm = membership::join(&flags.swarm, peers).await?;
        let models = models::load(&flags.models, &swarm).await?;
        Ok::<_, Failure>((swarm, models))
    };
    let (swarm, models) = tokio::select! {
        ready = preparing => ready?,
        // Nothing has begun yet.
        () = stop.cancelled() => return Ok(()),
    };
    let config = GatewayConfig {
        allow_route: flags.models.allow_route,
        ..GatewayConfig::default()
    };
    let gateway = Gateway::new(models, config);
    let routes = router(gateway.clone()).merge(metrics_routes(exporter.clone()));
    let served = serve(&gateway, (listener, routes), exporter, &stop).await;
    swarm.shutdown().await;
    served
}

async fn bind(listen: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(listen).await.map_err(|error| {
        Failure::new(Exit::OsError, format!("cannot listen on {listen}"))
            .caused_by(&error)
            .hint("--listen 127.0.0.1:0 takes a free port")
    })
}

async fn serve(
    gateway: &Gateway,
    (listener, routes): (TcpListener, Router),
    exporter: Exporter,
    stop: &CancellationToken,
) -> Result<(), Ending> {
    let address = listener.local_addr().map_err(|error| {
        Failure::new(Exit::OsError, "a listener has no address").caused_by(&error)
    })?;
    say_hello(address, gateway.models())?;
    let listener = PatientListener::new(listener, gateway.config().reader_patience);
    let serving =
        axum::serve(listener, routes).with_graceful_shutdown(stop.clone().cancelled_owned());
    tokio::select! {
        ended = serving => if let Err(error) = ended {
            return Err(Failure::new(Exit::OsError, "the port ended").caused_by(&error).into());
        },
        () = upkeep(exporter) => {}
        // Streams get their error object, and connections that are kept open do not delay the end.
        () = async {
            stop.cancelled().await;
            gateway.stop().await;
            tokio::time::sleep(CLOSE_DEADLINE).await;
        } => {}
    }
    Ok(())
}

/// Where it listens, for programs; what to do with it, for people.
fn say_hello(address: SocketAddr, models: &[std::sync::Arc<ServedModel>]) -> Result<(), Ending> {
    for model in models {
        output::remark(&models::in_words(model));
    }
    let name = models.first().map_or("MODEL", |model| model.name());
    output::remark(&format!(
        "Ask it:\n  curl http://{address}/v1/chat/completions -H 'content-type: application/json' \\\n    \
         -d '{{\"model\": \"{name}\", \"messages\": [{{\"role\": \"user\", \"content\": \"Once upon a time\"}}]}}'\n\
         Or give http://{address}/v1 to any OpenAI client as its base URL. Ctrl-C ends it.",
    ));
    match output::line(&format!("READY http://{address}")) {
        // Whoever closed it does not want the line; others still want the gateway.
        Ok(()) | Err(Ending::OutputClosed) => Ok(()),
        Err(ending) => Err(ending),
    }
}

async fn upkeep(exporter: Exporter) {
    let mut ticks = tokio::time::interval(UPKEEP_PERIOD);
    loop {
        ticks.tick().await;
        exporter.upkeep();
    }
}

/// How often samples are moved into buckets; the exporter's own default.
const UPKEEP_PERIOD: Duration = Duration::from_secs(5);
/// How long answers that are written may delay the end.
const CLOSE_DEADLINE: Duration = Duration::from_millis(500);
