//! The task that owns the state machine.
//!
//! Owner: the handles ([`super::Dht`]). Inboxes: their asks, inbound calls, ended outbound calls,
//! the clock. Ends when the last handle is dropped or the node stops; its calls and dials end
//! with it. No rule of the DHT is decided here.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use block_protocol::{
    Rpc,
    dht::{
        Action, CallFailure, CallId, Command, DhtConfig as NodeSettings, DhtId, DhtNode,
        DhtRequest, DhtResponse, Event, NodeContact, Notice, OpId, Outcome, RequestId,
    },
};
use bytes::Bytes;
use libp2p::{Multiaddr, PeerId};
use tokio::{
    sync::{Semaphore, mpsc, oneshot, watch},
    task::JoinSet,
};

use super::{
    config::DhtConfig, inbound::Inbound, initial_peers::InitialPeers, local_peers, metrics,
};
use crate::{error::CallError, node::Node, rpc::UnaryCall, time::unix_time};

/// Commands of the process that wait for the driver.
pub(super) const ASK_QUEUE: usize = 64;
/// Calls on the network at a time; further ones wait their turn within their own timeout.
const MAX_CALLS: usize = 256;
/// Longer than any timeout of the state machine, which ends the call.
const CALL_DEADLINE: Duration = Duration::from_secs(60);
/// Pauses before a call is repeated whose peer has no known address.
const ADDRESS_PAUSES: [Duration; 3] = [
    Duration::from_millis(50),
    Duration::from_millis(200),
    Duration::from_millis(500),
];
/// Never sleep longer: the wall clock may be set while we do.
const MAX_SLEEP: Duration = Duration::from_secs(60);
/// Never sleep less: a wake-up in the past must not spin.
const MIN_SLEEP: Duration = Duration::from_millis(1);

/// What the process wants from the driver.
#[derive(Debug)]
pub(super) enum Ask {
    /// Something for the state machine.
    Command(Command, oneshot::Sender<Outcome>),
    /// A connection to an initial peer was made.
    Connected(PeerId),
    /// Join through these from now on, and no longer through those of before.
    SetInitialPeers(Vec<Multiaddr>),
    /// The nodes in the routing table.
    KnownNodes(oneshot::Sender<Vec<NodeContact>>),
}

struct Driver {
    machine: DhtNode,
    node: Node,
    calls: JoinSet<Ended>,
    call_permits: Arc<Semaphore>,
    inbound: HashMap<RequestId, (Rpc, UnaryCall)>,
    next_request: u64,
    initial_peers: InitialPeers,
    commands: HashMap<OpId, oneshot::Sender<Outcome>>,
    next_op: u64,
    wake_at: f64,
    is_ready: watch::Sender<bool>,
}

/// An outbound call that has ended.
struct Ended {
    call: CallId,
    result: Result<DhtResponse, CallFailure>,
}

/// Starts the driver; returns the node id that it chose.
pub(super) fn spawn(
    node: Node,
    config: DhtConfig,
    asks: mpsc::Receiver<Ask>,
    own_asks: mpsc::WeakSender<Ask>,
    is_ready: watch::Sender<bool>,
) -> DhtId {
    let node_id = DhtId::from_bytes(rand::random());
    let settings = NodeSettings {
        client_mode: config.client_mode,
        expects_initial_peers: !config.initial_peers.is_empty() || config.local_peers.is_some(),
        initial_peer_period: config.initial_peer_period,
        ..NodeSettings::new(node_id, node.peer_id().to_bytes().into())
    };
    let mut driver = Driver {
        machine: DhtNode::new(settings, unix_time()),
        node: node.clone(),
        calls: JoinSet::new(),
        call_permits: Arc::new(Semaphore::new(MAX_CALLS)),
        inbound: HashMap::new(),
        next_request: 0,
        initial_peers: InitialPeers::new(node.clone(), own_asks.clone()),
        commands: HashMap::new(),
        next_op: 0,
        wake_at: 0.0,
        is_ready,
    };
    // Before the task runs: whoever has the handle can be called.
    let inbound = Inbound::serve(&node, config.client_mode);
    driver.initial_peers.set(config.initial_peers);
    let mut search = JoinSet::new();
    if let Some(found) = config.local_peers {
        search.spawn(local_peers::follow(node, found, own_asks));
    }
    tokio::spawn(driver.run(asks, inbound, search));
    node_id
}

impl Driver {
    async fn run(
        mut self,
        mut asks: mpsc::Receiver<Ask>,
        mut inbound: Inbound,
        search: JoinSet<()>,
    ) {
        self.feed(Event::Start);
        loop {
            let wake = tokio::time::sleep(self.until_wake());
            tokio::select! {
                ask = asks.recv() => match ask {
                    Some(ask) => self.take_ask(ask),
                    None => break,
                },
                call = inbound.next() => match call {
                    Some((rpc, call)) => self.take_call(rpc, call),
                    None => break,
                },
                Some(ended) = self.calls.join_next() => match ended {
                    Ok(Ended { call, result }) => self.feed(Event::Response { call, result }),
                    // The state machine gives the call up by itself.
                    Err(error) => tracing::error!(%error, "a DHT call panicked"),
                },
                () = wake => self.feed(Event::Tick),
            }
        }
        drop(search);
    }

    fn until_wake(&self) -> Duration {
        let seconds = (self.wake_at - unix_time()).max(0.0);
        Duration::try_from_secs_f64(seconds)
            .unwrap_or(MAX_SLEEP)
            .clamp(MIN_SLEEP, MAX_SLEEP)
    }

    fn take_ask(&mut self, ask: Ask) {
        match ask {
            Ask::Command(command, reply) => {
                let op = OpId(self.next_op);
                self.next_op = self.next_op.wrapping_add(1);
                self.commands.insert(op, reply);
                self.feed(Event::Command { op, command });
            }
            Ask::SetInitialPeers(addresses) => {
                for peer in self.initial_peers.set(addresses) {
                    let op = OpId(self.next_op);
                    self.next_op = self.next_op.wrapping_add(1);
                    let peer = peer.to_bytes().into();
                    let command = Command::RemoveInitialPeer { peer };
                    self.feed(Event::Command { op, command });
                }
            }
            Ask::Connected(peer) => self.feed(Event::Connected {
                peer: peer.to_bytes().into(),
            }),
            Ask::KnownNodes(reply) => {
                let _ = reply.send(self.machine.known_nodes().cloned().collect());
            }
        }
    }

    fn take_call(&mut self, rpc: Rpc, call: UnaryCall) {
        match DhtRequest::decode(rpc, call.body.clone()) {
            Ok(request) => {
                let request_id = RequestId(self.next_request);
                self.next_request = self.next_request.wrapping_add(1);
                let from = call.peer.to_bytes().into();
                self.inbound.insert(request_id, (rpc, call));
                self.feed(Event::Request {
                    request_id,
                    from,
                    request,
                });
            }
            Err(error) => {
                tracing::debug!(peer = %call.peer, %error, "malformed DHT call");
                metrics::inbound(rpc, false);
                call.respond(Err(error.to_string()));
            }
        }
    }

    /// Gives an event to the state machine and does what it says.
    fn feed(&mut self, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            for action in self.machine.handle(event, unix_time(), &rand::random()) {
                events.extend(self.act(action));
            }
        }
        metrics::sizes(&self.machine);
    }

    /// Does one thing; returns what came of it at once.
    fn act(&mut self, action: Action) -> Option<Event> {
        match action {
            Action::Call {
                call,
                to,
                request,
                timeout,
            } => {
                let Ok(peer) = PeerId::from_bytes(&to) else {
                    // Somebody told us of a peer that cannot exist.
                    return Some(Event::Response {
                        call,
                        result: Err(CallFailure::Unreachable),
                    });
                };
                self.call(call, peer, request, timeout);
            }
            Action::Reply { request_id, result } => {
                if let Some((rpc, call)) = self.inbound.remove(&request_id) {
                    metrics::inbound(rpc, result.is_ok());
                    call.respond(result.map(|response| response.encode()));
                }
            }
            Action::Done { op, outcome } => {
                if let Some(reply) = self.commands.remove(&op) {
                    // Whoever asked may have lost interest.
                    let _ = reply.send(outcome);
                }
            }
            Action::Ready => {
                self.is_ready.send_replace(true);
            }
            Action::WakeAt(at) => self.wake_at = at,
            Action::Notice(notice) => log(&notice),
        }
        None
    }

    fn call(&mut self, call: CallId, peer: PeerId, request: DhtRequest, timeout: Duration) {
        let (node, permits) = (self.node.clone(), self.call_permits.clone());
        self.calls.spawn(async move {
            let started = Instant::now();
            let rpc = request.rpc();
            let result = match tokio::time::timeout(timeout, permits.acquire_owned()).await {
                Ok(Ok(_permit)) => {
                    let left = timeout.saturating_sub(started.elapsed());
                    let found = call_when_found(&node, peer, rpc, request.encode());
                    let answer = tokio::time::timeout(left, found).await;
                    let answer = answer.unwrap_or(Err(CallError::Timeout));
                    answer.map_err(failure).and_then(|body| decode(rpc, body))
                }
                Ok(Err(_)) | Err(_) => Err(CallFailure::Overloaded),
            };
            metrics::outbound(rpc, &result, started.elapsed());
            if let Err(failure) = &result {
                tracing::debug!(%peer, rpc = rpc.name(), %failure, "DHT call failed");
            }
            Ended { call, result }
        });
    }
}

/// Calls a peer; once more and again if nobody could tell its address. Just after a start that is
/// so for peers we hear of before libp2p's own exchange of addresses has ended.
async fn call_when_found(
    node: &Node,
    peer: PeerId,
    rpc: Rpc,
    body: Bytes,
) -> Result<Bytes, CallError> {
    for pause in ADDRESS_PAUSES {
        let answer = node
            .call(peer, rpc.name(), body.clone(), CALL_DEADLINE)
            .await;
        let unreachable = matches!(answer, Err(CallError::Unreachable { .. }));
        if !unreachable || !node.addresses(peer).await.is_empty() {
            return answer;
        }
        tokio::time::sleep(pause).await;
    }
    node.call(peer, rpc.name(), body, CALL_DEADLINE).await
}

fn decode(rpc: Rpc, body: Bytes) -> Result<DhtResponse, CallFailure> {
    DhtResponse::decode(rpc, body).map_err(|error| CallFailure::Malformed(error.to_string()))
}

fn failure(error: CallError) -> CallFailure {
    match error {
        CallError::Unreachable { .. } | CallError::Broken { .. } => CallFailure::Unreachable,
        CallError::Timeout => CallFailure::Timeout,
        CallError::NotSupported => CallFailure::NotServed,
        CallError::Remote { text } => CallFailure::Remote(text),
        // Ours, not the peer's.
        CallError::TooLarge { .. } | CallError::Stopped => CallFailure::Overloaded,
    }
}

fn log(notice: &Notice) {
    let name = |peer: &Bytes| {
        PeerId::from_bytes(peer).map_or_else(|_| "?".to_owned(), |peer| peer.to_string())
    };
    match notice {
        Notice::InitialPeerAnswered { peer } => {
            tracing::info!(peer = name(peer), "initial peer answered");
        }
        Notice::InitialPeerSilent { peer, failure } => {
            tracing::warn!(peer = name(peer), %failure, "initial peer does not answer, trying again");
        }
        Notice::ClockSkew { peer, seconds } => {
            tracing::warn!(
                peer = name(peer),
                seconds,
                "clocks differ by more than 3 s: set this machine's clock, or peers will refuse us"
            );
        }
        Notice::NotReachable { peer } => {
            tracing::warn!(
                peer = name(peer),
                "initial peer could not call us back: is our port reachable?"
            );
        }
    }
}
