//! The records that a node keeps, with hivemind's freshness rules and bounds of our own.
//!
//! | store of          | key absent | regular value there       | dictionary there                  |
//! |-------------------|------------|---------------------------|-----------------------------------|
//! | regular value     | kept       | kept if strictly later    | kept if strictly later than all   |
//! | one entry         | kept       | kept if strictly later    | that subkey absent or earlier     |
//! | whole dictionary  | every entry by the rule above; true only if all were kept                 |
//!
//! Nothing is kept that has expired, and nothing is deleted before it expires except for room (`room.rs`).
//! Source: hivemind 1.1.12, `dht/storage.py`; unlike it, a merge does not stop at the first refused entry.

mod room;

use std::collections::BTreeMap;

use bytes::Bytes;

use super::id::DhtId;
use super::limits::MAX_SUBKEY_BYTES;
use super::request::Subkey;
use super::value::{DhtRecord, DhtValue, Dictionary, DictionaryEntry};
use crate::msgpack::is_one_value;
use room::Usage;

/// Bounds of one store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StorageLimits {
    /// Most keys.
    pub max_keys: usize,
    /// Largest single value, bytes.
    pub max_value_bytes: usize,
    /// Most entries under one key.
    pub max_subkeys: usize,
    /// Largest sum of one key's values and subkeys, bytes; it must fit into one answer.
    pub max_record_bytes: usize,
    /// Largest sum over all keys, bookkeeping included, bytes.
    pub max_total_bytes: usize,
}

impl StorageLimits {
    /// Bounds for records that this node answers for: a public swarm's registry fits many times over.
    pub const STORAGE: Self = Self {
        max_keys: 32_768,
        max_value_bytes: 256 * 1024,
        max_subkeys: 4096,
        max_record_bytes: 2 * 1024 * 1024,
        max_total_bytes: 128 * 1024 * 1024,
    };
    /// Bounds for copies that are only kept to answer faster.
    pub const CACHE: Self = Self {
        max_keys: 8192,
        max_total_bytes: 32 * 1024 * 1024,
        ..Self::STORAGE
    };
}

/// What is to be stored, by whom.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NewRecord<'a> {
    pub(crate) key: DhtId,
    pub(crate) subkey: &'a Subkey,
    pub(crate) value: &'a Bytes,
    /// Unix seconds.
    pub(crate) expiration: f64,
    /// Peer id of who stores; room is shared fairly among writers.
    pub(crate) writer: &'a Bytes,
}

/// Records by key.
#[derive(Debug, Clone)]
pub struct Storage {
    records: BTreeMap<DhtId, Kept>,
    limits: StorageLimits,
    usage: Usage,
}

/// A value and who wrote it. `value` owns its bytes: a slice would keep the whole message alive.
#[derive(Debug, Clone)]
struct Entry {
    value: Bytes,
    expiration: f64,
    writer: Bytes,
}

#[derive(Debug, Clone)]
enum Kept {
    Regular(Entry),
    Dictionary(BTreeMap<Bytes, Entry>),
}

/// Bytes charged per entry besides its content: the entry, its place in the map and the shared writer.
const ENTRY_OVERHEAD_BYTES: usize = 160;

impl Storage {
    /// An empty store.
    pub fn new(limits: StorageLimits) -> Self {
        Self {
            records: BTreeMap::new(),
            limits,
            usage: Usage::default(),
        }
    }

    /// Stores by the freshness rules; true if everything was kept.
    pub(crate) fn store(&mut self, new: NewRecord<'_>, now: f64) -> bool {
        self.drop_expired_of(&new.key, now);
        match new.subkey {
            Subkey::Regular => self.store_regular(new, now),
            Subkey::Entry(subkey) => self.store_entry(subkey, new, now),
            Subkey::WholeDictionary => self.store_dictionary(new, now),
        }
    }

    /// The live part of a record, or `None`.
    pub fn record(&self, key: &DhtId, now: f64) -> Option<DhtRecord> {
        let expiration = self.expiration(key, now)?;
        let value = match self.records.get(key)? {
            Kept::Regular(entry) => DhtValue::Regular(entry.value.clone()),
            Kept::Dictionary(entries) => {
                let mut dictionary = Dictionary::default();
                for (subkey, entry) in entries.iter().filter(|(_, entry)| entry.expiration > now) {
                    let entry = DictionaryEntry {
                        value: entry.value.clone(),
                        expiration: entry.expiration,
                    };
                    dictionary.insert_fresher(subkey.clone(), entry);
                }
                DhtValue::Dictionary(dictionary)
            }
        };
        Some(DhtRecord { value, expiration })
    }

    /// When a record vanishes, Unix seconds; `None` if there is none or it has expired.
    pub fn expiration(&self, key: &DhtId, now: f64) -> Option<f64> {
        self.records
            .get(key)
            .map(Kept::expiration)
            .filter(|expiration| *expiration > now)
    }

    /// All keys, expired ones included until they are swept.
    pub fn keys(&self) -> impl Iterator<Item = &DhtId> {
        self.records.keys()
    }

    /// Number of keys.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// True if nothing is stored.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Bytes charged, bookkeeping included.
    pub fn used_bytes(&self) -> usize {
        self.usage.total_bytes()
    }

    /// Forgets everything that has expired.
    pub fn sweep(&mut self, now: f64) {
        let usage = &mut self.usage;
        self.records.retain(|_, kept| kept.drop_expired(now, usage));
    }

    fn drop_expired_of(&mut self, key: &DhtId, now: f64) {
        if let Some(kept) = self.records.get_mut(key)
            && !kept.drop_expired(now, &mut self.usage)
        {
            self.records.remove(key);
        }
    }

    fn store_regular(&mut self, new: NewRecord<'_>, now: f64) -> bool {
        let stale = self
            .records
            .get(&new.key)
            .is_some_and(|kept| kept.expiration() >= new.expiration);
        if stale || !self.acceptable(&new, 0, now) {
            return false;
        }
        let added_bytes = entry_bytes(0, new.value.len());
        if !self.make_room(
            added_bytes,
            !self.records.contains_key(&new.key),
            new.writer,
            now,
        ) {
            return false;
        }
        self.remove(&new.key);
        self.usage.charge(new.writer, added_bytes);
        self.records
            .insert(new.key, Kept::Regular(Entry::new(&new)));
        true
    }

    fn store_entry(&mut self, subkey: &Bytes, new: NewRecord<'_>, now: f64) -> bool {
        let fresher = match self.records.get(&new.key) {
            None => true,
            Some(Kept::Regular(old)) => new.expiration > old.expiration,
            Some(Kept::Dictionary(entries)) => entries
                .get(subkey)
                .is_none_or(|old| new.expiration > old.expiration),
        };
        if !fresher || !self.acceptable(&new, subkey.len(), now) || !is_one_value(subkey) {
            return false;
        }
        let added_bytes = entry_bytes(subkey.len(), new.value.len());
        if !self.make_room(
            added_bytes,
            !self.records.contains_key(&new.key),
            new.writer,
            now,
        ) || !self.make_room_in_dictionary(&new, subkey)
        {
            return false;
        }
        if matches!(self.records.get(&new.key), Some(Kept::Regular(_))) {
            self.remove(&new.key);
        }
        self.usage.charge(new.writer, added_bytes);
        let kept = self
            .records
            .entry(new.key)
            .or_insert_with(|| Kept::Dictionary(BTreeMap::new()));
        if let Kept::Dictionary(entries) = kept {
            let subkey = Bytes::copy_from_slice(subkey);
            let subkey_bytes = subkey.len();
            if let Some(old) = entries.insert(subkey, Entry::new(&new)) {
                self.usage
                    .release(&old.writer, entry_bytes(subkey_bytes, old.value.len()));
            }
        }
        true
    }

    fn store_dictionary(&mut self, new: NewRecord<'_>, now: f64) -> bool {
        let Some(dictionary) = Dictionary::decode(new.value) else {
            return false;
        };
        let mut all_kept = true;
        for (subkey, entry) in dictionary.iter() {
            let one = NewRecord {
                value: &entry.value,
                expiration: entry.expiration,
                ..new
            };
            all_kept &= self.store_entry(subkey, one, now);
        }
        all_kept
    }

    fn acceptable(&self, new: &NewRecord<'_>, subkey_bytes: usize, now: f64) -> bool {
        // The comparison is false for NaN, which is refused with it.
        new.expiration > now
            && new.value.len() <= self.limits.max_value_bytes
            && subkey_bytes <= MAX_SUBKEY_BYTES
    }

    fn remove(&mut self, key: &DhtId) {
        if let Some(kept) = self.records.remove(key) {
            kept.release_all(&mut self.usage);
        }
    }
}

impl Entry {
    fn new(new: &NewRecord<'_>) -> Self {
        let value = Bytes::copy_from_slice(new.value);
        Self {
            value,
            expiration: new.expiration,
            writer: new.writer.clone(),
        }
    }
}

impl Kept {
    fn expiration(&self) -> f64 {
        match self {
            Self::Regular(entry) => entry.expiration,
            Self::Dictionary(entries) => {
                entries.values().fold(f64::NEG_INFINITY, |latest, entry| {
                    latest.max(entry.expiration)
                })
            }
        }
    }

    /// Drops expired entries; false if nothing is left.
    fn drop_expired(&mut self, now: f64, usage: &mut Usage) -> bool {
        match self {
            Self::Regular(entry) => {
                let live = entry.expiration > now;
                if !live {
                    usage.release(&entry.writer, entry_bytes(0, entry.value.len()));
                }
                live
            }
            Self::Dictionary(entries) => {
                entries.retain(|subkey, entry| {
                    let live = entry.expiration > now;
                    if !live {
                        usage.release(&entry.writer, entry_bytes(subkey.len(), entry.value.len()));
                    }
                    live
                });
                !entries.is_empty()
            }
        }
    }

    fn release_all(&self, usage: &mut Usage) {
        match self {
            Self::Regular(entry) => usage.release(&entry.writer, entry_bytes(0, entry.value.len())),
            Self::Dictionary(entries) => {
                for (subkey, entry) in entries {
                    usage.release(&entry.writer, entry_bytes(subkey.len(), entry.value.len()));
                }
            }
        }
    }
}

/// What an entry is charged, bytes.
fn entry_bytes(subkey_bytes: usize, value_bytes: usize) -> usize {
    subkey_bytes
        .saturating_add(value_bytes)
        .saturating_add(ENTRY_OVERHEAD_BYTES)
}

#[cfg(test)]
mod tests;
