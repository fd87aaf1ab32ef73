//! Who gives way when a store is full: the writer that holds the most.
//!
//! Newcomers get in as long as somebody holds more than they would; the heaviest writer loses what expires soonest.
//! So one flooding peer fills the store only until others come, and cannot push them out.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{Entry, Kept, NewRecord, Storage, entry_bytes};
use crate::dht::id::DhtId;

/// Bytes charged in total and per writer.
#[derive(Debug, Clone, Default)]
pub(super) struct Usage {
    total_bytes: usize,
    by_writer: BTreeMap<Bytes, usize>,
    swept_at: f64,
}

/// A 64th of the store is freed at a time, so that a full store is not searched for every record.
const FREED_SHARE: usize = 64;
/// An attempt to make room gives up after this many writers have given way.
const MAX_EVICTION_ROUNDS: usize = 8;

impl Usage {
    pub(super) fn total_bytes(&self) -> usize {
        self.total_bytes
    }

    pub(super) fn charge(&mut self, writer: &Bytes, bytes: usize) {
        self.total_bytes = self.total_bytes.saturating_add(bytes);
        let used = self.by_writer.entry(writer.clone()).or_default();
        *used = used.saturating_add(bytes);
    }

    pub(super) fn release(&mut self, writer: &Bytes, bytes: usize) {
        self.total_bytes = self.total_bytes.saturating_sub(bytes);
        if let Some(used) = self.by_writer.get_mut(writer) {
            *used = used.saturating_sub(bytes);
            if *used == 0 {
                self.by_writer.remove(writer);
            }
        }
    }

    fn of(&self, writer: &Bytes) -> usize {
        self.by_writer.get(writer).copied().unwrap_or(0)
    }

    fn heaviest(&self) -> Option<(Bytes, usize)> {
        self.by_writer
            .iter()
            .max_by_key(|(_, used)| **used)
            .map(|(writer, used)| (writer.clone(), *used))
    }
}

impl Storage {
    /// Frees room for `bytes` (and a key, if `new_key`); false if `writer` has no claim to it.
    pub(super) fn make_room(
        &mut self,
        bytes: usize,
        new_key: bool,
        writer: &Bytes,
        now: f64,
    ) -> bool {
        if self.fits(bytes, new_key) {
            return true;
        }
        if now >= self.usage.swept_at + 1.0 {
            self.usage.swept_at = now;
            self.sweep(now);
        }
        for _ in 0..MAX_EVICTION_ROUNDS {
            if self.fits(bytes, new_key) {
                return true;
            }
            let Some((heaviest, used)) = self.usage.heaviest() else {
                return false;
            };
            if used <= self.usage.of(writer).saturating_add(bytes) {
                return false;
            }
            self.evict_from(&heaviest);
        }
        self.fits(bytes, new_key)
    }

    /// Frees a place in the dictionary under `new.key`, by the same rule among its entries.
    pub(super) fn make_room_in_dictionary(&mut self, new: &NewRecord<'_>, subkey: &Bytes) -> bool {
        let Some(Kept::Dictionary(entries)) = self.records.get_mut(&new.key) else {
            return true;
        };
        let added_bytes = entry_bytes(subkey.len(), new.value.len());
        let mut used_bytes = entries
            .iter()
            .map(|(subkey, entry)| entry_bytes(subkey.len(), entry.value.len()))
            .sum::<usize>();
        if let Some(old) = entries.get(subkey) {
            used_bytes = used_bytes.saturating_sub(entry_bytes(subkey.len(), old.value.len()));
        }
        let full = !entries.contains_key(subkey) && entries.len() >= self.limits.max_subkeys;
        if !full && used_bytes.saturating_add(added_bytes) <= self.limits.max_record_bytes {
            return true;
        }
        let mut share: BTreeMap<&Bytes, usize> = BTreeMap::new();
        for (subkey, entry) in entries.iter() {
            let bytes = share.entry(&entry.writer).or_default();
            *bytes = bytes.saturating_add(entry_bytes(subkey.len(), entry.value.len()));
        }
        let own_bytes = share.get(new.writer).copied().unwrap_or(0);
        let Some((heaviest, heaviest_bytes)) = share.into_iter().max_by_key(|(_, bytes)| *bytes)
        else {
            return false;
        };
        if heaviest_bytes <= own_bytes.saturating_add(added_bytes) {
            return false;
        }
        let soonest = entries
            .iter()
            .filter(|(_, entry)| entry.writer == heaviest)
            .min_by(|(_, a), (_, b)| a.expiration.total_cmp(&b.expiration));
        let Some(victim) = soonest.map(|(subkey, _)| subkey.clone()) else {
            return false;
        };
        if let Some(old) = entries.remove(&victim) {
            let freed_bytes = entry_bytes(victim.len(), old.value.len());
            self.usage.release(&old.writer, freed_bytes);
            return used_bytes
                .saturating_sub(freed_bytes)
                .saturating_add(added_bytes)
                <= self.limits.max_record_bytes;
        }
        false
    }

    fn fits(&self, bytes: usize, new_key: bool) -> bool {
        let keys = self.records.len().saturating_add(usize::from(new_key));
        keys <= self.limits.max_keys
            && self.used_bytes().saturating_add(bytes) <= self.limits.max_total_bytes
    }

    /// Removes entries of one writer, soonest to expire first, until a share of the store is free.
    fn evict_from(&mut self, writer: &Bytes) {
        let mut held: Vec<(f64, DhtId, Option<Bytes>)> = Vec::new();
        for (key, kept) in &self.records {
            match kept {
                Kept::Regular(entry) if entry.writer == *writer => {
                    held.push((entry.expiration, *key, None))
                }
                Kept::Regular(_) => {}
                Kept::Dictionary(entries) => held.extend(
                    entries
                        .iter()
                        .filter(|(_, entry)| entry.writer == *writer)
                        .map(|(subkey, entry)| (entry.expiration, *key, Some(subkey.clone()))),
                ),
            }
        }
        held.sort_by(|a, b| a.0.total_cmp(&b.0));
        let goal_bytes = self
            .used_bytes()
            .saturating_sub(self.limits.max_total_bytes.div_ceil(FREED_SHARE));
        let goal_keys = self
            .records
            .len()
            .saturating_sub(self.limits.max_keys.div_ceil(FREED_SHARE));
        for (_, key, subkey) in held {
            self.remove_entry(&key, subkey.as_ref());
            if self.used_bytes() <= goal_bytes || self.records.len() <= goal_keys {
                break;
            }
        }
    }

    fn remove_entry(&mut self, key: &DhtId, subkey: Option<&Bytes>) {
        let Some(Kept::Dictionary(entries)) = self.records.get_mut(key) else {
            self.remove(key);
            return;
        };
        let removed: Option<(usize, Entry)> =
            subkey.and_then(|subkey| Some((subkey.len(), entries.remove(subkey)?)));
        let is_empty = entries.is_empty();
        if let Some((subkey_bytes, entry)) = removed {
            self.usage
                .release(&entry.writer, entry_bytes(subkey_bytes, entry.value.len()));
        }
        if is_empty {
            self.records.remove(key);
        }
    }
}
