//! The task that owns the libp2p swarm.
//!
//! - owner: [`crate::NodeTask`], which joins or aborts it
//! - inbox: [`Command`]s of the node handles, bounded, each with a oneshot for its answer
//! - ends: on [`Command::Shutdown`], or when the last handle is gone

use std::collections::HashMap;

use futures::StreamExt;
use libp2p::{
    Multiaddr, PeerId, Swarm, identify,
    kad::{self, QueryResult},
    multiaddr::Protocol,
    ping,
    swarm::{ConnectionId, SwarmEvent, dial_opts::DialOpts},
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::timeout,
};

use super::{
    behaviour::{Behaviour, BehaviourEvent},
    connector::{ConnectReply, Connector},
    identified::Identified,
    metrics,
    surroundings::{self, Surroundings},
};
use crate::{
    address_book::{self, AddressBook},
    error::CallError,
    limits::{MAX_ADDRESSES_PER_PEER, MAX_FAILED_PINGS, SHUTDOWN_TIMEOUT},
    links::Links,
    local_peers::LocalPeers,
    services::Services,
};

/// What a node handle asks for.
#[derive(Debug)]
pub(crate) enum Command {
    /// Be connected to a peer.
    Connect { peer: PeerId, reply: ConnectReply },
    /// Dial an address that names no peer.
    Dial {
        address: Multiaddr,
        reply: oneshot::Sender<Result<PeerId, CallError>>,
    },
    /// Remember an address.
    AddAddress { peer: PeerId, address: Multiaddr },
    /// The addresses remembered of a peer.
    Addresses {
        peer: PeerId,
        reply: oneshot::Sender<Vec<Multiaddr>>,
    },
    /// The addresses that a peer told of itself, once it has.
    ToldAddresses {
        peer: PeerId,
        reply: oneshot::Sender<Vec<Multiaddr>>,
    },
    /// Whether a connection to a peer stays on this machine.
    IsOnThisMachine {
        peer: PeerId,
        reply: oneshot::Sender<bool>,
    },
    /// Our addresses, as told to others.
    ListenAddresses {
        reply: oneshot::Sender<Vec<Multiaddr>>,
    },
    /// Close everything; answered when that is done.
    Shutdown { reply: oneshot::Sender<()> },
}

/// See the module's head.
pub(crate) struct EventLoop {
    swarm: Swarm<Behaviour>,
    commands: mpsc::Receiver<Command>,
    services: Services,
    links: Links,
    book: AddressBook,
    connector: Connector,
    identified: Identified,
    surroundings: Surroundings,
    /// Dials of addresses without a peer id; bounded by the swarm's limit on pending connections.
    dials: HashMap<ConnectionId, oneshot::Sender<Result<PeerId, CallError>>>,
    connections: HashMap<ConnectionId, Connection>,
}

/// An open connection.
#[derive(Debug)]
struct Connection {
    peer: PeerId,
    /// It does not leave this machine.
    local: bool,
    failed_pings: u32,
}

impl EventLoop {
    pub(crate) fn new(
        swarm: Swarm<Behaviour>,
        commands: mpsc::Receiver<Command>,
        services: Services,
        links: Links,
    ) -> Self {
        Self {
            swarm,
            commands,
            services,
            links,
            book: AddressBook::default(),
            connector: Connector::default(),
            identified: Identified::default(),
            surroundings: Surroundings::default(),
            dials: HashMap::new(),
            connections: HashMap::new(),
        }
    }

    /// Who is found on the local network.
    pub(crate) fn local_peers(&self) -> watch::Receiver<LocalPeers> {
        self.surroundings.local_peers()
    }

    /// Runs until shutdown.
    pub(crate) async fn run(mut self) {
        let reply = loop {
            tokio::select! {
                command = self.commands.recv() => match command {
                    None => break None,
                    Some(Command::Shutdown { reply }) => break Some(reply),
                    Some(command) => self.on_command(command),
                },
                event = self.swarm.select_next_some() => self.on_event(event),
            }
        };
        self.stop().await;
        if let Some(reply) = reply {
            let _ = reply.send(());
        }
    }

    fn on_command(&mut self, command: Command) {
        match command {
            Command::Connect { peer, reply } => {
                let known = self.book.addresses(&peer);
                self.connector.connect(&mut self.swarm, peer, known, reply);
            }
            Command::Dial { address, reply } => {
                let options = DialOpts::unknown_peer_id().address(address).build();
                let connection = options.connection_id();
                match self.swarm.dial(options) {
                    Ok(()) => _ = self.dials.insert(connection, reply),
                    Err(error) => _ = reply.send(Err(CallError::unreachable(error))),
                }
            }
            Command::AddAddress { peer, address } => self.book.add(peer, address),
            Command::Addresses { peer, reply } => _ = reply.send(self.book.addresses(&peer)),
            Command::ToldAddresses { peer, reply } => self.identified.ask(&peer, reply),
            Command::IsOnThisMachine { peer, reply } => {
                let mut open = self.connections.values();
                let _ = reply.send(open.any(|open| open.peer == peer && open.local));
            }
            Command::ListenAddresses { reply } => _ = reply.send(self.listen_addresses()),
            Command::Shutdown { reply } => _ = reply.send(()),
        }
    }

    fn on_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::Behaviour(event) => self.on_behaviour_event(event),
            SwarmEvent::ConnectionEstablished {
                peer_id,
                connection_id,
                endpoint,
                ..
            } => {
                metrics::connection(&endpoint, 1.0);
                let remote = endpoint.get_remote_address();
                // A relay on this machine leads elsewhere.
                let local = address_book::is_loopback(remote) && !address_book::is_relayed(remote);
                if endpoint.is_dialer() {
                    metrics::dial_ok();
                    self.book.add(peer_id, remote.clone());
                }
                self.connections.insert(
                    connection_id,
                    Connection {
                        peer: peer_id,
                        local,
                        failed_pings: 0,
                    },
                );
                self.identified.on_connected(peer_id);
                self.connector.on_connected(&peer_id);
                if let Some(reply) = self.dials.remove(&connection_id) {
                    let _ = reply.send(Ok(peer_id));
                }
            }
            SwarmEvent::ConnectionClosed {
                peer_id,
                connection_id,
                endpoint,
                cause,
                num_established,
            } => {
                tracing::debug!(peer = %peer_id, ?cause, "connection closed");
                metrics::connection(&endpoint, -1.0);
                self.connections.remove(&connection_id);
                if num_established == 0 {
                    self.identified.on_disconnected(&peer_id);
                }
            }
            SwarmEvent::OutgoingConnectionError {
                peer_id,
                connection_id,
                error,
            } => {
                metrics::dial_failed(&error);
                if let Some(reply) = self.dials.remove(&connection_id) {
                    let _ = reply.send(Err(CallError::unreachable(&error)));
                }
                if let Some(peer) = peer_id {
                    self.connector
                        .on_dial_failure(&mut self.swarm, peer, &error);
                }
            }
            SwarmEvent::ListenerClosed {
                addresses, reason, ..
            } => {
                tracing::warn!(?addresses, ?reason, "no longer listening");
            }
            SwarmEvent::ListenerError { error, .. } => {
                tracing::warn!(%error, "listener failed to accept a connection");
            }
            _ => {}
        }
    }

    pub(crate) fn on_behaviour_event(&mut self, event: BehaviourEvent) {
        match event {
            BehaviourEvent::Identify(identify::Event::Received {
                connection_id,
                peer_id,
                info,
            }) => self.on_identified(connection_id, peer_id, info),
            BehaviourEvent::Identify(identify::Event::Error { peer_id, error, .. }) => {
                tracing::debug!(peer = %peer_id, %error, "identify failed");
                self.links.set_identified(&peer_id);
            }
            BehaviourEvent::Mdns(event) => {
                self.surroundings.on_mdns(self.swarm.behaviour_mut(), event);
            }
            BehaviourEvent::Upnp(event) => surroundings::on_upnp(event),
            BehaviourEvent::Ping(event) => self.on_ping(event),
            BehaviourEvent::Kad(kad::Event::OutboundQueryProgressed {
                id,
                result: QueryResult::GetClosestPeers(result),
                step,
                ..
            }) if step.last => {
                let found = match result {
                    Ok(found) => found.peers,
                    Err(kad::GetClosestPeersError::Timeout { peers, .. }) => peers,
                };
                self.connector.on_lookup_end(&mut self.swarm, id, &found);
            }
            _ => {}
        }
    }

    fn on_identified(&mut self, connection: ConnectionId, peer: PeerId, info: identify::Info) {
        let local = self
            .connections
            .get(&connection)
            .is_some_and(|open| open.local);
        let mut addresses = info.listen_addrs;
        // Another machine's loopback is not where we would find it.
        addresses.retain(|address| local || !address_book::is_loopback(address));
        addresses.truncate(MAX_ADDRESSES_PER_PEER);
        self.identified.on_told(peer, addresses.clone());
        let is_kad_server = Behaviour::is_kad_server(&info.protocols);
        for address in addresses {
            // Peers that do not answer peer routing are still found through us, except those that
            // only their own machine can dial, such as every Petals client.
            if is_kad_server || !address_book::is_loopback(&address) {
                self.swarm.behaviour_mut().add_route(&peer, address.clone());
            }
            self.book.add(peer, address);
        }
        self.links.set_identified(&peer);
    }

    fn on_ping(&mut self, event: ping::Event) {
        let Some(connection) = self.connections.get_mut(&event.connection) else {
            return;
        };
        match event.result {
            Ok(_) | Err(ping::Failure::Unsupported) => connection.failed_pings = 0,
            Err(ping::Failure::Timeout | ping::Failure::Other { .. }) => {
                connection.failed_pings += 1;
                if connection.failed_pings >= MAX_FAILED_PINGS {
                    tracing::info!(peer = %event.peer, "peer answers no pings, closing connection");
                    self.swarm.close_connection(event.connection);
                }
            }
        }
    }

    fn listen_addresses(&self) -> Vec<Multiaddr> {
        let peer = *self.swarm.local_peer_id();
        let announced: Vec<_> = self.swarm.external_addresses().cloned().collect();
        let listened = self.swarm.listeners().cloned();
        let mut addresses = announced;
        for address in listened {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        let with_peer = |address: Multiaddr| match address_book::target(&address) {
            Some(target) if target == peer => address,
            _ => address.with(Protocol::P2p(peer)),
        };
        addresses.into_iter().map(with_peer).collect()
    }

    /// Ends calls, then connections, so that peers see both end in order.
    async fn stop(&mut self) {
        self.commands.close();
        self.connector.stop();
        self.dials.clear();
        let services = self.services.clone();
        let ended = timeout(SHUTDOWN_TIMEOUT, async {
            let mut closing = std::pin::pin!(services.close());
            loop {
                tokio::select! {
                    () = &mut closing => break,
                    event = self.swarm.select_next_some() => self.on_event(event),
                }
            }
            for peer in self.links.peers() {
                let _ = self.swarm.disconnect_peer_id(peer);
            }
            while !self.connections.is_empty() {
                let event = self.swarm.select_next_some().await;
                self.on_event(event);
            }
        });
        if ended.await.is_err() {
            tracing::debug!(
                open = self.connections.len(),
                "connections left open at shutdown"
            );
        }
    }
}
