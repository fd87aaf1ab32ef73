//! Into the swarm that the flags name, as a member that only dials.

use block_client::{Swarm, SwarmConfig, SwarmError};
use block_network::Multiaddr;
use block_program::member::{network_failure, nobody_answers};
use block_program::{Exit, Failure, multiaddrs, peers_file};

use crate::cli::SwarmFlags;
use crate::progress::Waiting;

/// The peers to join through.
///
/// # Errors
/// None are given, or a text is no address (exit 2).
pub(crate) fn initial_peers(flags: &SwarmFlags) -> Result<Vec<Multiaddr>, Failure> {
    let given = peers_file::with_file(&flags.initial_peers, flags.initial_peers_file.as_deref())?;
    let given = multiaddrs::initial_peers(&given)?;
    match (flags.public_swarm, given.is_empty()) {
        (true, true) => Ok(multiaddrs::public_swarm()),
        (false, false) => Ok(given),
        (true, false) => Err(Failure::usage(
            "--initial-peers and --public-swarm exclude each other",
        )
        .hint("keep the one that names the swarm you mean")),
        (false, true) => Err(Failure::usage("no swarm given").hint(
            "--initial-peers ADDR, which a server prints after READY; swarm demo starts a swarm of its own on this machine",
        )),
    }
}

/// Joins.
///
/// # Errors
/// Nobody answered (exit 69), or the network cannot be used (71).
pub(crate) async fn join(flags: &SwarmFlags, peers: Vec<Multiaddr>) -> Result<Swarm, Failure> {
    let _waiting = Waiting::new("joining the swarm");
    let config = SwarmConfig {
        join_timeout: flags.join_timeout,
        ..SwarmConfig::new(peers)
    };
    Swarm::join(config)
        .await
        .map_err(|error| swarm_failure(&error))
}

/// What to say when the swarm cannot be used.
pub(crate) fn swarm_failure(error: &SwarmError) -> Failure {
    match error {
        SwarmError::NoInitialPeers => Failure::usage("no swarm given").hint("--initial-peers ADDR"),
        SwarmError::Network(error) => network_failure(error),
        SwarmError::NobodyAnswered { waited, reasons } => {
            let lines = reasons
                .iter()
                .map(|(address, reason)| format!("{address}: {reason}"));
            nobody_answers(*waited, lines).hint(
                "check the addresses, that a server runs there, and that this machine's clock is right",
            )
        }
        SwarmError::Dht(_) => Failure::new(Exit::Unavailable, "the swarm cannot be asked")
            .caused_by(error)
            .hint("try again"),
    }
}
