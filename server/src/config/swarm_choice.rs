//! Which swarm a server joins, from the four flags that name one.

use block_network::Multiaddr;
use block_program::{Failure, multiaddrs, peers_file};

use crate::addresses;
use crate::cli::Cli;

/// Which swarm is joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SwarmChoice {
    /// A new private one; others join through this server.
    New,
    /// An existing private one, through these peers.
    Join(Vec<Multiaddr>),
    /// The one of the local network: whoever is found there by mDNS, else a new one.
    Lan,
    /// The public Petals swarm, through its bootstrap peers.
    Public(Vec<Multiaddr>),
}

impl SwarmChoice {
    /// Peers to join through; empty for a new swarm, and where they are found.
    pub fn initial_peers(&self) -> &[Multiaddr] {
        match self {
            Self::New | Self::Lan => &[],
            Self::Join(peers) | Self::Public(peers) => peers,
        }
    }

    /// Whether other servers may be there already.
    pub fn may_have_others(&self) -> bool {
        !matches!(self, Self::New)
    }

    /// The one that the flags name.
    ///
    /// # Errors
    /// They name more than one, or one that cannot be joined so (exit 2); the file of peers cannot be read (66, 77).
    pub(super) fn from_cli(cli: &Cli) -> Result<Self, Failure> {
        let flags = &cli.serving.swarm;
        let given =
            peers_file::with_file(&flags.initial_peers, flags.initial_peers_file.as_deref())?;
        let given = multiaddrs::initial_peers(&given)?;
        let joins = !given.is_empty();
        match (joins, flags.lan, flags.public_swarm, flags.new_swarm) {
            (true, false, false, false) => Ok(Self::Join(given)),
            (false, true, false, false) => {
                addresses::check_lan(&cli.serving.network)?;
                Ok(Self::Lan)
            }
            (false, false, true, false) => Ok(Self::Public(multiaddrs::public_swarm())),
            (false, false, false, _) => Ok(Self::New),
            _ => Err(Failure::usage(
                "--initial-peers, --lan, --new-swarm and --public-swarm exclude each other",
            )
            .hint("keep the one that names the swarm you mean")),
        }
    }
}
