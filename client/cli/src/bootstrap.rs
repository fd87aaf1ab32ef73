//! `swarm bootstrap`: a DHT node that others join through, and nothing else.

use std::path::PathBuf;

use block_network::{Keypair, Multiaddr};
use block_program::peers_file::PeersFile;
use block_program::{
    Exit, Failure, Folders, IdentityLock, Member, MemberOptions, identity_lock, lan, multiaddrs,
};
use tokio_util::sync::CancellationToken;

use crate::cli::BootstrapFlags;
use crate::ending::Ending;
use crate::{metrics_port, output};

/// Serves the DHT until `stop` is cancelled; prints `READY <multiaddr>` once it can.
///
/// # Errors
/// An address cannot be used, the identity is in use, no initial peer answered.
pub(crate) async fn run(flags: BootstrapFlags, stop: CancellationToken) -> Result<(), Ending> {
    let initial_peers = initial_peers(&flags)?;
    let given = multiaddrs::to_listen_on("--listen", &flags.listen)?;
    let listen_is_default = given.is_empty();
    let listen = if listen_is_default {
        multiaddrs::all_interfaces(DEFAULT_PORT)
    } else {
        given
    };
    if flags.swarm.lan {
        lan::check_listens("--listen", &listen)?;
    }
    let announce = multiaddrs::parse_all("--announce-maddr", &flags.announce_maddr)?;
    let identity = identity_file(flags.swarm.identity.clone())?;
    let _lock = IdentityLock::take(&identity)?;
    let file = crate::membership::peers_file(&flags.swarm)?;
    let keypair: Keypair = identity_lock::load_or_create(&identity)?;
    let port =
        metrics_port::start(flags.metrics_listen, flags.metrics_token_file.as_deref()).await?;
    let options = MemberOptions {
        keypair,
        listen_is_default,
        listen,
        announce,
        initial_peers,
        is_on_lan: flags.swarm.lan,
        upnp: false,
        join_timeout: flags.swarm.join_timeout,
        only_dials: false,
    };
    let member = tokio::select! {
        member = Member::join(options) => member?,
        // Nobody knows of this node yet.
        () = stop.cancelled() => return Ok(()),
    };
    let served = serve(&member, file.as_ref(), &stop).await;
    member.leave().await;
    if let Some(port) = port {
        port.stop().await;
    }
    served
}

async fn serve(
    member: &Member,
    file: Option<&PeersFile>,
    stop: &CancellationToken,
) -> Result<(), Ending> {
    let addresses = member.addresses().await;
    let Some(address) = addresses.first() else {
        return Err(Failure::new(Exit::Software, "a node listens nowhere").into());
    };
    match output::line(&format!("READY {address}")) {
        // Whoever closed it does not want the line; others still want the node.
        Ok(()) | Err(Ending::OutputClosed) => {}
        Err(ending) => return Err(ending),
    }
    member.until_stopped(file, stop).await?;
    Ok(())
}

/// Peers of the swarm to join; none starts a new one.
fn initial_peers(flags: &BootstrapFlags) -> Result<Vec<Multiaddr>, Failure> {
    let swarm = &flags.swarm;
    let joins = !swarm.initial_peers.is_empty() || swarm.initial_peers_file.is_some();
    if !joins && !swarm.public_swarm && !swarm.lan {
        return Ok(Vec::new());
    }
    crate::membership::initial_peers(&flags.swarm)
}

fn identity_file(given: Option<PathBuf>) -> Result<PathBuf, Failure> {
    match given {
        Some(file) => Ok(file),
        None => Ok(Folders::of_user("swarm")?.default_identity_file()),
    }
}

/// Where a bootstrap node is expected: Petals' documented example port.
const DEFAULT_PORT: u16 = 31330;
