//! Hivemind's msgpack dialect over [`rmpv`].
//!
//! Standard msgpack plus three extension types; Python floats are always 64-bit (`cb`), integers
//! take the shortest form, and a list is not a tuple. Extension bodies stay encoded until asked
//! for, so nesting through them is bounded by the formats that ask.
//!
//! | code | meaning               | body                                           |
//! |-----:|-----------------------|------------------------------------------------|
//! | 0x40 | tuple                 | msgpack array of the elements                  |
//! | 0x50 | `DictionaryDHTValue`  | msgpack array, see `dht`                       |
//! | 0x51 | tensor descriptor     | msgpack map, see [`crate::TensorDescriptor`]   |
//!
//! Source: hivemind 1.1.12, `utils/serializer.py`. Golden bytes: `msgpack.*`.

mod cursor;
mod read;
mod scan;

pub(crate) use cursor::{Cursor, is_one_value};

pub use read::{Fields, binary, count, flag, float, name, names, number, sequence, text, unsigned};
pub use rmpv::Value;

use crate::error::DecodeError;

/// Extension code of a Python tuple.
pub const EXT_TUPLE: i8 = 0x40;
/// Extension code of a dictionary record of the DHT.
pub const EXT_DICTIONARY: i8 = 0x50;
/// Extension code of a tensor descriptor.
pub const EXT_DESCRIPTOR: i8 = 0x51;

/// Decodes `bytes` as exactly one value of at most `max_bytes`.
///
/// # Errors
/// `LimitExceeded` for size, depth ([`crate::limits::MAX_MSGPACK_DEPTH`]) or number of values
/// ([`crate::limits::MAX_MSGPACK_VALUES`]), `Malformed` for anything else; found out by a scan
/// that allocates nothing.
pub fn decode(bytes: &[u8], what: &'static str, max_bytes: usize) -> Result<Value, DecodeError> {
    DecodeError::check_len(what, bytes.len(), max_bytes)?;
    scan::check(bytes, what)?;
    let mut rest = bytes;
    rmpv::decode::read_value(&mut rest)
        .map_err(|error| DecodeError::malformed(what, error.to_string()))
}

/// The bytes of `value`.
#[must_use]
pub fn encode(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    rmpv::encode::write_value(&mut out, value).expect("invariant: writing to a Vec cannot fail");
    out
}

/// A Python tuple of `items`.
#[must_use]
pub fn tuple(items: Vec<Value>) -> Value {
    Value::Ext(EXT_TUPLE, encode(&Value::Array(items)))
}

/// A map with text keys, in the given order.
#[must_use]
pub fn map<const N: usize>(entries: [(&str, Value); N]) -> Value {
    Value::Map(
        entries
            .into_iter()
            .map(|(key, value)| (key.into(), value))
            .collect(),
    )
}

/// A Python tuple of texts.
#[must_use]
pub fn text_tuple(names: &[String]) -> Value {
    tuple(names.iter().map(|name| name.as_str().into()).collect())
}

/// `value` as `make` writes it, nil if there is none.
pub fn nullable<T>(value: Option<T>, make: impl FnOnce(T) -> Value) -> Value {
    value.map_or(Value::Nil, make)
}

/// A length or position as a msgpack integer.
#[must_use]
pub fn integer(value: usize) -> Value {
    Value::from(crate::error::saturating_u64(value))
}

#[cfg(test)]
mod tests;
