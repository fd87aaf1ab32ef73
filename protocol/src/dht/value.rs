//! What a key holds: one value, or a dictionary of values with an expiration each.
//!
//! | piece of the dictionary | msgpack                                             |
//! |-------------------------|-----------------------------------------------------|
//! | the whole               | ext 0x50 around an array of three                    |
//! | maximum size            | f64, `+inf` = no maximum; ignored by us              |
//! | latest expiration       | f64, `-inf` when empty                               |
//! | entries                 | array of `[subkey (any value), bin value, f64 expiration]` |
//!
//! Source: hivemind 1.1.12, `dht/storage.py`; golden: `msgpack.DictionaryDHTValue`.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::limits::{MAX_SUBKEY_BYTES, MAX_SUBKEYS};
use super::raw_msgpack;
use crate::msgpack::Cursor;

/// Extension type of a whole dictionary.
const DICTIONARY_EXTENSION: u8 = 0x50;

/// Value of a key.
#[derive(Debug, Clone, PartialEq)]
pub enum DhtValue {
    /// One value, msgpack, verbatim as its author sent it.
    Regular(Bytes),
    /// Values under subkeys.
    Dictionary(Dictionary),
}

/// A value with the time at which it vanishes.
#[derive(Debug, Clone, PartialEq)]
pub struct DhtRecord {
    /// What the key holds.
    pub value: DhtValue,
    /// Unix seconds; of a dictionary the latest of its entries.
    pub expiration: f64,
}

/// One entry of a dictionary.
#[derive(Debug, Clone, PartialEq)]
pub struct DictionaryEntry {
    /// The value, msgpack, verbatim.
    pub value: Bytes,
    /// Unix seconds.
    pub expiration: f64,
}

/// Values by subkey; a subkey is any msgpack value, kept as its bytes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Dictionary {
    entries: BTreeMap<Bytes, DictionaryEntry>,
}

impl Dictionary {
    /// Adds an entry if the subkey is absent or holds one that expires earlier; true if it was added.
    pub fn insert_fresher(&mut self, subkey: Bytes, entry: DictionaryEntry) -> bool {
        let fresher = self
            .entries
            .get(&subkey)
            .is_none_or(|old| entry.expiration > old.expiration);
        if fresher {
            self.entries.insert(subkey, entry);
        }
        fresher
    }

    /// Takes over every entry of `other` that is fresher than ours.
    pub fn merge(&mut self, other: Self) {
        for (subkey, entry) in other.entries {
            self.insert_fresher(subkey, entry);
        }
    }

    /// The entry under a subkey given in its msgpack form.
    pub fn entry(&self, subkey: &[u8]) -> Option<&DictionaryEntry> {
        self.entries.get(subkey)
    }

    /// Subkeys (msgpack) and entries, ordered by the bytes of the subkey.
    pub fn iter(&self) -> impl Iterator<Item = (&Bytes, &DictionaryEntry)> {
        self.entries.iter()
    }

    /// Entries whose subkey is text, as Petals' are.
    pub fn text_entries(&self) -> impl Iterator<Item = (&str, &DictionaryEntry)> {
        self.entries
            .iter()
            .filter_map(|(subkey, entry)| Some((text_of(subkey)?, entry)))
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True if there is no entry.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Forgets the entries that have expired at `now`, Unix seconds.
    pub fn drop_expired(&mut self, now: f64) {
        self.entries.retain(|_, entry| entry.expiration > now);
    }

    /// Latest expiration of all entries, Unix seconds; `-inf` when empty.
    pub fn latest_expiration(&self) -> f64 {
        self.entries
            .values()
            .fold(f64::NEG_INFINITY, |latest, entry| {
                latest.max(entry.expiration)
            })
    }

    /// The ext 0x50 form.
    pub fn encode(&self) -> Bytes {
        let mut body = vec![0x93];
        raw_msgpack::push_f64(f64::INFINITY, &mut body);
        raw_msgpack::push_f64(self.latest_expiration(), &mut body);
        raw_msgpack::push_array_header(self.entries.len(), &mut body);
        for (subkey, entry) in &self.entries {
            body.push(0x93);
            body.extend_from_slice(subkey);
            raw_msgpack::push_binary(&entry.value, &mut body);
            raw_msgpack::push_f64(entry.expiration, &mut body);
        }
        let mut out = Vec::with_capacity(body.len().saturating_add(6));
        raw_msgpack::push_extension(DICTIONARY_EXTENSION, &body, &mut out);
        out.into()
    }

    /// Reads the ext 0x50 form; `None` unless it is exactly that and within the limits. Entries share `bytes`.
    pub fn decode(bytes: &Bytes) -> Option<Self> {
        let mut outer = Cursor::new(bytes);
        let (code, body) = outer.extension()?;
        if code != DICTIONARY_EXTENSION || !outer.is_empty() {
            return None;
        }
        let mut cursor = Cursor::new(body);
        if cursor.array_length()? != 3 {
            return None;
        }
        cursor.number()?;
        cursor.number()?;
        let count = cursor.array_length()?;
        if count > MAX_SUBKEYS {
            return None;
        }
        let mut dictionary = Self::default();
        for _ in 0..count {
            if cursor.array_length()? != 3 {
                return None;
            }
            let subkey = cursor.value()?;
            let value = cursor.binary()?;
            let expiration = cursor.number()?;
            if subkey.len() > MAX_SUBKEY_BYTES || expiration.is_nan() {
                return None;
            }
            let entry = DictionaryEntry {
                value: bytes.slice_ref(value),
                expiration,
            };
            dictionary.insert_fresher(bytes.slice_ref(subkey), entry);
        }
        cursor.is_empty().then_some(dictionary)
    }
}

/// msgpack form of a text key, subkey or value.
pub fn text_subkey(text: &str) -> Bytes {
    raw_msgpack::text(text).into()
}

/// The text of a subkey in msgpack form, or `None` if it is something else.
pub fn text_of(subkey: &[u8]) -> Option<&str> {
    let mut cursor = Cursor::new(subkey);
    let text = cursor.text()?;
    cursor.is_empty().then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(value: &'static [u8], expiration: f64) -> DictionaryEntry {
        DictionaryEntry {
            value: Bytes::from_static(value),
            expiration,
        }
    }

    #[test]
    fn an_empty_dictionary_survives() {
        let bytes = Dictionary::default().encode();
        assert_eq!(Dictionary::decode(&bytes), Some(Dictionary::default()));
        assert_eq!(Dictionary::default().latest_expiration(), f64::NEG_INFINITY);
    }

    #[test]
    fn every_proper_prefix_is_refused() {
        let mut dictionary = Dictionary::default();
        dictionary.insert_fresher(text_subkey("one"), entry(b"\x01", 5.0));
        dictionary.insert_fresher(text_subkey("two"), entry(b"\x02", 7.0));
        let bytes = dictionary.encode();
        assert_eq!(Dictionary::decode(&bytes), Some(dictionary));
        for length in 0..bytes.len() {
            assert_eq!(
                Dictionary::decode(&bytes.slice(..length)),
                None,
                "prefix of {length}"
            );
        }
    }

    #[test]
    fn only_a_later_expiration_replaces() {
        let mut dictionary = Dictionary::default();
        let subkey = text_subkey("a");
        assert!(dictionary.insert_fresher(subkey.clone(), entry(b"\x01", 5.0)));
        assert!(!dictionary.insert_fresher(subkey.clone(), entry(b"\x02", 5.0)));
        assert!(dictionary.insert_fresher(subkey.clone(), entry(b"\x03", 5.5)));
        assert_eq!(dictionary.entry(&subkey), Some(&entry(b"\x03", 5.5)));
        dictionary.drop_expired(5.5);
        assert!(dictionary.is_empty());
    }

    #[test]
    fn a_nan_expiration_is_refused() {
        let mut dictionary = Dictionary::default();
        dictionary.insert_fresher(text_subkey("a"), entry(b"\x01", f64::NAN));
        assert_eq!(Dictionary::decode(&dictionary.encode()), None);
    }
}
