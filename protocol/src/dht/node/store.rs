//! Writing: find the nodes nearest to each key, then ask them in order until enough have answered.
//!
//! We count as one of the nodes. A client keeps a private copy the same way; nobody can read it there.
//! All entries for one node travel in one call, as far as they fit: announcing a model takes a few calls, not hundreds.
//! Source: hivemind 1.1.12, `dht/node.py`, which sends one call per key.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::DhtNode;
use super::calls::Purpose;
use super::operation::{Goal, OperationKey};
use crate::dht::event::{OpId, Outcome, StoreEntry, Stored};
use crate::dht::id::DhtId;
use crate::dht::limits::{MAX_RECORDS_PER_STORE, MAX_STORE_CALL_BYTES, MAX_STORE_CALLS};
use crate::dht::lookup::Lookup;
use crate::dht::request::{DhtRequest, NodeContact, StoreRecord, StoreRequest, Subkey};
use crate::dht::storage::NewRecord;

/// A store under way.
#[derive(Debug)]
pub(super) struct StoreState {
    op: OpId,
    records: Vec<StoreRecord>,
    stored: Vec<Stored>,
    /// Per key; empty until the lookup has ended.
    targets: BTreeMap<DhtId, Target>,
    calls_under_way: usize,
}

/// Where the entries of one key go.
#[derive(Debug)]
struct Target {
    entries: Vec<usize>,
    /// Nodes not tried yet, nearest first; our own contact is among them.
    candidates: VecDeque<NodeContact>,
    under_way: usize,
    holders: usize,
}

impl StoreState {
    pub(super) fn answered(&mut self, entries: &[usize], accepted: &[bool]) {
        self.calls_under_way = self.calls_under_way.saturating_sub(1);
        for (entry, accepted) in entries.iter().zip(accepted) {
            if let Some(stored) = self.stored.get_mut(*entry) {
                stored.asked = stored.asked.saturating_add(1);
                stored.kept_by_others =
                    stored.kept_by_others.saturating_add(usize::from(*accepted));
            }
        }
        self.settle(entries, true);
    }

    pub(super) fn failed(&mut self, entries: &[usize]) {
        self.calls_under_way = self.calls_under_way.saturating_sub(1);
        self.settle(entries, false);
    }

    /// Counts an ended call once per key of its entries.
    fn settle(&mut self, entries: &[usize], answered: bool) {
        let mut last_key = None;
        for entry in entries {
            let key = self.records.get(*entry).map(|record| record.key);
            if let Some(target) = key
                .filter(|_| key != last_key)
                .and_then(|key| self.targets.get_mut(&key))
            {
                target.under_way = target.under_way.saturating_sub(1);
                target.holders = target.holders.saturating_add(usize::from(answered));
            }
            last_key = key;
        }
    }

    /// Takes the next nodes, at most `room` different ones, for every key that lacks holders: entries by node, those of
    /// one key together.
    fn next_calls(
        &mut self,
        replicas: usize,
        room: usize,
    ) -> BTreeMap<NodeContact, Vec<Vec<usize>>> {
        let mut calls: BTreeMap<NodeContact, Vec<Vec<usize>>> = BTreeMap::new();
        for target in self.targets.values_mut() {
            while target.holders.saturating_add(target.under_way) < replicas {
                let chosen = calls.len();
                let next = target.candidates.front();
                if next.is_some_and(|node| chosen >= room && !calls.contains_key(node)) {
                    break;
                }
                let Some(node) = target.candidates.pop_front() else {
                    break;
                };
                target.under_way = target.under_way.saturating_add(1);
                calls.entry(node).or_default().push(target.entries.clone());
            }
        }
        calls
    }
}

impl DhtNode {
    pub(super) fn begin_store(&mut self, op: OpId, entries: Vec<StoreEntry>, now: f64) {
        let stored = vec![Stored::default(); entries.len()];
        let records: Vec<StoreRecord> = entries.into_iter().map(record).collect();
        let mut bytes_by_key: BTreeMap<DhtId, usize> = BTreeMap::new();
        for record in &records {
            let bytes = bytes_by_key.entry(record.key).or_default();
            *bytes = bytes.saturating_add(record.wire_bytes());
        }
        if bytes_by_key
            .values()
            .any(|bytes| *bytes > MAX_STORE_CALL_BYTES)
        {
            self.done(op, Outcome::Refused);
            return;
        }
        let keys = bytes_by_key.into_keys().collect();
        let state = StoreState {
            op,
            records,
            stored,
            targets: BTreeMap::new(),
            calls_under_way: 0,
        };
        self.begin(Goal::Store(state), keys, now);
    }

    /// Sends what can be sent; true when every key has its holders or nobody left to ask.
    pub(super) fn advance_store(
        &mut self,
        key: OperationKey,
        store: &mut StoreState,
        lookup: &Lookup,
        now: f64,
    ) -> bool {
        if store.targets.is_empty() {
            self.choose_targets(store, lookup);
        }
        loop {
            let room = MAX_STORE_CALLS.saturating_sub(store.calls_under_way);
            if room == 0 {
                return false;
            }
            let calls = store.next_calls(self.config.replicas, room);
            if calls.is_empty() {
                return store.calls_under_way == 0;
            }
            for (node, groups) in calls {
                if node.peer == self.config.peer {
                    self.keep_own(store, &groups, now);
                } else {
                    self.send_replicas(key, store, &node.peer, groups, now);
                }
            }
        }
    }

    pub(super) fn end_store(&mut self, store: StoreState) {
        self.done(store.op, Outcome::Stored(store.stored));
    }

    fn choose_targets(&self, store: &mut StoreState, lookup: &Lookup) {
        let own = NodeContact {
            node_id: self.config.node_id,
            peer: self.config.peer.clone(),
        };
        for (index, record) in store.records.iter().enumerate() {
            let key = record.key;
            let target = store.targets.entry(key).or_insert_with(|| {
                let mut candidates = lookup.nearest(&key);
                candidates.push(own.clone());
                candidates.sort_unstable_by_key(|node| key.distance(&node.node_id));
                Target {
                    entries: Vec::new(),
                    candidates: candidates.into(),
                    under_way: 0,
                    holders: 0,
                }
            });
            target.entries.push(index);
        }
    }

    fn keep_own(&mut self, store: &mut StoreState, groups: &[Vec<usize>], now: f64) {
        let writer = self.config.peer.clone();
        for entry in groups.iter().flatten() {
            let Some(record) = store.records.get(*entry) else {
                continue;
            };
            let kept = self.storage.store(new_record(record, &writer), now);
            if let Some(stored) = store.stored.get_mut(*entry) {
                stored.kept_here = kept;
            }
        }
        for group in groups {
            store.settle(group, true);
        }
    }

    fn send_replicas(
        &mut self,
        key: OperationKey,
        store: &mut StoreState,
        peer: &Bytes,
        groups: Vec<Vec<usize>>,
        now: f64,
    ) {
        for entries in pack(&groups, &store.records) {
            let records = entries
                .iter()
                .filter_map(|entry| store.records.get(*entry))
                .cloned()
                .collect();
            let request = DhtRequest::Store(StoreRequest {
                node_id: self.told_id(),
                records,
            });
            store.calls_under_way = store.calls_under_way.saturating_add(1);
            if !self.call(
                peer.clone(),
                request,
                Purpose::Replicas(key, entries.clone()),
                now,
            ) {
                store.failed(&entries);
            }
        }
    }
}

/// Joins groups of entries into calls that stay within the limits; a group is never torn apart.
fn pack(groups: &[Vec<usize>], records: &[StoreRecord]) -> Vec<Vec<usize>> {
    let mut calls: Vec<Vec<usize>> = Vec::new();
    let mut last_bytes: usize = 0;
    for group in groups {
        let sizes = group
            .iter()
            .filter_map(|entry| records.get(*entry))
            .map(StoreRecord::wire_bytes);
        let group_bytes = sizes.fold(0, usize::saturating_add);
        let joined_bytes = last_bytes.saturating_add(group_bytes);
        match calls.last_mut() {
            Some(call)
                if joined_bytes <= MAX_STORE_CALL_BYTES
                    && call.len().saturating_add(group.len()) <= MAX_RECORDS_PER_STORE =>
            {
                call.extend(group);
                last_bytes = joined_bytes;
            }
            _ => {
                calls.push(group.clone());
                last_bytes = group_bytes;
            }
        }
    }
    calls
}

fn record(entry: StoreEntry) -> StoreRecord {
    let subkey = entry.subkey.map_or(Subkey::Regular, Subkey::Entry);
    StoreRecord {
        key: entry.key,
        subkey,
        value: entry.value,
        expiration: entry.expiration,
        in_cache: false,
    }
}

fn new_record<'a>(record: &'a StoreRecord, writer: &'a Bytes) -> NewRecord<'a> {
    let (key, subkey, value, expiration) =
        (record.key, &record.subkey, &record.value, record.expiration);
    NewRecord {
        key,
        subkey,
        value,
        expiration,
        writer,
    }
}
