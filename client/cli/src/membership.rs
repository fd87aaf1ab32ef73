//! Into the swarm that the flags name, as a member that only dials.

use block_client::{Swarm, SwarmConfig, SwarmError};
use block_network::{Keypair, Multiaddr};
use block_program::member::{network_failure, nobody_answers};
use block_program::peers_file::{self, PeersFile};
use block_program::{Exit, Failure, IdentityLock, identity_lock, lan, multiaddrs};

use crate::cli::SwarmFlags;
use crate::progress::Waiting;

/// The peers to join through; empty if the local network is searched for them.
///
/// # Errors
/// No swarm is named, or more than one, or a text is no address (exit 2).
pub(crate) fn initial_peers(flags: &SwarmFlags) -> Result<Vec<Multiaddr>, Failure> {
    let given = peers_file::with_file(&flags.initial_peers, flags.initial_peers_file.as_deref())?;
    let given = multiaddrs::initial_peers(&given)?;
    match (flags.public_swarm, flags.lan, given.is_empty()) {
        (true, false, true) => Ok(multiaddrs::public_swarm()),
        (false, true, true) | (false, false, false) => Ok(given),
        (false, false, true) => Err(Failure::usage("no swarm given").hint(
            "--initial-peers ADDR, which a server prints after READY, or --lan for a server on this network; swarm demo starts a swarm of its own on this machine",
        )),
        _ => Err(Failure::usage(
            "--initial-peers, --lan and --public-swarm exclude each other",
        )
        .hint("keep the one that names the swarm you mean")),
    }
}

/// The file of peers, if there is one, which is read again on SIGHUP: from now on that does not end this program.
///
/// # Errors
/// The system gives no signals (exit 71).
pub(crate) fn peers_file(flags: &SwarmFlags) -> Result<Option<PeersFile>, Failure> {
    let Some(file) = flags.initial_peers_file.clone() else {
        return Ok(None);
    };
    PeersFile::survive_hangups()?;
    Ok(Some(PeersFile::new(file, flags.initial_peers.clone())))
}

/// How another program joins the swarm of these flags, in flags.
pub(crate) fn flag_to_join(flags: &SwarmFlags) -> &'static str {
    if flags.lan {
        "--lan"
    } else {
        "--initial-peers ADDR"
    }
}

/// Joins.
///
/// # Errors
/// Nobody answered (exit 69), or the network cannot be used (71).
pub(crate) async fn join(flags: &SwarmFlags, peers: Vec<Multiaddr>) -> Result<Swarm, Failure> {
    let _waiting = Waiting::new(if flags.lan {
        "looking for servers on the local network"
    } else {
        "joining the swarm"
    });
    let config = SwarmConfig {
        join_timeout: flags.join_timeout,
        local_network: flags.lan,
        keypair: keypair(flags)?,
        ..SwarmConfig::new(peers)
    };
    Swarm::join(config)
        .await
        .map_err(|error| swarm_failure(&error))
}

/// Who we are; `None` leaves it to chance.
///
/// # Errors
/// Another process is this peer (exit 75), or the key cannot be used (65, 71 or 77).
pub(crate) fn keypair(flags: &SwarmFlags) -> Result<Option<Keypair>, Failure> {
    let Some(file) = &flags.identity else {
        return Ok(None);
    };
    let lock = IdentityLock::take_with_hint(
        file,
        "another command of swarm runs as this peer: wait for it, or give this one another --identity FILE",
    )?;
    // Held as long as the process lives: each command joins once.
    Box::leak(Box::new(lock));
    identity_lock::load_or_create(file).map(Some)
}

/// What to say when the swarm cannot be used.
pub(crate) fn swarm_failure(error: &SwarmError) -> Failure {
    match error {
        SwarmError::NoInitialPeers => Failure::usage("no swarm given").hint("--initial-peers ADDR"),
        SwarmError::Network(error) => network_failure(error),
        SwarmError::NobodyFound { waited } => lan::nobody_found(*waited),
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
