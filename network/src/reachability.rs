//! Can a peer be dialed from elsewhere? `ReachabilityProtocol.rpc_check`, asked and answered.
//!
//! - who is asked about itself says yes: being asked is the proof
//! - who is asked about another peer dials it from an identity made for this one question, so
//!   that no open connection can stand in for a dial, and asks it about itself

use std::{sync::Arc, time::Duration};

use block_protocol::{
    Rpc,
    reachability::{ReachabilityRequest, ReachabilityResponse},
};
use futures::{StreamExt, stream::FuturesUnordered};
use libp2p::PeerId;
use tokio::{
    sync::{Semaphore, mpsc},
    task::{JoinHandle, JoinSet},
    time::timeout,
};

use crate::{
    address_book::is_relayed, config::NodeConfig, error::CallError, node::Node, rpc::UnaryCall,
};

/// Whether other peers can dial this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reachability {
    /// At least half of the peers that answered could.
    Direct,
    /// Most of them could not.
    Unreachable,
    /// None could tell. Petals then assumes that it is reachable.
    Unknown,
}

/// Owns the task that answers checks; they are refused as unsupported once this is dropped.
#[derive(Debug)]
#[must_use = "checks are answered only while this is alive"]
pub struct ReachabilityService(JoinHandle<()>);

/// How long a peer may take to be dialed and to answer. Petals waits as long.
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);

/// The same with the way to the prober and back.
const ASK_TIMEOUT: Duration = Duration::from_secs(12);

/// Probes at the same time: each is a node with a connection of its own.
const MAX_PROBES: usize = 4;

/// Checks that wait for one of them.
const CHECK_QUEUE: usize = 16;

/// Peers asked about ourselves. Petals asks as many.
const MAX_ASKED: usize = 5;

impl ReachabilityService {
    /// Answers checks that reach `node` until it is shut down.
    pub fn start(node: &Node) -> Self {
        let calls = node.serve_unary(Rpc::ReachabilityCheck.name(), CHECK_QUEUE);
        Self(tokio::spawn(serve(node.clone(), calls)))
    }
}

impl Drop for ReachabilityService {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn serve(node: Node, mut calls: mpsc::Receiver<UnaryCall>) {
    let probes = Arc::new(Semaphore::new(MAX_PROBES));
    let mut tasks = JoinSet::new();
    while let Some(call) = calls.recv().await {
        let subject = match subject(&call) {
            Ok(subject) => subject,
            Err(text) => {
                call.respond(Err(text));
                continue;
            }
        };
        if subject == node.peer_id() {
            respond(call, true);
            continue;
        }
        // Closed never: the semaphore is ours.
        let Ok(permit) = probes.clone().acquire_owned().await else {
            return;
        };
        while tasks.try_join_next().is_some() {}
        let node = node.clone();
        tasks.spawn(async move {
            let available = tokio::select! {
                available = probe(&node, subject) => available,
                () = call.cancelled() => return,
            };
            tracing::debug!(caller = %call.peer, %subject, available, "reachability checked");
            respond(call, available);
            drop(permit);
        });
    }
}

/// Whom a check is about.
fn subject(call: &UnaryCall) -> Result<PeerId, String> {
    let request = ReachabilityRequest::decode(call.body.clone());
    let request = request.map_err(|error| error.to_string())?;
    PeerId::from_bytes(&request.peer).map_err(|_| "the request names no peer id".to_owned())
}

fn respond(call: UnaryCall, available: bool) {
    call.respond(Ok(ReachabilityResponse { available }.encode()));
}

/// Whether `subject` can be dialed directly at an address that it told of.
async fn probe(node: &Node, subject: PeerId) -> bool {
    let reached = timeout(PROBE_TIMEOUT, async {
        node.connect(subject).await.ok();
        let mut addresses = node.told_addresses(subject).await?;
        addresses.retain(|address| !is_relayed(address));
        let started = Node::start(NodeConfig::throw_away()).await;
        let (prober, _task) = started.map_err(CallError::broken)?;
        for address in addresses {
            prober.add_address(subject, address).await;
        }
        ask(&prober, subject, subject, PROBE_TIMEOUT).await
    });
    matches!(reached.await, Ok(Ok(true)))
}

/// Asks `peer` whether it can reach `subject`.
async fn ask(
    node: &Node,
    peer: PeerId,
    subject: PeerId,
    deadline: Duration,
) -> Result<bool, CallError> {
    let request = ReachabilityRequest {
        peer: subject.to_bytes().into(),
    };
    let rpc = Rpc::ReachabilityCheck.name();
    let answer = node.call(peer, rpc, request.encode(), deadline).await?;
    let answer = ReachabilityResponse::decode(answer).map_err(CallError::broken)?;
    Ok(answer.available)
}

/// Asks up to five of `peers` to dial this node; takes 12 s at most. The node must serve checks
/// itself ([`ReachabilityService`]): that is what they call.
pub async fn check_direct(node: &Node, peers: &[PeerId]) -> Reachability {
    let own = node.peer_id();
    let others = peers.iter().filter(|peer| **peer != own).take(MAX_ASKED);
    let asked = others.map(|peer| ask(node, *peer, own, ASK_TIMEOUT));
    let answers: Vec<_> = asked.collect::<FuturesUnordered<_>>().collect().await;
    let answers: Vec<bool> = answers.into_iter().filter_map(Result::ok).collect();
    let available = answers.iter().filter(|available| **available).count();
    let reachability = if answers.is_empty() {
        Reachability::Unknown
    } else if available * 2 >= answers.len() {
        Reachability::Direct
    } else {
        Reachability::Unreachable
    };
    tracing::info!(
        asked = answers.len(),
        available,
        ?reachability,
        "asked peers to dial us"
    );
    publish(reachability);
    reachability
}

/// Sets `swarm_p2p_reachability`: one series for each state, 1 for the current one.
fn publish(current: Reachability) {
    let states = [
        ("direct", Reachability::Direct),
        ("unreachable", Reachability::Unreachable),
        ("unknown", Reachability::Unknown),
    ];
    for (label, state) in states {
        let value = if state == current { 1.0 } else { 0.0 };
        metrics::gauge!("swarm_p2p_reachability", "state" => label).set(value);
    }
}
