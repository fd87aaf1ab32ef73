//! The models that a swarm lists.

use block_network::{Dht, DhtError, unix_time};
use block_protocol::ModelRecord;
use block_protocol::dht::Dictionary;
use block_protocol::model_record::MODELS_KEY;
use block_protocol::uid::validate_prefix;

/// A model listed under `_petals.models`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegisteredModel {
    /// Key prefix of its blocks.
    pub dht_prefix: String,
    /// Blocks of the whole model, at least 1.
    pub num_blocks: usize,
    /// Where its weights are published.
    pub repository: Option<String>,
}

/// Models that are listed at most; anybody may write there.
const MAX_MODELS: usize = 1024;

/// The models listed now, by prefix.
pub(crate) async fn read(dht: &Dht) -> Result<Vec<RegisteredModel>, DhtError> {
    let found = dht.dictionaries(&[MODELS_KEY]).await?;
    let now = unix_time();
    Ok(found
        .first()
        .map_or_else(Vec::new, |found| models(found, now)))
}

/// Entries that have expired at `now` (Unix seconds) or make no sense are skipped.
fn models(found: &Dictionary, now: f64) -> Vec<RegisteredModel> {
    let live = found
        .text_entries()
        .filter(|(prefix, entry)| entry.expiration > now && validate_prefix(prefix).is_ok());
    let decoded = live.filter_map(|(prefix, entry)| {
        let record = ModelRecord::decode(&entry.value).ok()?;
        Some(RegisteredModel {
            dht_prefix: prefix.to_owned(),
            num_blocks: record.num_blocks,
            repository: record.repository,
        })
    });
    let mut models: Vec<_> = decoded.take(MAX_MODELS).collect();
    models.sort_by(|one, other| one.dht_prefix.cmp(&other.dht_prefix));
    models
}

#[cfg(test)]
mod tests {
    use block_protocol::dht::{DictionaryEntry, text_subkey};
    use bytes::Bytes;

    use super::*;

    #[test]
    fn models_are_sorted_and_what_makes_no_sense_is_skipped() {
        let record = |num_blocks| {
            let repository = None;
            let record = ModelRecord {
                num_blocks,
                repository,
            };
            Bytes::from(record.encode().unwrap())
        };
        let mut found = Dictionary::default();
        for (prefix, value, expiration) in [
            ("zeta-hf", record(8), 10.0),
            ("alpha-hf", record(32), 10.0),
            ("gone-hf", record(8), 5.0),
            ("with space", record(8), 10.0),
            ("broken-hf", Bytes::from_static(b"\xc0"), 10.0),
        ] {
            let entry = DictionaryEntry { value, expiration };
            found.insert_fresher(text_subkey(prefix), entry);
        }
        let models = models(&found, 5.0);
        let models: Vec<_> = models
            .iter()
            .map(|model| (model.dht_prefix.as_str(), model.num_blocks))
            .collect();
        assert_eq!(models, [("alpha-hf", 32), ("zeta-hf", 8)]);
    }
}
