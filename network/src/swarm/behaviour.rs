//! Transport and protocols of every connection.
//!
//! TCP and DNS, noise before TLS, yamux with translated names, a relay client beside it; then
//! identify, ping and kad (only to find the addresses of a peer). mDNS and UPnP only if they were asked for.

use std::num::NonZeroU8;

use libp2p::{
    Multiaddr, PeerId, StreamProtocol, Swarm, SwarmBuilder,
    connection_limits::{self, ConnectionLimits},
    core::upgrade::Version,
    identify,
    identity::PublicKey,
    kad::{self, store::MemoryStore},
    mdns, noise, ping, relay,
    swarm::{NetworkBehaviour, behaviour::toggle::Toggle},
    tcp, tls, upnp,
};

use crate::{
    bare_names::BareYamux,
    config::NodeConfig,
    error::NetworkError,
    limits::{
        CONNECTION_TIMEOUT, KAD_REPLACE_AFTER, LOOKUP_TIMEOUT, MAX_CONNECTIONS_PER_PEER,
        MAX_KNOWN_PEERS, MAX_NEGOTIATING_STREAMS, MAX_PENDING_CONNECTIONS, MDNS_QUERY_INTERVAL,
        PING_INTERVAL, PING_TIMEOUT,
    },
    links::Links,
    rpc_streams,
    services::Services,
};

/// go-libp2p's peer routing; hivemind's daemons resolve peer ids with it.
const KAD: StreamProtocol = StreamProtocol::new("/ipfs/kad/1.0.0");

/// Our side of identify's protocol version. hivemind's daemons leave theirs empty, so nothing
/// compares it.
const IDENTIFY_VERSION: &str = "ipfs/0.1.0";

/// Addresses of one peer dialed at the same time.
const PARALLEL_ADDRESSES: NonZeroU8 = NonZeroU8::new(8).expect("invariant: not zero");

/// The limits come first: what they refuse reaches none of the others.
#[derive(NetworkBehaviour)]
pub(crate) struct Behaviour {
    limits: connection_limits::Behaviour,
    identify: identify::Behaviour,
    ping: ping::Behaviour,
    pub(super) kad: kad::Behaviour<MemoryStore>,
    relay: relay::client::Behaviour,
    pub(super) mdns: Toggle<mdns::tokio::Behaviour>,
    upnp: Toggle<upnp::tokio::Behaviour>,
    // The last to hear of a connection: once it says "connected", the others can use it.
    calls: rpc_streams::Behaviour,
}

/// Sets up everything that needs no socket yet.
pub(crate) fn build(
    config: &NodeConfig,
    services: Services,
    links: Links,
) -> Result<Swarm<Behaviour>, NetworkError> {
    let failed = |reason: String| NetworkError::Transport { reason };
    let mdns = mdns(config).map_err(|error| failed(format!("mDNS: {error}")))?;
    let security = (noise::Config::new, tls::Config::new);
    let swarm = SwarmBuilder::with_existing_identity(config.keypair.clone())
        .with_tokio()
        .with_tcp(tcp::Config::default(), security, BareYamux::new)
        .map_err(|error| failed(error.to_string()))?
        .with_dns()
        .map_err(|error| failed(format!("name server configuration: {error}")))?
        .with_relay_client(security, BareYamux::new)
        .map_err(|error| failed(error.to_string()))?
        .with_behaviour(|keypair, relay| {
            let calls = rpc_streams::Behaviour::new(services, links);
            behaviour(config, &keypair.public(), (relay, mdns), calls)
        })
        .map_err(|error| failed(error.to_string()))?
        .with_swarm_config(|swarm| {
            swarm
                .with_idle_connection_timeout(config.idle_connection_timeout)
                .with_max_negotiating_inbound_streams(MAX_NEGOTIATING_STREAMS)
                .with_dial_concurrency_factor(PARALLEL_ADDRESSES)
                // The proposal leaves with the first payload: one round trip for a call.
                .with_substream_upgrade_protocol_override(Version::V1Lazy)
        })
        .with_connection_timeout(CONNECTION_TIMEOUT)
        .build();
    Ok(swarm)
}

fn behaviour(
    config: &NodeConfig,
    public_key: &PublicKey,
    (relay, mdns): (relay::client::Behaviour, Option<mdns::tokio::Behaviour>),
    calls: rpc_streams::Behaviour,
) -> Behaviour {
    let peer = public_key.to_peer_id();
    let limits = ConnectionLimits::default()
        .with_max_pending_incoming(Some(MAX_PENDING_CONNECTIONS))
        .with_max_pending_outgoing(Some(MAX_PENDING_CONNECTIONS))
        .with_max_established(Some(config.max_connections))
        .with_max_established_per_peer(Some(MAX_CONNECTIONS_PER_PEER));
    let identify = identify::Config::new(IDENTIFY_VERSION.to_owned(), public_key.clone())
        .with_agent_version(config.agent.clone())
        .with_push_listen_addr_updates(true)
        .with_hide_listen_addrs(!config.announce.is_empty())
        .with_cache_size(MAX_KNOWN_PEERS);
    let ping = ping::Config::new()
        .with_interval(PING_INTERVAL)
        .with_timeout(PING_TIMEOUT);
    Behaviour {
        limits: connection_limits::Behaviour::new(limits),
        identify: identify::Behaviour::new(identify),
        ping: ping::Behaviour::new(ping),
        kad: kad(peer, config.client_mode),
        relay,
        mdns: mdns.into(),
        upnp: config
            .port_mapping
            .then(upnp::tokio::Behaviour::default)
            .into(),
        calls,
    }
}

/// Watches the interfaces, so it must not even exist unless asked for.
fn mdns(config: &NodeConfig) -> std::io::Result<Option<mdns::tokio::Behaviour>> {
    if !config.local_discovery {
        return Ok(None);
    }
    let settings = mdns::Config {
        query_interval: MDNS_QUERY_INTERVAL,
        ..mdns::Config::default()
    };
    let peer = config.keypair.public().to_peer_id();
    mdns::tokio::Behaviour::new(settings, peer).map(Some)
}

fn kad(peer: PeerId, client_mode: bool) -> kad::Behaviour<MemoryStore> {
    let mut config = kad::Config::new(KAD);
    config
        .set_query_timeout(LOOKUP_TIMEOUT)
        .set_kbucket_pending_timeout(KAD_REPLACE_AFTER)
        // Nothing is stored in this table; what others send is ignored, not kept.
        .set_record_filtering(kad::StoreInserts::FilterBoth)
        .set_replication_interval(None)
        .set_publication_interval(None)
        .set_provider_publication_interval(None);
    let mut kad = kad::Behaviour::with_config(peer, MemoryStore::new(peer), config);
    // Left alone, kad waits in client mode for a confirmed external address.
    kad.set_mode(Some(if client_mode {
        kad::Mode::Client
    } else {
        kad::Mode::Server
    }));
    kad
}

impl Behaviour {
    /// Whether a peer that told of `protocols` answers peer routing.
    pub(super) fn is_kad_server(protocols: &[StreamProtocol]) -> bool {
        protocols.contains(&KAD)
    }

    /// Lets lookups, ours and those of others, find `peer`, which is connected, at `address`.
    pub(super) fn add_route(&mut self, peer: &PeerId, address: Multiaddr) {
        let added = self.kad.add_address(peer, address.clone());
        // No room, and somebody else is about to take the place of who has gone.
        if matches!(added, kad::RoutingUpdate::Failed)
            && let Some(gone) = self.longest_gone(*peer)
        {
            self.kad.remove_peer(&gone);
            self.kad.add_address(peer, address);
        }
    }

    /// Who has been away for longest of those that share a bucket of kad's table with `peer`.
    fn longest_gone(&mut self, peer: PeerId) -> Option<PeerId> {
        let bucket = self.kad.kbucket(peer)?;
        let gone = bucket
            .iter()
            .find(|entry| entry.status == kad::NodeStatus::Disconnected)?;
        Some(*gone.node.key.preimage())
    }
}
