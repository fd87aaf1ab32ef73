//! Records for a newcomer: when a node enters the routing table, it gets what it is now responsible for.
//!
//! A record is pushed if we are nearer to its key than every other node we know, and the newcomer is among the
//! `replicas` nearest (or fewer are known). Then exactly one of the old holders pushes it.
//! Source: hivemind 1.1.12, `dht/protocol.py`; "or fewer are known" is ours.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::DhtNode;
use super::calls::Purpose;
use crate::dht::id::DhtId;
use crate::dht::limits::{
    HAND_OVER_PAUSE, MAX_HAND_OVERS, MAX_RECORDS_PER_STORE, MAX_STORE_CALL_BYTES,
};
use crate::dht::request::{DhtRequest, NodeContact, StoreRecord, StoreRequest};

/// Hand-overs under way and recent ones.
#[derive(Debug, Default)]
pub(super) struct HandOvers {
    /// Keys that are still to be sent, by newcomer.
    left: BTreeMap<Bytes, VecDeque<DhtId>>,
    /// When each peer was last handed records, Unix seconds.
    recent: BTreeMap<Bytes, f64>,
}

impl HandOvers {
    pub(super) fn forget_old(&mut self, now: f64) {
        self.recent
            .retain(|_, at| now < *at + HAND_OVER_PAUSE.as_secs_f64());
    }
}

impl DhtNode {
    pub(super) fn begin_hand_over(&mut self, newcomer: &NodeContact, now: f64) {
        let busy = self.hand_overs.left.len() >= MAX_HAND_OVERS
            || self.hand_overs.left.contains_key(&newcomer.peer);
        let pause = HAND_OVER_PAUSE.as_secs_f64();
        let recent = self
            .hand_overs
            .recent
            .get(&newcomer.peer)
            .is_some_and(|at| now < *at + pause);
        if self.storage.is_empty() || busy || recent {
            return;
        }
        let keys: VecDeque<DhtId> = self
            .storage
            .keys()
            .filter(|key| self.should_hand_over(key, newcomer))
            .copied()
            .collect();
        if !keys.is_empty() {
            self.hand_overs.recent.insert(newcomer.peer.clone(), now);
            self.hand_overs.left.insert(newcomer.peer.clone(), keys);
            self.continue_hand_over(&newcomer.peer, now);
        }
    }

    /// Sends the next records, as many as one call takes.
    pub(super) fn continue_hand_over(&mut self, peer: &Bytes, now: f64) {
        let Some(keys) = self.hand_overs.left.get_mut(peer) else {
            return;
        };
        let mut records = Vec::new();
        let mut bytes: usize = 0;
        while let Some(key) = keys.pop_front() {
            let Some(record) = self.storage.record(&key, now) else {
                continue;
            };
            let record = StoreRecord::whole(key, record, false);
            if !records.is_empty()
                && bytes.saturating_add(record.wire_bytes()) > MAX_STORE_CALL_BYTES
            {
                keys.push_front(key);
                break;
            }
            bytes = bytes.saturating_add(record.wire_bytes());
            records.push(record);
            if records.len() >= MAX_RECORDS_PER_STORE {
                break;
            }
        }
        let request = DhtRequest::Store(StoreRequest {
            node_id: self.told_id(),
            records,
        });
        let is_empty = matches!(&request, DhtRequest::Store(store) if store.records.is_empty());
        if is_empty || !self.call(peer.clone(), request, Purpose::HandOver, now) {
            self.end_hand_over(peer);
        }
    }

    pub(super) fn end_hand_over(&mut self, peer: &Bytes) {
        self.hand_overs.left.remove(peer);
    }

    fn should_hand_over(&self, key: &DhtId, newcomer: &NodeContact) -> bool {
        let ours = self.config.node_id.distance(key);
        let others = || self.table.nodes().filter(|node| node.peer != newcomer.peer);
        // The cheap question first: for most keys somebody else is nearer.
        if others().any(|node| node.node_id.distance(key) < ours) {
            return false;
        }
        let theirs = newcomer.node_id.distance(key);
        let nearer_than_newcomer = others()
            .filter(|node| node.node_id.distance(key) < theirs)
            .count();
        nearer_than_newcomer < self.config.replicas
    }
}
