//! What a node is started with.

use std::time::Duration;

use libp2p::{Multiaddr, identity::Keypair};

use crate::{identity, limits};

/// Settings of one [`crate::Node`]. [`NodeConfig::new`] fills in defaults.
#[derive(Debug, Clone)]
pub struct NodeConfig {
    /// Who we are; see [`crate::identity`].
    pub keypair: Keypair,
    /// Addresses to listen on, TCP port 0 for a free one. None (the default) only dials.
    pub listen: Vec<Multiaddr>,
    /// Addresses told to others instead of those listened on. Default: none.
    pub announce: Vec<Multiaddr>,
    /// `true`: do not answer kad peer routing, as peers that cannot be dialed should not.
    /// Default: `false`.
    pub client_mode: bool,
    /// Name and version told to others. Default `block-server/VERSION`.
    pub agent: String,
    /// Find peers of the local network by mDNS, and let them find us at the addresses listened on. Default: `false`, and
    /// no such packet is sent or answered.
    pub local_discovery: bool,
    /// Ask the router by UPnP to forward the ports listened on. Default: `false`.
    pub port_mapping: bool,
    /// A connection without streams is closed after this. Default 120 s.
    pub idle_connection_timeout: Duration,
    /// Connections open at once, both directions. Default 1,024; each costs some 100 KiB.
    pub max_connections: u32,
}

impl NodeConfig {
    /// The defaults for `keypair`: no listen address, server mode.
    #[must_use]
    pub fn new(keypair: Keypair) -> Self {
        Self {
            keypair,
            listen: Vec::new(),
            announce: Vec::new(),
            client_mode: false,
            agent: concat!("block-server/", env!("CARGO_PKG_VERSION")).to_owned(),
            local_discovery: false,
            port_mapping: false,
            idle_connection_timeout: limits::IDLE_CONNECTION_TIMEOUT,
            max_connections: limits::MAX_CONNECTIONS,
        }
    }

    /// A dial-only node with a throw-away identity.
    #[must_use]
    pub fn throw_away() -> Self {
        Self {
            client_mode: true,
            ..Self::new(identity::ephemeral())
        }
    }
}
