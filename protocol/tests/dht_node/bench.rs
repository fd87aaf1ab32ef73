//! A node, what it says, and what its peers say.

use block_protocol::dht::{
    Action, CallFailure, CallId, DhtConfig, DhtId, DhtNode, DhtRequest, DhtResponse, Event, Notice,
    PingRequest, PingResponse, RequestId,
};
use bytes::Bytes;

pub(crate) const START: f64 = 1_800_000_000.0;

pub(crate) fn id(n: u32) -> DhtId {
    DhtId::of_raw(&n.to_be_bytes())
}

pub(crate) fn peer(n: u32) -> Bytes {
    Bytes::copy_from_slice(&n.to_be_bytes())
}

/// A started node and what it has said.
pub(crate) struct Bench {
    pub(crate) node: DhtNode,
    pub(crate) now: f64,
}

impl Bench {
    pub(crate) fn new(config: DhtConfig) -> (Self, Vec<Action>) {
        let mut bench = Self {
            node: DhtNode::new(config, START),
            now: START,
        };
        let actions = bench.feed(Event::Start);
        (bench, actions)
    }

    pub(crate) fn server() -> Self {
        Self::new(DhtConfig::new(id(0), peer(0))).0
    }

    pub(crate) fn feed(&mut self, event: Event) -> Vec<Action> {
        self.node.handle(event, self.now, &[7; 32])
    }

    pub(crate) fn request(&mut self, number: u64, from: u32, request: DhtRequest) -> Vec<Action> {
        let request_id = RequestId(number);
        self.feed(Event::Request {
            request_id,
            from: peer(from),
            request,
        })
    }

    pub(crate) fn ping(&mut self, number: u64, from: u32, validate: bool) -> Vec<Action> {
        let ping = PingRequest {
            node_id: Some(id(from)),
            validate,
        };
        self.request(number, from, DhtRequest::Ping(ping))
    }

    pub(crate) fn answer(
        &mut self,
        call: CallId,
        result: Result<DhtResponse, CallFailure>,
    ) -> Vec<Action> {
        self.feed(Event::Response { call, result })
    }

    pub(crate) fn knows(&self, n: u32) -> bool {
        self.node.known_nodes().any(|node| node.peer == peer(n))
    }
}

pub(crate) fn pong(n: u32, dht_time: f64) -> DhtResponse {
    DhtResponse::Ping(PingResponse {
        node_id: Some(id(n)),
        dht_time,
        available: true,
    })
}

pub(crate) fn calls(actions: &[Action]) -> Vec<(CallId, Bytes, DhtRequest)> {
    let call = |action: &Action| match action {
        Action::Call {
            call, to, request, ..
        } => Some((*call, to.clone(), request.clone())),
        _ => None,
    };
    actions.iter().filter_map(call).collect()
}

pub(crate) fn replies(actions: &[Action]) -> Vec<(u64, Result<DhtResponse, String>)> {
    let reply = |action: &Action| match action {
        Action::Reply { request_id, result } => Some((request_id.0, result.clone())),
        _ => None,
    };
    actions.iter().filter_map(reply).collect()
}

pub(crate) fn availability(actions: &[Action]) -> Vec<bool> {
    let available = |(_, result): (u64, Result<DhtResponse, String>)| match result.unwrap() {
        DhtResponse::Ping(response) => response.available,
        other => panic!("{other:?} is no ping response"),
    };
    replies(actions).into_iter().map(available).collect()
}

pub(crate) fn notices(actions: &[Action]) -> Vec<Notice> {
    let notice = |action: &Action| match action {
        Action::Notice(notice) => Some(notice.clone()),
        _ => None,
    };
    actions.iter().filter_map(notice).collect()
}
