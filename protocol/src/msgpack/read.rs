//! Typed access to msgpack values, as strict as the reference's validation.

use super::{EXT_TUPLE, Value, decode};
use crate::{
    error::DecodeError,
    limits::{MAX_LISTED_NAMES, MAX_NAME_BYTES},
};

/// The entries of a map with text keys. Unknown keys are ignored; of equal keys the last counts,
/// as in Python.
#[derive(Debug, Clone, Copy)]
pub struct Fields<'a> {
    entries: &'a [(Value, Value)],
}

impl<'a> Fields<'a> {
    /// The entries of `value`.
    ///
    /// # Errors
    /// `WrongType` if it is not a map.
    pub fn of(value: &'a Value, what: &'static str) -> Result<Self, DecodeError> {
        let entries = value.as_map().ok_or(DecodeError::WrongType {
            what,
            expected: "a map",
        })?;
        Ok(Self { entries })
    }

    /// The value under `key`; `None` if it is absent or nil.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&'a Value> {
        self.entries
            .iter()
            .rev()
            .find(|(name, _)| name.as_str() == Some(key))
            .map(|(_, value)| value)
            .filter(|value| !value.is_nil())
    }

    /// The value under `key` as `read` takes it; `None` if it is absent or nil.
    ///
    /// # Errors
    /// Those of `read`.
    pub fn optional<T>(
        &self,
        key: &'static str,
        read: impl FnOnce(&'a Value, &'static str) -> Result<T, DecodeError>,
    ) -> Result<Option<T>, DecodeError> {
        self.get(key).map(|value| read(value, key)).transpose()
    }

    /// The value under `key` as `read` takes it.
    ///
    /// # Errors
    /// `Missing` if it is absent or nil, otherwise those of `read`.
    pub fn required<T>(
        &self,
        key: &'static str,
        read: impl FnOnce(&'a Value, &'static str) -> Result<T, DecodeError>,
    ) -> Result<T, DecodeError> {
        self.optional(key, read)?
            .ok_or(DecodeError::Missing { what: key })
    }
}

/// A boolean; integers are not accepted.
///
/// # Errors
/// `WrongType` for anything else.
pub fn flag(value: &Value, what: &'static str) -> Result<bool, DecodeError> {
    value.as_bool().ok_or(DecodeError::WrongType {
        what,
        expected: "a boolean",
    })
}

/// A non-negative integer; booleans and floats are not accepted.
///
/// # Errors
/// `WrongType` for anything else.
pub fn unsigned(value: &Value, what: &'static str) -> Result<u64, DecodeError> {
    value.as_u64().ok_or(DecodeError::WrongType {
        what,
        expected: "a non-negative integer",
    })
}

/// A float, 32 or 64 bits wide; integers are not accepted, as in the reference's strict fields.
///
/// # Errors
/// `WrongType` for anything else.
pub fn float(value: &Value, what: &'static str) -> Result<f64, DecodeError> {
    if let Value::F64(number) = value {
        return Ok(*number);
    }
    if let Value::F32(number) = value {
        return Ok(f64::from(*number));
    }
    Err(DecodeError::WrongType {
        what,
        expected: "a float",
    })
}

/// A float or an integer, for the few places where the reference takes either.
///
/// # Errors
/// `WrongType` for anything else.
pub fn number(value: &Value, what: &'static str) -> Result<f64, DecodeError> {
    value.as_f64().ok_or(DecodeError::WrongType {
        what,
        expected: "a number",
    })
}

/// UTF-8 text; byte strings are not accepted.
///
/// # Errors
/// `WrongType` for anything else.
pub fn text<'a>(value: &'a Value, what: &'static str) -> Result<&'a str, DecodeError> {
    value.as_str().ok_or(DecodeError::WrongType {
        what,
        expected: "text",
    })
}

/// A byte string; text is not accepted.
///
/// # Errors
/// `WrongType` for anything else.
pub fn binary<'a>(value: &'a Value, what: &'static str) -> Result<&'a [u8], DecodeError> {
    if let Value::Binary(bytes) = value {
        return Ok(bytes);
    }
    Err(DecodeError::WrongType {
        what,
        expected: "a byte string",
    })
}

/// The elements of a tuple or of a list: readers of the reference accept both.
///
/// # Errors
/// `WrongType` for anything else, `Malformed` if a tuple's body is not an array.
pub fn sequence(value: &Value, what: &'static str) -> Result<Vec<Value>, DecodeError> {
    if let Value::Array(items) = value {
        return Ok(items.clone());
    }
    if let Value::Ext(EXT_TUPLE, body) = value {
        // The body is no larger than the value around it, which was checked already.
        if let Value::Array(items) = decode(body, what, body.len())? {
            return Ok(items);
        }
        return Err(DecodeError::malformed(what, "a tuple without an array"));
    }
    Err(DecodeError::WrongType {
        what,
        expected: "a tuple or list",
    })
}

/// Text of at most [`MAX_NAME_BYTES`].
///
/// # Errors
/// `WrongType` or `LimitExceeded`.
pub fn name(value: &Value, what: &'static str) -> Result<String, DecodeError> {
    let name = text(value, what)?;
    DecodeError::check_len(what, name.len(), MAX_NAME_BYTES)?;
    Ok(name.to_owned())
}

/// A tuple or list of at most [`MAX_LISTED_NAMES`] names.
///
/// # Errors
/// `WrongType`, `Malformed` or `LimitExceeded`.
pub fn names(value: &Value, what: &'static str) -> Result<Vec<String>, DecodeError> {
    let items = sequence(value, what)?;
    DecodeError::check_len(what, items.len(), MAX_LISTED_NAMES)?;
    items.iter().map(|item| name(item, what)).collect()
}

/// A non-negative integer that counts things in memory.
///
/// # Errors
/// `WrongType`, or `Malformed` if it is wider than a memory size.
pub fn count(value: &Value, what: &'static str) -> Result<usize, DecodeError> {
    usize::try_from(unsigned(value, what)?)
        .map_err(|_| DecodeError::malformed(what, "does not fit memory"))
}
