//! Records as they were read from the DHT. Pure: time comes in.

use std::collections::BTreeMap;

use block_protocol::ServerRecord;
use block_protocol::dht::Dictionary;

use super::Records;

/// What the DHT held under the keys of a model's blocks: live records by peer.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Reading(BTreeMap<String, PeerRecords>);

/// The records of one peer.
#[derive(Debug, Clone, PartialEq)]
struct PeerRecords {
    /// By block number.
    blocks: BTreeMap<usize, ServerRecord>,
    /// Unix seconds: the last of them vanishes then.
    expiration: f64,
}

impl Reading {
    /// Adds what was found under the key of `block`. Records that have expired at `now` (Unix seconds), or do not
    /// decode, are skipped, as Petals does.
    pub fn add(&mut self, block: usize, found: &Dictionary, now: f64) {
        let live = found.text_entries();
        for (peer_id, entry) in live.filter(|(_, entry)| entry.expiration > now) {
            let record = match ServerRecord::decode(&entry.value) {
                Ok(record) => record,
                Err(error) => {
                    tracing::debug!(peer_id, block, %error, "a record is skipped");
                    continue;
                }
            };
            let peer = self.0.entry(peer_id.to_owned()).or_insert(PeerRecords {
                blocks: BTreeMap::new(),
                expiration: entry.expiration,
            });
            peer.expiration = peer.expiration.max(entry.expiration);
            peer.blocks.insert(block, record);
        }
    }

    /// Keeps of an `older` reading the peers that are missing here, until their records expire: a lookup that finds
    /// less than the last one met a gap in the DHT, since servers leave by a record that says so.
    pub fn keep_from(&mut self, older: Self, now: f64) {
        for (peer_id, records) in older.0 {
            if records.expiration > now {
                self.0.entry(peer_id).or_insert(records);
            }
        }
    }

    /// The records by block.
    #[must_use]
    pub fn records(&self) -> Records {
        let mut by_block = Records::new();
        for (peer_id, peer) in &self.0 {
            for (&block, record) in &peer.blocks {
                let servers = by_block.entry(block).or_default();
                servers.insert(peer_id.clone(), record.clone());
            }
        }
        by_block
    }
}

#[cfg(test)]
mod tests {
    use block_protocol::dht::{DictionaryEntry, text_subkey};
    use block_protocol::{ServerInfo, ServerState};
    use bytes::Bytes;

    use super::*;

    fn found(peer: &str, throughput: f64, expiration: f64) -> Dictionary {
        let record = ServerRecord {
            state: ServerState::Online,
            throughput,
            info: ServerInfo::default(),
        };
        let value = record.encode().unwrap().into();
        let mut dictionary = Dictionary::default();
        dictionary.insert_fresher(text_subkey(peer), DictionaryEntry { value, expiration });
        dictionary
    }

    fn reading(peer: &str, throughput: f64, expiration: f64, now: f64) -> Reading {
        let mut reading = Reading::default();
        reading.add(3, &found(peer, throughput, expiration), now);
        reading
    }

    #[test]
    fn expired_and_broken_records_are_skipped() {
        assert_eq!(reading("a", 1.0, 10.0, 10.0), Reading::default());
        let mut broken = Dictionary::default();
        let entry = DictionaryEntry {
            value: Bytes::from_static(b"\x01"),
            expiration: 10.0,
        };
        broken.insert_fresher(text_subkey("a"), entry);
        let mut reading = Reading::default();
        reading.add(0, &broken, 0.0);
        assert_eq!(reading.records(), Records::new());
    }

    #[test]
    fn a_gap_in_the_dht_does_not_lose_servers_but_time_does() {
        let old = reading("a", 1.0, 100.0, 0.0);
        let mut empty = Reading::default();
        empty.keep_from(old.clone(), 50.0);
        assert_eq!(empty, old);
        let mut late = Reading::default();
        late.keep_from(old.clone(), 100.0);
        assert_eq!(late, Reading::default());
        let mut newer = reading("a", 2.0, 200.0, 50.0);
        newer.keep_from(old, 50.0);
        assert_eq!(newer, reading("a", 2.0, 200.0, 50.0));
    }
}
