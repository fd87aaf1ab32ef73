//! The door and the socket of `swarm gateway`, from its flags.

use std::net::SocketAddr;
use std::time::Duration;

use block_gateway::door::{Door, DoorConfig, DoorError, KeyText};
use block_gateway::{Listener, ListenerConfig, Tls};
use block_program::{Exit, Failure};
use tokio_util::sync::CancellationToken;

use crate::cli::DoorFlags;

/// The door for a gateway on `listen`. Streams that are not a model's answer end with `stop`.
///
/// # Errors
/// Keys that cannot be read (66, 65), or none where they are needed (2).
pub(super) fn door(
    flags: &DoorFlags,
    listen: SocketAddr,
    stop: &CancellationToken,
) -> Result<Door, Failure> {
    let config = DoorConfig {
        key_file: flags.api_key_file.clone(),
        key_variable: std::env::var(KEYS_VARIABLE).ok().map(KeyText::new),
        no_auth: flags.no_auth,
        rate: flags.rate_limit,
        trusts_proxy: flags.trust_proxy,
        max_concurrent: usize::from(flags.max_concurrent.get()),
        max_queue: usize::from(flags.max_queue),
        queue_timeout: flags.queue_timeout,
        max_body_bytes: usize::try_from(flags.max_body).unwrap_or(usize::MAX),
        request_timeout: flags.request_timeout,
        cors_origins: flags.cors_origin.clone(),
        allowed_hosts: flags.allowed_host.clone(),
    };
    Door::new(config, listen, stop.clone()).map_err(|error| refusal(&error))
}

fn refusal(error: &DoorError) -> Failure {
    let failure = match error {
        DoorError::NoKeys(listen) => {
            Failure::usage(format!("--listen {listen} would be open to other machines")).hint(
                "give --api-key-file a file of name:key lines; or listen on 127.0.0.1; or say --no-auth",
            )
        }
        DoorError::KeysAndNoAuth => Failure::usage("--no-auth contradicts the API keys")
            .hint("leave out --no-auth, or --api-key-file and SWARM_API_KEYS"),
        DoorError::KeyFile(..) => Failure::new(Exit::NoInput, error.to_string())
            .hint("write it with one name:key a line, for this user alone: chmod 600"),
        DoorError::BadKeyFile(..) | DoorError::BadKeyVariable(_) => {
            Failure::new(Exit::BadData, error.to_string())
                .hint("each is name:key or name:key:scopes, for example me:sk-4f1c:admin")
        }
        DoorError::KeysGone | DoorError::BadOrigin(_) => Failure::usage(error.to_string())
            .hint("an origin is scheme, host and port: https://chat.example"),
    };
    match std::error::Error::source(error) {
        Some(source) => failure.caused_by(source),
        None => failure,
    }
}

/// Binds the socket.
///
/// # Errors
/// The address cannot be bound (71), certificate or key cannot be used (66).
pub(super) async fn listener(
    flags: &DoorFlags,
    listen: SocketAddr,
    stall_timeout: Duration,
) -> Result<Listener, Failure> {
    let tls = match (&flags.tls_cert, &flags.tls_key) {
        (Some(certificate), Some(key)) => Some(Tls::read(certificate, key).map_err(|error| {
            Failure::new(
                Exit::NoInput,
                "the TLS certificate or its key cannot be used",
            )
            .caused_by(&error)
            .hint("--tls-cert and --tls-key take PEM files that belong together")
        })?),
        _ => None,
    };
    let config = ListenerConfig {
        tls,
        stall_timeout,
        // What is under way gets its error object at once; see the end of the gateway.
        drain_timeout: CLOSE_DEADLINE,
        ..ListenerConfig::default()
    };
    bind(listen, config).await
}

/// Binds the socket, as `config` has it.
///
/// # Errors
/// The address cannot be bound (71).
pub(crate) async fn bind(listen: SocketAddr, config: ListenerConfig) -> Result<Listener, Failure> {
    Listener::bind(listen, config).await.map_err(|error| {
        Failure::new(Exit::OsError, format!("cannot listen on {listen}"))
            .caused_by(&error)
            .hint("--listen 127.0.0.1:0 takes a free port")
    })
}

/// Keys as `name:key`, with commas between them.
const KEYS_VARIABLE: &str = "SWARM_API_KEYS";
/// How long answers that are written may delay the end.
pub(crate) const CLOSE_DEADLINE: Duration = Duration::from_secs(3);
