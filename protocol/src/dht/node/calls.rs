//! Outgoing calls: whom we wait for, what an answer means to whom asked, what a failure does to the peer.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

use super::DhtNode;
use super::operation::OperationKey;
use crate::dht::event::{Action, CallFailure, CallId, OpId, Outcome};
use crate::dht::id::DhtId;
use crate::dht::limits::{DRIVER_GRACE, MAX_PENDING_CALLS, VALIDATION_TIMEOUT};
use crate::dht::lookup::Visit;
use crate::dht::request::{DhtRequest, DhtResponse, NodeContact};

/// Calls without an answer.
#[derive(Debug, Default)]
pub(super) struct Calls {
    pending: BTreeMap<CallId, Pending>,
    next: u64,
}

#[derive(Debug)]
struct Pending {
    peer: Bytes,
    purpose: Purpose,
    sent_at: f64,
    /// When we stop waiting for the driver, Unix seconds.
    give_up_at: f64,
}

/// Who wants the answer.
#[derive(Debug)]
pub(super) enum Purpose {
    /// Is this initial peer there?
    InitialPeer,
    /// Did this caller tell its true node id?
    Validate(DhtId),
    /// Is the least recently heard node of a full bucket alive?
    BucketCheck,
    /// A step of a lookup.
    Visit(OperationKey, Visit),
    /// Replicas of these entries of a store operation.
    Replicas(OperationKey, Vec<usize>),
    /// Records for a newcomer.
    HandOver,
    /// A copy for a node near the key.
    Copy,
    /// A ping that the process asked for.
    Ping(OpId),
}

/// An answer with what is needed to judge it.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) peer: Bytes,
    pub(super) response: DhtResponse,
    /// Unix seconds.
    pub(super) sent_at: f64,
}

impl Calls {
    /// Time by which the first overdue call is given up.
    pub(super) fn next_give_up(&self) -> Option<f64> {
        self.pending
            .values()
            .map(|pending| pending.give_up_at)
            .reduce(f64::min)
    }

    /// Calls that the driver has forgotten.
    pub(super) fn overdue(&self, now: f64) -> Vec<CallId> {
        self.pending
            .iter()
            .filter(|(_, pending)| pending.give_up_at <= now)
            .map(|(call, _)| *call)
            .collect()
    }
}

impl DhtNode {
    /// Calls a peer; false if too many calls are under way. Background calls leave half of the room to operations.
    pub(super) fn call(
        &mut self,
        peer: Bytes,
        request: DhtRequest,
        purpose: Purpose,
        now: f64,
    ) -> bool {
        let (limit, timeout): (usize, Duration) = match purpose {
            Purpose::BucketCheck | Purpose::HandOver | Purpose::Copy => {
                (MAX_PENDING_CALLS.div_euclid(2), self.config.call_timeout)
            }
            Purpose::Validate(_) => (MAX_PENDING_CALLS, VALIDATION_TIMEOUT),
            Purpose::InitialPeer
            | Purpose::Visit(..)
            | Purpose::Replicas(..)
            | Purpose::Ping(_) => (MAX_PENDING_CALLS, self.config.call_timeout),
        };
        if self.calls.pending.len() >= limit {
            return false;
        }
        let call = CallId(self.calls.next);
        self.calls.next = self.calls.next.wrapping_add(1);
        let give_up_at = now + timeout.saturating_add(DRIVER_GRACE).as_secs_f64();
        self.calls.pending.insert(
            call,
            Pending {
                peer: peer.clone(),
                purpose,
                sent_at: now,
                give_up_at,
            },
        );
        self.actions.push(Action::Call {
            call,
            to: peer,
            request,
            timeout,
        });
        true
    }

    /// Takes the end of a call. Unknown ids are answers that came after we gave up.
    pub(super) fn take_response(
        &mut self,
        call: CallId,
        result: Result<DhtResponse, CallFailure>,
        now: f64,
    ) {
        let Some(Pending {
            peer,
            purpose,
            sent_at,
            ..
        }) = self.calls.pending.remove(&call)
        else {
            return;
        };
        let result = match result {
            Ok(response) if !fits(&response, &purpose) => Err(CallFailure::Malformed(
                "it answers another question".to_owned(),
            )),
            other => other,
        };
        match result {
            Ok(response) => {
                self.failed_peers.answered(&peer);
                // A node under validation joins the table once the outcome is known.
                if !matches!(purpose, Purpose::Validate(_)) {
                    self.heard(response.node_id(), &peer, now);
                }
                self.answered(
                    purpose,
                    Answer {
                        peer,
                        response,
                        sent_at,
                    },
                    now,
                );
            }
            Err(failure) => {
                if failure != CallFailure::Overloaded {
                    self.failed_peers.failed(&peer, now);
                    self.table.remove_peer(&peer);
                    self.initial_peer_lost(&peer, now);
                }
                self.unanswered(purpose, &peer, failure, now);
            }
        }
    }

    /// Notes a sign of life of a node; a node that is new gets the records it should hold.
    pub(super) fn heard(&mut self, node_id: Option<DhtId>, peer: &Bytes, now: f64) {
        let Some(node_id) = node_id.filter(|_| self.is_other_peer(peer)) else {
            return;
        };
        let node = NodeContact {
            node_id,
            peer: peer.clone(),
        };
        if self.table.id_of(peer) != Some(node_id) {
            self.begin_hand_over(&node, now);
        }
        let (_, to_ping) = self.table.add_or_refresh(node, now);
        if let Some(old) = to_ping {
            self.call(old.peer, self.plain_ping(), Purpose::BucketCheck, now);
        }
        self.initial_peer_heard(peer, now);
    }

    fn answered(&mut self, purpose: Purpose, answer: Answer, now: f64) {
        match purpose {
            Purpose::InitialPeer => self.initial_peer_answered(&answer, now),
            Purpose::Validate(claimed) => {
                let is_true = answer.response.node_id() == Some(claimed);
                self.validated(&answer.peer, is_true, now);
            }
            Purpose::BucketCheck | Purpose::Copy => {}
            Purpose::HandOver => self.continue_hand_over(&answer.peer, now),
            Purpose::Visit(key, visit) => self.visit_answered(key, &visit, answer.response, now),
            Purpose::Replicas(key, entries) => {
                self.replicas_answered(key, &entries, &answer.response, now)
            }
            Purpose::Ping(op) => self.done(op, Outcome::Pinged(Ok(answer.response.node_id()))),
        }
    }

    fn unanswered(&mut self, purpose: Purpose, peer: &Bytes, failure: CallFailure, now: f64) {
        match purpose {
            Purpose::InitialPeer => self.initial_peer_silent(peer, failure, now),
            Purpose::Validate(_) => self.validated(peer, false, now),
            Purpose::BucketCheck | Purpose::Copy => {}
            Purpose::HandOver => self.end_hand_over(peer),
            Purpose::Visit(key, visit) => self.visit_failed(key, &visit, now),
            Purpose::Replicas(key, entries) => self.replicas_failed(key, &entries, now),
            Purpose::Ping(op) => self.done(op, Outcome::Pinged(Err(failure))),
        }
    }
}

/// True if a response is of the kind that the call asks for, and complete.
fn fits(response: &DhtResponse, purpose: &Purpose) -> bool {
    match (response, purpose) {
        (
            DhtResponse::Ping(_),
            Purpose::InitialPeer | Purpose::Validate(_) | Purpose::BucketCheck | Purpose::Ping(_),
        )
        | (DhtResponse::Store(_), Purpose::HandOver | Purpose::Copy) => true,
        (DhtResponse::Find(response), Purpose::Visit(_, visit)) => {
            response.results.len() == visit.keys.len()
        }
        (DhtResponse::Store(response), Purpose::Replicas(_, entries)) => {
            response.accepted.len() == entries.len()
        }
        (DhtResponse::Ping(_) | DhtResponse::Store(_) | DhtResponse::Find(_), _) => false,
    }
}
