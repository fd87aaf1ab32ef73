//! The record that lists a model of the swarm, for monitors.
//!
//! Key `_petals.models`, subkey the model's prefix, value `map {num_blocks: int, repository: text
//! or nil}`. Monitors without configuration show only models whose repository is a Hugging Face
//! address. Prefixes that begin with `_` are not listed.
//! Source: Petals main, `data_structures.py`. Golden bytes: `petals.dht_value.4`.

use serde::{Deserialize, Serialize};

use crate::{
    error::{DecodeError, EncodeError},
    limits::{MAX_BLOCK_INDEX, MAX_NAME_BYTES, MAX_RECORD_BYTES},
    msgpack,
};

/// The DHT key under which all models of a swarm are listed.
pub const MODELS_KEY: &str = "_petals.models";

/// What every repository address begins with that a monitor shows.
pub const REPOSITORY_HOST: &str = "https://huggingface.co/";

/// One model of the swarm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelRecord {
    /// Blocks of the whole model, at least 1.
    pub num_blocks: usize,
    /// Where its weights are published.
    #[serde(default)]
    pub repository: Option<String>,
}

impl ModelRecord {
    /// The msgpack value for the DHT.
    ///
    /// # Errors
    /// `Invalid` for a number of blocks that readers would reject.
    pub fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        if self.num_blocks == 0 {
            return Err(EncodeError::invalid("num_blocks", "zero"));
        }
        rmp_serde::to_vec_named(self)
            .map_err(|error| EncodeError::invalid("model record", error.to_string()))
    }

    /// Reads the msgpack value; unknown keys are ignored.
    ///
    /// # Errors
    /// `Malformed` or `LimitExceeded`; skip such a record.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let value = msgpack::decode(bytes, "model record", MAX_RECORD_BYTES)?;
        msgpack::Fields::of(&value, "model record")?;
        let record: Self = rmpv::ext::from_value(value)
            .map_err(|error| DecodeError::malformed("model record", error.to_string()))?;
        if record.num_blocks == 0 {
            return Err(DecodeError::malformed("num_blocks", "zero"));
        }
        let blocks_limit = MAX_BLOCK_INDEX.saturating_add(1);
        DecodeError::check_len("num_blocks", record.num_blocks, blocks_limit)?;
        let repository_len = record.repository.as_ref().map_or(0, String::len);
        DecodeError::check_len("repository bytes", repository_len, MAX_NAME_BYTES)?;
        Ok(record)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::msgpack::{Value, encode, map};

    #[test]
    fn unknown_keys_are_ignored_and_bad_values_refused() {
        let extra = map([
            ("num_blocks", 4.into()),
            ("new", Value::Ext(0x40, vec![0x90])),
        ]);
        assert_eq!(
            ModelRecord::decode(&encode(&extra)),
            Ok(ModelRecord {
                num_blocks: 4,
                repository: None
            })
        );
        for bad in [
            map([("num_blocks", 0.into())]),
            map([("num_blocks", 4.0.into())]),
            map([("num_blocks", (-1).into())]),
            map([("num_blocks", 70_000.into())]),
            map([("num_blocks", 4.into()), ("repository", 1.into())]),
            map([("repository", Value::Nil)]),
            Value::Array(vec![4.into(), Value::Nil]),
        ] {
            assert!(ModelRecord::decode(&encode(&bad)).is_err(), "{bad}");
        }
        let empty = ModelRecord {
            num_blocks: 0,
            repository: None,
        };
        assert!(empty.encode().is_err());
    }

    proptest! {
        #[test]
        fn records_round_trip(num_blocks in 1_usize..60_000, repository in prop::option::of("\\PC{0,60}")) {
            let record = ModelRecord { num_blocks, repository };
            prop_assert_eq!(ModelRecord::decode(&record.encode().unwrap()), Ok(record));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = ModelRecord::decode(&bytes);
        }
    }
}
