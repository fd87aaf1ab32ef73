//! The handle through which everything else uses the network.

use std::{
    net::{IpAddr, SocketAddr},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use block_protocol::frame::{UnaryRequest, encode_request};
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use libp2p::{Multiaddr, PeerId, Stream, Swarm, multiaddr::Protocol, swarm::SwarmEvent};
use tokio::{
    net::TcpListener,
    sync::{mpsc, oneshot, watch},
    task::{JoinError, JoinHandle},
    time::timeout,
};
use uuid::Uuid;

use crate::{
    address_book, bare_names,
    config::NodeConfig,
    error::{CallError, NetworkError},
    limits::COMMAND_QUEUE,
    links::Links,
    local_peers::LocalPeers,
    opening::{OpenFailure, Opening},
    rpc::{ClientStream, OutboundStream, StreamCall, UnaryCall, UnaryCaller},
    services::Services,
    swarm::{self, Behaviour, BehaviourEvent, Command, EventLoop},
};

/// A peer of the swarm: serves RPCs and calls those of others. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Node(Arc<Shared>);

struct Shared {
    peer: PeerId,
    commands: mpsc::Sender<Command>,
    links: Links,
    services: Services,
    local_peers: Option<watch::Receiver<LocalPeers>>,
}

/// Owns the node's event loop, which ends when this is dropped.
#[derive(Debug)]
#[must_use = "the node stops when its task is dropped"]
pub struct NodeTask(JoinHandle<()>);

impl Node {
    /// Starts a node and waits until it listens on every address of `config`. Must run inside a
    /// tokio runtime.
    ///
    /// # Errors
    /// [`NetworkError`] names the address or setting that cannot be used.
    pub async fn start(config: NodeConfig) -> Result<(Self, NodeTask), NetworkError> {
        let links = Links::default();
        let services = Services::new(links.clone());
        let mut swarm = swarm::build(&config, services.clone(), links.clone())?;
        let early = listen(&mut swarm, &config.listen).await?;
        for address in config.announce {
            swarm.add_external_address(address);
        }
        let (commands, inbox) = mpsc::channel(COMMAND_QUEUE);
        let mut event_loop = EventLoop::new(swarm, inbox, services.clone(), links.clone());
        for event in early {
            event_loop.on_behaviour_event(event);
        }
        let found = event_loop.local_peers();
        let node = Self(Arc::new(Shared {
            peer: config.keypair.public().to_peer_id(),
            commands,
            links,
            services,
            local_peers: config.local_discovery.then_some(found),
        }));
        Ok((node, NodeTask(tokio::spawn(event_loop.run()))))
    }

    /// Our peer id.
    #[must_use]
    pub fn peer_id(&self) -> PeerId {
        self.0.peer
    }

    /// Where others can dial us: announced addresses, then those listened on, each with our
    /// `/p2p/` part. Empty on a node that was shut down.
    pub async fn listen_addresses(&self) -> Vec<Multiaddr> {
        let ask = self.ask(|reply| Command::ListenAddresses { reply });
        ask.await.unwrap_or_default()
    }

    /// The peers that we have a connection to.
    #[must_use]
    pub fn connected_peers(&self) -> Vec<PeerId> {
        self.0.links.peers()
    }

    /// Who is found on the local network; `None` unless the node was started with `local_discovery`.
    #[must_use]
    pub fn local_peers(&self) -> Option<watch::Receiver<LocalPeers>> {
        self.0.local_peers.clone()
    }

    /// The addresses remembered of `peer`, from itself or from [`Node::add_address`].
    pub async fn addresses(&self, peer: PeerId) -> Vec<Multiaddr> {
        let ask = self.ask(|reply| Command::Addresses { peer, reply });
        ask.await.unwrap_or_default()
    }

    /// Whether `peer` is a program of this machine: a direct connection to it goes over the loopback interface. Its own
    /// words do not count, and neither does a peer that we have no connection to.
    ///
    /// A tunnel that ends here looks the same.
    pub async fn is_on_this_machine(&self, peer: PeerId) -> bool {
        let ask = self.ask(|reply| Command::IsOnThisMachine { peer, reply });
        ask.await.unwrap_or(false)
    }

    /// The addresses that `peer` told of, once it has: identify follows a moment after connecting.
    pub(crate) async fn told_addresses(&self, peer: PeerId) -> Result<Vec<Multiaddr>, CallError> {
        self.ask(|reply| Command::ToldAddresses { peer, reply })
            .await
    }

    /// Remembers that `peer` may be dialed at `address`.
    pub async fn add_address(&self, peer: PeerId, address: Multiaddr) {
        let command = Command::AddAddress { peer, address };
        let _ = self.0.commands.send(command).await;
    }

    /// Connects to `address`, or keeps the connection that already leads to the peer it names.
    ///
    /// # Errors
    /// `Unreachable` with the reason, after 20 s at most.
    pub async fn dial(&self, address: Multiaddr) -> Result<PeerId, CallError> {
        if let Some(peer) = address_book::target(&address) {
            self.add_address(peer, address).await;
            self.connect(peer).await?;
            return Ok(peer);
        }
        self.ask(|reply| Command::Dial { address, reply }).await?
    }

    /// Connects to `peer` at an address that is known or can be found. Calls do it themselves.
    ///
    /// # Errors
    /// `Unreachable` with the reason, after 30 s at most.
    pub async fn connect(&self, peer: PeerId) -> Result<(), CallError> {
        if self.0.links.is_connected(&peer) {
            return Ok(());
        }
        self.ask(|reply| Command::Connect { peer, reply }).await?
    }

    /// Calls a unary RPC such as `DHTProtocol.rpc_ping` and waits for its answer, `deadline` at
    /// most, connecting included. Dropping it cancels the call at the peer.
    ///
    /// # Errors
    /// [`CallError`]; `TooLarge` before anything is sent if the envelope is over 4 MiB.
    pub async fn call(
        &self,
        peer: PeerId,
        rpc: &str,
        body: Bytes,
        deadline: Duration,
    ) -> Result<Bytes, CallError> {
        let request = envelope(peer, rpc, body)?;
        let call = async {
            let stream = self.open_stream(peer, rpc).await?;
            UnaryCaller::new(stream).call(&request).await
        };
        timeout(deadline, call)
            .await
            .map_err(|_| CallError::Timeout)?
    }

    /// [`Node::call`] with a request that is still being made: meanwhile a stream is opened for it and the peer told the
    /// name, so that the request finds everything ready. `None` if it turns out that there is none.
    /// `deadline` begins with the request.
    ///
    /// # Errors
    /// As there. What fails before the request is here is tried again with it.
    pub async fn call_ahead(
        &self,
        peer: PeerId,
        rpc: &str,
        body: impl Future<Output = Option<Bytes>>,
        deadline: Duration,
    ) -> Result<Option<Bytes>, CallError> {
        let mut body = pin!(body);
        let opening = async {
            let mut caller = UnaryCaller::new(self.open_stream(peer, rpc).await?);
            caller.send_name().await?;
            Ok::<_, CallError>(caller)
        };
        let (ready, body) = tokio::select! {
            biased;
            // Already: name and request leave together.
            body = &mut body => (None, body),
            opened = opening => (opened.ok(), body.await),
        };
        let Some(body) = body else {
            return Ok(None);
        };
        let Some(caller) = ready else {
            return self.call(peer, rpc, body, deadline).await.map(Some);
        };
        let request = envelope(peer, rpc, body)?;
        let answer = timeout(deadline, caller.call(&request)).await;
        answer.map_err(|_| CallError::Timeout)?.map(Some)
    }

    /// Opens a streamed RPC; `deadline` covers connecting and waiting for a free stream, not the
    /// call. Dropping it opens nothing.
    ///
    /// # Errors
    /// [`CallError`]; whether the peer serves the RPC shows at the first answer.
    pub async fn open(
        &self,
        peer: PeerId,
        rpc: &str,
        deadline: Duration,
    ) -> Result<ClientStream, CallError> {
        let opened = timeout(deadline, self.open_stream(peer, rpc)).await;
        opened
            .map_err(|_| CallError::Timeout)?
            .map(ClientStream::new)
    }

    /// Serves a unary RPC through the returned queue of `capacity` calls. Dropping the queue ends
    /// the service; serving the same name again replaces it.
    #[must_use]
    pub fn serve_unary(&self, rpc: &str, capacity: usize) -> mpsc::Receiver<UnaryCall> {
        let (calls, queue) = mpsc::channel(capacity);
        self.0.services.add_unary(rpc, calls);
        queue
    }

    /// The same for a streamed RPC. A call arrives once its first frame is whole.
    #[must_use]
    pub fn serve_stream(&self, rpc: &str, capacity: usize) -> mpsc::Receiver<StreamCall> {
        let (calls, queue) = mpsc::channel(capacity);
        self.0.services.add_stream(rpc, calls);
        queue
    }

    /// Ends every call and connection, then the event loop; 3 s at most.
    pub async fn shutdown(&self) {
        let _ = self.ask(|reply| Command::Shutdown { reply }).await;
    }

    /// A stream that proposes `rpc` with its first bytes.
    async fn open_stream(&self, peer: PeerId, rpc: &str) -> Result<OutboundStream, CallError> {
        let mut retried = false;
        loop {
            self.connect(peer).await?;
            self.0.links.identified(&peer).await;
            let Some(streams) = self.0.links.streams(&peer) else {
                continue;
            };
            // Closed never: links only drop their semaphore.
            let permit = streams.acquire_owned().await.map_err(CallError::broken)?;
            match self.ask_connection(&peer, rpc).await {
                Some(Ok(stream)) => return Ok(OutboundStream { stream, permit }),
                Some(Err(OpenFailure::NotSupported)) => return Err(CallError::NotSupported),
                // The connection closed meanwhile, or is about to; nothing has been sent.
                _ if !retried => retried = true,
                Some(Err(failure)) => return Err(CallError::broken(failure)),
                None => return Err(CallError::broken("the connection closed")),
            }
        }
    }

    /// A new stream on a connection to `peer`; `None` if the connection has closed.
    async fn ask_connection(
        &self,
        peer: &PeerId,
        rpc: &str,
    ) -> Option<Result<Stream, OpenFailure>> {
        let (reply, answer) = oneshot::channel();
        let name = bare_names::protocol(rpc);
        let opener = self.0.links.opener(peer)?;
        opener.send(Opening { name, reply }).await.ok()?;
        answer.await.ok()
    }

    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> Result<T, CallError> {
        let (reply, answer) = oneshot::channel();
        let sent = self.0.commands.send(command(reply)).await;
        sent.map_err(|_| CallError::Stopped)?;
        answer.await.map_err(|_| CallError::Stopped)
    }
}

impl NodeTask {
    /// Waits for the event loop to end, which [`Node::shutdown`] or dropping every handle brings
    /// about.
    ///
    /// # Errors
    /// If the event loop panicked.
    pub async fn join(mut self) -> Result<(), JoinError> {
        (&mut self.0).await
    }
}

impl Drop for NodeTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node")
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}

/// A request to `peer` as it goes onto the stream.
fn envelope(peer: PeerId, rpc: &str, body: Bytes) -> Result<BytesMut, CallError> {
    Ok(encode_request(&UnaryRequest {
        call_id: *Uuid::new_v4().as_bytes(),
        peer: peer.to_bytes().into(),
        rpc: rpc.to_owned(),
        body,
    })?)
}

/// Listens on all of `addresses`; ports are known when this returns. Relayed addresses come when
/// their relay grants them. Returns what else happened in the meantime: mDNS is fast.
async fn listen(
    swarm: &mut Swarm<Behaviour>,
    addresses: &[Multiaddr],
) -> Result<Vec<BehaviourEvent>, NetworkError> {
    let mut early = Vec::new();
    let listen_error = |address: &Multiaddr, reason: String| NetworkError::Listen {
        address: address.clone(),
        reason,
    };
    // libp2p shares ports (SO_REUSEPORT): a second node would get half of the first one's calls.
    for address in addresses {
        if let Some(socket) = fixed_socket(address) {
            let bound = TcpListener::bind(socket).await;
            bound.map_err(|error| listen_error(address, error.to_string()))?;
        }
    }
    for address in addresses {
        let failed = |reason: String| listen_error(address, reason);
        let id = swarm
            .listen_on(address.clone())
            .map_err(|error| failed(error.to_string()))?;
        while !address_book::is_relayed(address) {
            match swarm.select_next_some().await {
                SwarmEvent::NewListenAddr { listener_id, .. } if listener_id == id => break,
                SwarmEvent::ListenerError { listener_id, error } if listener_id == id => {
                    return Err(failed(error.to_string()));
                }
                SwarmEvent::ListenerClosed {
                    listener_id,
                    reason,
                    ..
                } if listener_id == id => return Err(failed(format!("{reason:?}"))),
                SwarmEvent::Behaviour(event) => early.push(event),
                _ => {}
            }
        }
    }
    Ok(early)
}

/// The socket of a TCP address with a port of its own. Not of the IPv6 wildcard: the check for
/// it would also cover IPv4, which libp2p does not.
fn fixed_socket(address: &Multiaddr) -> Option<SocketAddr> {
    let mut parts = address.iter();
    let ip = match parts.next()? {
        Protocol::Ip4(ip) => IpAddr::V4(ip),
        Protocol::Ip6(ip) if !ip.is_unspecified() => IpAddr::V6(ip),
        _ => return None,
    };
    match (parts.next()?, parts.next()) {
        (Protocol::Tcp(port), None) if port != 0 => Some(SocketAddr::new(ip, port)),
        _ => None,
    }
}
