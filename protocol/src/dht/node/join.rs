//! Initial peers: how a node joins, and why it is never cut off for good.
//!
//! ```text
//! Pinging --every initial peer has answered or failed once, one answered--> LookingUp --own id searched--> Joined
//!    \--no initial peers--> Joined
//! ```
//! In every state an initial peer is pinged again when it was not heard for a period, soon after a failure and then
//! less and less often, for ever. When one comes back, our own id is searched once more: that heals a partition.
//! Source of the join: hivemind 1.1.12, `dht/node.py`. It never pings initial peers again.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::DhtNode;
use super::calls::{Answer, Purpose};
use super::operation::Goal;
use crate::dht::event::{Action, CallFailure, Notice};
use crate::dht::limits::{MAX_CLOCK_SKEW, MAX_INITIAL_PEERS};
use crate::dht::request::{DhtResponse, PingRequest};

/// First pause after a failed ping, seconds; doubles up to the period.
const FIRST_PAUSE_SECONDS: f64 = 1.0;
/// 2^10 s is longer than any sensible period.
const MAX_DOUBLINGS: u32 = 10;

/// Where the node stands.
#[derive(Debug)]
pub(super) struct Join {
    stage: Stage,
    started: bool,
    expects_peers: bool,
    peers: BTreeMap<Bytes, InitialPeer>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Pinging,
    LookingUp,
    Joined,
}

#[derive(Debug, Default)]
struct InitialPeer {
    /// A ping is under way.
    asked: bool,
    /// The first ping has ended, well or not.
    tried: bool,
    /// The last thing we know of it is good.
    alive: bool,
    failures: u32,
    /// Unix seconds.
    next_ping: f64,
}

impl Join {
    pub(super) fn new(expects_peers: bool) -> Self {
        Self {
            stage: Stage::Pinging,
            started: false,
            expects_peers,
            peers: BTreeMap::new(),
        }
    }

    pub(super) fn is_ready(&self) -> bool {
        self.stage == Stage::Joined
    }

    pub(super) fn next_ping(&self) -> Option<f64> {
        let waiting = self
            .peers
            .values()
            .filter(|peer| self.started && !peer.asked);
        waiting.map(|peer| peer.next_ping).reduce(f64::min)
    }
}

impl DhtNode {
    pub(super) fn start(&mut self) {
        self.join.started = true;
        if !self.join.expects_peers {
            self.become_ready();
        }
    }

    /// Remembers an initial peer; it is pinged with the next upkeep. False if there are too many.
    pub(super) fn add_initial_peer(&mut self, peer: Bytes) -> bool {
        if self.join.peers.contains_key(&peer) {
            return true;
        }
        let room = self.join.peers.len() < MAX_INITIAL_PEERS && self.is_other_peer(&peer);
        if room {
            self.join.peers.insert(peer, InitialPeer::default());
        }
        room
    }

    /// Forgets an initial peer; the others may have waited for it alone.
    pub(super) fn remove_initial_peer(&mut self, peer: &Bytes, now: f64) {
        if self.join.peers.remove(peer).is_some() && self.join.stage == Stage::Pinging {
            self.search_own_id(now);
        }
    }

    /// Pings the initial peers whose time has come.
    pub(super) fn ping_initial_peers(&mut self, now: f64) {
        if !self.join.started {
            return;
        }
        let due = self
            .join
            .peers
            .iter()
            .filter(|(_, peer)| !peer.asked && peer.next_ping <= now);
        for peer in due.map(|(peer, _)| peer.clone()).collect::<Vec<_>>() {
            let request = PingRequest {
                node_id: self.told_id(),
                validate: true,
            };
            let sent = self.call(peer.clone(), request.into(), Purpose::InitialPeer, now);
            if let Some(state) = self.join.peers.get_mut(&peer) {
                state.asked = sent;
                state.next_ping = now + FIRST_PAUSE_SECONDS;
            }
        }
    }

    /// A fresh connection to a silent initial peer is worth a ping at once.
    pub(super) fn initial_peer_connected(&mut self, peer: &Bytes, now: f64) {
        if let Some(state) = self.join.peers.get_mut(peer).filter(|state| !state.alive) {
            state.next_ping = now;
        }
    }

    /// Any sign of life puts the next ping off.
    pub(super) fn initial_peer_heard(&mut self, peer: &Bytes, now: f64) {
        let period = self.config.initial_peer_period.as_secs_f64();
        if let Some(state) = self.join.peers.get_mut(peer).filter(|state| state.alive) {
            state.next_ping = now + period;
        }
    }

    /// A call to an initial peer failed, so it left the table: ping it soon.
    pub(super) fn initial_peer_lost(&mut self, peer: &Bytes, now: f64) {
        let period = self.config.initial_peer_period.as_secs_f64();
        if let Some(state) = self.join.peers.get_mut(peer) {
            state.alive = false;
            let doublings = state.failures.min(MAX_DOUBLINGS);
            let pause = FIRST_PAUSE_SECONDS * f64::from(1_u32.wrapping_shl(doublings));
            state.next_ping = now + pause.min(period);
        }
    }

    pub(super) fn initial_peer_answered(&mut self, answer: &Answer, now: f64) {
        let DhtResponse::Ping(response) = &answer.response else {
            return;
        };
        let peer = &answer.peer;
        let skew_seconds = clock_skew(response.dht_time, answer.sent_at, now);
        if let Some(seconds) = skew_seconds {
            self.notice(Notice::ClockSkew {
                peer: peer.clone(),
                seconds,
            });
        }
        if !self.config.client_mode && !response.available {
            self.notice(Notice::NotReachable { peer: peer.clone() });
        }
        let period = self.config.initial_peer_period.as_secs_f64();
        let Some(state) = self.join.peers.get_mut(peer) else {
            return;
        };
        let came_back = !state.alive;
        *state = InitialPeer {
            asked: false,
            tried: true,
            alive: true,
            failures: 0,
            next_ping: now + period,
        };
        if came_back {
            self.notice(Notice::InitialPeerAnswered { peer: peer.clone() });
            self.search_own_id(now);
        }
    }

    pub(super) fn initial_peer_silent(&mut self, peer: &Bytes, failure: CallFailure, now: f64) {
        if let Some(state) = self.join.peers.get_mut(peer) {
            state.asked = false;
            state.tried = true;
            // The first ones and then every power of two: a dead peer must not fill the log.
            let worth_telling = state.failures.is_power_of_two() || state.failures == 0;
            state.failures = state.failures.saturating_add(1);
            if worth_telling {
                self.notice(Notice::InitialPeerSilent {
                    peer: peer.clone(),
                    failure,
                });
            }
        }
        self.search_own_id(now);
    }

    /// The search for our own id has ended.
    pub(super) fn own_id_searched(&mut self) {
        if self.join.stage == Stage::LookingUp {
            self.become_ready();
        }
    }

    /// Searches our own id if somebody answered, for the first time only when every initial peer had its chance.
    fn search_own_id(&mut self, now: f64) {
        let first_round_over = self.join.peers.values().all(|peer| peer.tried);
        let one_is_alive = self.join.peers.values().any(|peer| peer.alive);
        let may_begin = match self.join.stage {
            Stage::Pinging => first_round_over,
            Stage::LookingUp | Stage::Joined => true,
        };
        if !one_is_alive || !may_begin {
            return;
        }
        if self.join.stage == Stage::Pinging {
            self.join.stage = Stage::LookingUp;
        }
        if !self.begin_lookup(Goal::OwnId, self.config.node_id, now) {
            // Too busy to search: the table holds at least the peer that answered.
            self.become_ready();
        }
    }

    fn become_ready(&mut self) {
        if self.join.stage != Stage::Joined {
            self.join.stage = Stage::Joined;
            self.actions.push(Action::Ready);
        }
    }

    fn notice(&mut self, notice: Notice) {
        self.actions.push(Action::Notice(notice));
    }
}

/// How far a clock is outside of what the reference accepts, seconds; `None` if it is inside or unknown.
fn clock_skew(dht_time: f64, sent_at: f64, received_at: f64) -> Option<f64> {
    let tolerance = MAX_CLOCK_SKEW.as_secs_f64();
    let accepted =
        dht_time == 0.0 || (sent_at - tolerance <= dht_time && dht_time <= received_at + tolerance);
    (!accepted).then_some(dht_time - received_at)
}
