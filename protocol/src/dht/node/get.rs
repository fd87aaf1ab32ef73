//! Reading: our own records and copies first, then a lookup; dictionaries from several nodes are merged.
//!
//! A get of "any live record" ends for a key with the first one; a get of the latest asks the whole beam.
//! What was found is kept as a copy here and sent to the nearest node that did not have it.
//! Source: hivemind 1.1.12, `dht/node.py`.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::DhtNode;
use super::calls::Purpose;
use super::operation::Goal;
use crate::dht::event::{OpId, Outcome};
use crate::dht::id::DhtId;
use crate::dht::limits::{CACHE_REFRESH_MARGIN, MAX_REFRESHED_KEYS, MAX_STORE_CALL_BYTES};
use crate::dht::lookup::Lookup;
use crate::dht::request::{DhtRequest, StoreRecord, StoreRequest};
use crate::dht::storage::NewRecord;
use crate::dht::value::{DhtRecord, DhtValue};

/// A get under way.
#[derive(Debug)]
pub(super) struct GetState {
    /// `None` for a refresh of copies.
    op: Option<OpId>,
    /// As asked for, repetitions included.
    keys: Vec<DhtId>,
    /// A record that expires later than this ends the search for its key, Unix seconds.
    sufficient: f64,
    found: BTreeMap<DhtId, Found>,
}

#[derive(Debug, Default)]
struct Found {
    record: Option<DhtRecord>,
    /// The record or a part of it came from here.
    is_local: bool,
    /// Nodes whose record expires as late as the merged one.
    suppliers: BTreeSet<DhtId>,
}

impl GetState {
    /// Takes a record that `supplier` (`None`: ourselves) has; true if it is enough.
    pub(super) fn offer(
        &mut self,
        key: &DhtId,
        mut record: DhtRecord,
        supplier: Option<DhtId>,
        now: f64,
    ) -> bool {
        if let DhtValue::Dictionary(dictionary) = &mut record.value {
            dictionary.drop_expired(now);
            record.expiration = dictionary.latest_expiration();
        }
        if record.expiration > now {
            self.found.entry(*key).or_default().merge(record, supplier);
        }
        self.is_enough(key)
    }

    fn is_enough(&self, key: &DhtId) -> bool {
        let record = self.found.get(key).and_then(|found| found.record.as_ref());
        record.is_some_and(|record| record.expiration > self.sufficient)
    }
}

impl Found {
    fn merge(&mut self, new: DhtRecord, supplier: Option<DhtId>) {
        let old_expiration = self
            .record
            .as_ref()
            .map_or(f64::NEG_INFINITY, |old| old.expiration);
        if new.expiration > old_expiration {
            self.suppliers.clear();
            self.is_local = supplier.is_none();
        }
        if new.expiration >= old_expiration {
            self.suppliers.extend(supplier);
        }
        match (&mut self.record, new.value) {
            (
                Some(DhtRecord {
                    value: DhtValue::Dictionary(old),
                    expiration,
                }),
                DhtValue::Dictionary(other),
            ) => {
                old.merge(other);
                *expiration = expiration.max(new.expiration);
            }
            (record, value) => {
                if new.expiration > old_expiration {
                    *record = Some(DhtRecord {
                        value,
                        expiration: new.expiration,
                    });
                }
            }
        }
    }
}

impl DhtNode {
    pub(super) fn begin_get(
        &mut self,
        op: Option<OpId>,
        keys: Vec<DhtId>,
        sufficient: f64,
        now: f64,
    ) {
        let mut get = GetState {
            op,
            keys,
            sufficient,
            found: BTreeMap::new(),
        };
        let wanted: BTreeSet<DhtId> = get.keys.iter().copied().collect();
        let mut missing = Vec::new();
        for key in wanted {
            let mut enough = false;
            for shelf in [&self.storage, &self.cache] {
                if let Some(record) = shelf.record(&key, now) {
                    enough = get.offer(&key, record, None, now);
                }
            }
            if enough {
                self.schedule_refresh(key, now);
            } else {
                missing.push(key);
            }
        }
        self.begin(Goal::Get(get), missing, now);
    }

    pub(super) fn end_get(&mut self, mut get: GetState, lookup: &Lookup, now: f64) {
        for (key, found) in &get.found {
            if let Some(record) = found.record.as_ref().filter(|_| !found.is_local) {
                self.keep_and_send_copies(*key, record, &found.suppliers, lookup, now);
            }
        }
        if let Some(op) = get.op {
            let results = get.keys.iter().map(|key| {
                get.found
                    .get_mut(key)
                    .and_then(|found| found.record.clone())
            });
            let results = results.collect();
            self.done(op, Outcome::Found(results));
        }
    }

    /// Fetches copies again whose time has come.
    pub(super) fn refresh_copies(&mut self, now: f64) {
        let due: Vec<DhtId> = self
            .refreshes
            .iter()
            .filter(|(_, at)| **at <= now)
            .map(|(key, _)| *key)
            .collect();
        if due.is_empty() {
            return;
        }
        for key in &due {
            self.refreshes.remove(key);
        }
        let sufficient = now + 2.0 * CACHE_REFRESH_MARGIN.as_secs_f64();
        self.begin_get(None, due, sufficient, now);
    }

    /// A copy that was read here is fetched again before it expires.
    fn schedule_refresh(&mut self, key: DhtId, now: f64) {
        let copy = self.cache.expiration(&key, now);
        if let Some(expiration) =
            copy.filter(|copy| Some(*copy) > self.storage.expiration(&key, now))
        {
            let at = expiration - CACHE_REFRESH_MARGIN.as_secs_f64();
            if at > now
                && (self.refreshes.len() < MAX_REFRESHED_KEYS || self.refreshes.contains_key(&key))
            {
                self.refreshes.insert(key, at);
            }
        }
    }

    fn keep_and_send_copies(
        &mut self,
        key: DhtId,
        record: &DhtRecord,
        suppliers: &BTreeSet<DhtId>,
        lookup: &Lookup,
        now: f64,
    ) {
        let known = self
            .storage
            .expiration(&key, now)
            .max_with(self.cache.expiration(&key, now));
        if known.is_some_and(|known| known >= record.expiration) {
            return;
        }
        let copy = StoreRecord::whole(key, record.clone(), true);
        let (subkey, value, writer): (_, _, &Bytes) =
            (&copy.subkey, &copy.value, &self.config.peer);
        self.cache.store(
            NewRecord {
                key,
                subkey,
                value,
                expiration: copy.expiration,
                writer,
            },
            now,
        );
        if copy.wire_bytes() > MAX_STORE_CALL_BYTES {
            return;
        }
        let others = lookup
            .nearest(&key)
            .into_iter()
            .filter(|node| !suppliers.contains(&node.node_id));
        for node in others.take(self.config.cache_nearest) {
            let request = StoreRequest {
                node_id: self.told_id(),
                records: vec![copy.clone()],
            };
            self.call(node.peer, DhtRequest::Store(request), Purpose::Copy, now);
        }
    }
}

trait MaxWith {
    /// The later of two optional times.
    fn max_with(self, other: Self) -> Self;
}

impl MaxWith for Option<f64> {
    fn max_with(self, other: Self) -> Self {
        match (self, other) {
            (Some(a), Some(b)) => Some(a.max(b)),
            (one, None) | (None, one) => one,
        }
    }
}
