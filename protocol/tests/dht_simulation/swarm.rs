//! Nodes, the network between them and the clock, in one ordered queue of things to come.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use block_protocol::dht::{
    Action, CallFailure, CallId, Command, DhtConfig, DhtId, DhtNode, DhtRequest, DhtResponse,
    Event, OpId, Outcome, RequestId, StoreEntry, text_subkey,
};
use bytes::Bytes;
use sha1::{Digest, Sha1};

pub(crate) type NodeIndex = usize;

/// When every simulation begins, Unix seconds.
pub(crate) const START: f64 = 1_800_000_000.0;
/// No command and no join of any test takes this long.
const PATIENCE_SECONDS: f64 = 120.0;

/// Something that will happen to a node.
enum Coming {
    Event(NodeIndex, Event),
    /// A tick, unless the node has asked for another time since.
    Wake(NodeIndex, f64),
}

/// A call on its way, as its callee sees it.
struct Served {
    caller: NodeIndex,
    call: CallId,
}

struct Member {
    node: DhtNode,
    is_alive: bool,
    is_ready: bool,
    wake_at: f64,
}

pub(crate) struct Swarm {
    random: u64,
    loss: f64,
    now: f64,
    members: Vec<Member>,
    /// Ordered by time; the counter keeps simultaneous events in the order in which they were made.
    coming: BTreeMap<(u64, u64), Coming>,
    next_event: u64,
    served: BTreeMap<(NodeIndex, RequestId), Served>,
    next_request: u64,
    /// Calls whose end the caller has not seen.
    open_calls: BTreeSet<(NodeIndex, CallId)>,
    outcomes: BTreeMap<(NodeIndex, OpId), Outcome>,
    next_op: u64,
    walls: Vec<(BTreeSet<NodeIndex>, BTreeSet<NodeIndex>)>,
    slow_answer: Option<(NodeIndex, f64)>,
    messages: Cell<usize>,
}

impl Swarm {
    pub(crate) fn new(seed: u64, loss: f64) -> Self {
        println!("seed {seed}, loss {loss}");
        Self {
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            loss,
            now: START,
            members: Vec::new(),
            coming: BTreeMap::new(),
            next_event: 0,
            served: BTreeMap::new(),
            next_request: 0,
            open_calls: BTreeSet::new(),
            outcomes: BTreeMap::new(),
            next_op: 0,
            walls: Vec::new(),
            slow_answer: None,
            messages: Cell::new(0),
        }
    }

    pub(crate) fn add_server(&mut self, initial: &[NodeIndex]) -> NodeIndex {
        self.add(initial, false)
    }

    pub(crate) fn add_client(&mut self, initial: &[NodeIndex]) -> NodeIndex {
        self.add(initial, true)
    }

    pub(crate) fn now(&self) -> f64 {
        self.now
    }

    /// Calls made so far.
    pub(crate) fn messages(&self) -> usize {
        self.messages.get()
    }

    pub(crate) fn is_ready(&self, node: NodeIndex) -> bool {
        self.members[node].is_ready
    }

    pub(crate) fn stored_keys(&self, node: NodeIndex) -> usize {
        self.members[node].node.stored_key_count()
    }

    pub(crate) fn knows(&self, node: NodeIndex, other: NodeIndex) -> bool {
        let id = self.members[other].node.node_id();
        self.members[node]
            .node
            .known_nodes()
            .any(|known| known.node_id == id)
    }

    pub(crate) fn kill(&mut self, node: NodeIndex) {
        self.members[node].is_alive = false;
    }

    pub(crate) fn revive(&mut self, node: NodeIndex) {
        self.members[node].is_alive = true;
    }

    pub(crate) fn partition(&mut self, one: &[NodeIndex], other: &[NodeIndex]) {
        self.walls.push((
            one.iter().copied().collect(),
            other.iter().copied().collect(),
        ));
    }

    pub(crate) fn heal(&mut self) {
        self.walls.clear();
    }

    /// The next answer of this node takes so many seconds.
    pub(crate) fn delay_next_answer(&mut self, node: NodeIndex, seconds: f64) {
        self.slow_answer = Some((node, seconds));
    }

    pub(crate) fn run_until(&mut self, time: f64) {
        while self
            .coming
            .first_key_value()
            .is_some_and(|((at, _), _)| f64::from_bits(*at) <= time)
        {
            self.step();
        }
        self.now = time;
    }

    pub(crate) fn run_until_ready(&mut self, nodes: &[NodeIndex]) {
        let deadline = self.now + PATIENCE_SECONDS;
        while !nodes.iter().all(|node| self.members[*node].is_ready) {
            self.step();
            assert!(self.now < deadline, "the swarm does not come together");
        }
        // Let what the join has set off come to an end.
        self.run_until(self.now + 5.0);
    }

    pub(crate) fn run_command(&mut self, node: NodeIndex, command: Command) -> Outcome {
        let op = OpId(self.next_op);
        self.next_op += 1;
        self.feed(node, Event::Command { op, command });
        let deadline = self.now + PATIENCE_SECONDS;
        loop {
            if let Some(outcome) = self.outcomes.remove(&(node, op)) {
                return outcome;
            }
            self.step();
            assert!(self.now < deadline, "a command does not end");
        }
    }

    fn add(&mut self, initial: &[NodeIndex], client_mode: bool) -> NodeIndex {
        let index = self.members.len();
        let node_id = DhtId::of_raw(&self.random_bytes());
        let config = DhtConfig {
            client_mode,
            initial_peers: initial.iter().map(|node| peer(*node)).collect(),
            ..DhtConfig::new(node_id, peer(index))
        };
        let node = DhtNode::new(config, self.now);
        self.members.push(Member {
            node,
            is_alive: true,
            is_ready: false,
            wake_at: f64::INFINITY,
        });
        self.schedule(0.0, Coming::Event(index, Event::Start));
        index
    }

    fn step(&mut self) {
        let ((at, _), coming) = self
            .coming
            .pop_first()
            .expect("nodes always want to be woken");
        self.now = self.now.max(f64::from_bits(at));
        match coming {
            Coming::Event(node, Event::Response { call, result }) => {
                if self.open_calls.remove(&(node, call)) {
                    self.feed(node, Event::Response { call, result });
                }
            }
            Coming::Event(node, event) => self.feed(node, event),
            Coming::Wake(node, at) if self.members[node].wake_at == at => {
                self.feed(node, Event::Tick)
            }
            Coming::Wake(..) => {}
        }
    }

    fn feed(&mut self, index: NodeIndex, event: Event) {
        if !self.members[index].is_alive {
            // A dead node's clock goes on, so that it can be revived.
            if matches!(event, Event::Tick | Event::Start) {
                let at = self.now + 1.0;
                self.members[index].wake_at = at;
                self.schedule(1.0, Coming::Event(index, event));
            }
            return;
        }
        let random = self.random_bytes();
        for action in self.members[index].node.handle(event, self.now, &random) {
            self.act(index, action);
        }
    }

    fn act(&mut self, index: NodeIndex, action: Action) {
        match action {
            Action::Call {
                call,
                to,
                request,
                timeout,
            } => self.call(index, call, &to, &request, timeout),
            Action::Reply { request_id, result } => self.reply(index, request_id, result),
            Action::Done { op, outcome } => {
                self.outcomes.insert((index, op), outcome);
            }
            Action::Ready => self.members[index].is_ready = true,
            Action::WakeAt(at) => {
                if self.members[index].wake_at != at {
                    self.members[index].wake_at = at;
                    self.schedule((at - self.now).max(0.001), Coming::Wake(index, at));
                }
            }
            Action::Notice(notice) => println!("{:.1} node {index}: {notice:?}", self.now - START),
        }
    }

    fn call(
        &mut self,
        caller: NodeIndex,
        call: CallId,
        to: &Bytes,
        request: &DhtRequest,
        timeout: Duration,
    ) {
        self.messages.set(self.messages.get() + 1);
        self.open_calls.insert((caller, call));
        let failed = Event::Response {
            call,
            result: Err(CallFailure::Timeout),
        };
        self.schedule(timeout.as_secs_f64(), Coming::Event(caller, failed));
        let callee = usize::from(to[0]);
        if self.gets_through(caller, callee) {
            let request_id = RequestId(self.next_request);
            self.next_request += 1;
            self.served
                .insert((callee, request_id), Served { caller, call });
            // Through the codec, as on the wire.
            let request = DhtRequest::decode(request.rpc(), request.encode()).unwrap();
            let event = Event::Request {
                request_id,
                from: peer(caller),
                request,
            };
            let delay = self.delay();
            self.schedule(delay, Coming::Event(callee, event));
        }
    }

    fn reply(
        &mut self,
        callee: NodeIndex,
        request_id: RequestId,
        result: Result<DhtResponse, String>,
    ) {
        let Served { caller, call } = self
            .served
            .remove(&(callee, request_id))
            .expect("one reply to a request");
        let slow = self
            .slow_answer
            .take_if(|(node, _)| *node == callee)
            .map_or(0.0, |(_, seconds)| seconds);
        if self.gets_through(callee, caller) {
            let result = result.map_err(CallFailure::Remote).map(|response| {
                let rpc = match &response {
                    DhtResponse::Ping(_) => block_protocol::Rpc::DhtPing,
                    DhtResponse::Store(_) => block_protocol::Rpc::DhtStore,
                    DhtResponse::Find(_) => block_protocol::Rpc::DhtFind,
                };
                DhtResponse::decode(rpc, response.encode()).unwrap()
            });
            let delay = self.delay() + slow;
            self.schedule(
                delay,
                Coming::Event(caller, Event::Response { call, result }),
            );
        }
    }

    fn gets_through(&mut self, from: NodeIndex, to: NodeIndex) -> bool {
        let walled = self.walls.iter().any(|(one, other)| {
            (one.contains(&from) && other.contains(&to))
                || (other.contains(&from) && one.contains(&to))
        });
        let lost = self.random_fraction() < self.loss;
        self.members[to].is_alive && !walled && !lost
    }

    fn delay(&mut self) -> f64 {
        0.005 + 0.2 * self.random_fraction()
    }

    fn schedule(&mut self, delay: f64, coming: Coming) {
        // Positive floats order like their bits.
        self.coming
            .insert(((self.now + delay).to_bits(), self.next_event), coming);
        self.next_event += 1;
    }

    fn random_fraction(&mut self) -> f64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn random_bytes(&mut self) -> [u8; 32] {
        self.random_fraction();
        let digest = Sha1::digest(self.random.to_be_bytes());
        let mut bytes = [0; 32];
        bytes[..20].copy_from_slice(&digest);
        bytes
    }
}

pub(crate) fn plain(key: &str, value: &str, expiration: f64) -> StoreEntry {
    let value = Bytes::copy_from_slice(value.as_bytes());
    StoreEntry {
        key: DhtId::of_text(key),
        subkey: None,
        value,
        expiration,
    }
}

pub(crate) fn entry(key: &str, subkey: &str, value: &str, expiration: f64) -> StoreEntry {
    StoreEntry {
        subkey: Some(text_subkey(subkey)),
        ..plain(key, value, expiration)
    }
}

fn peer(index: NodeIndex) -> Bytes {
    Bytes::from(vec![
        u8::try_from(index).expect("fewer than 256 nodes"),
        0x24,
    ])
}
