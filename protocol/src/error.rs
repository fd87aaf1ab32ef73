//! What a peer can get wrong (`DecodeError`) and what we cannot put on the wire (`EncodeError`).
//!
//! "Not all bytes are here yet" is no error: incremental decoders answer `Ok(None)` for it.

use std::borrow::Cow;

/// Bytes that do not mean what their sender claims, or that exceed a limit of [`crate::limits`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// A size or count is over its named limit; nothing of that size was allocated.
    #[error("{what} is {got}, the limit is {limit}")]
    LimitExceeded {
        /// What is too large, with its unit.
        what: &'static str,
        /// The claimed or actual size.
        got: u64,
        /// The largest accepted size.
        limit: u64,
    },
    /// The bytes do not follow their format.
    #[error("{what} is malformed: {reason}")]
    Malformed {
        /// What was being decoded.
        what: &'static str,
        /// What is wrong with it.
        reason: Cow<'static, str>,
    },
    /// A value has another type than the format asks for.
    #[error("{what} must be {expected}")]
    WrongType {
        /// The value's name on the wire.
        what: &'static str,
        /// The type that the reference accepts.
        expected: &'static str,
    },
    /// A required value is absent.
    #[error("{what} is missing")]
    Missing {
        /// The value's name on the wire.
        what: &'static str,
    },
    /// A well-formed name or code that we do not know.
    #[error("{what} {value:?} is not supported")]
    Unsupported {
        /// What kind of name or code it is.
        what: &'static str,
        /// The name or code itself, shortened to 64 bytes.
        value: String,
    },
}

impl DecodeError {
    pub(crate) fn malformed(what: &'static str, reason: impl Into<Cow<'static, str>>) -> Self {
        Self::Malformed {
            what,
            reason: reason.into(),
        }
    }

    pub(crate) fn unsupported(what: &'static str, value: impl ToString) -> Self {
        let mut value = value.to_string();
        truncate_text(&mut value, 64);
        Self::Unsupported { what, value }
    }

    /// Fails if `got` is over `limit`; called before anything of size `got` is allocated.
    pub(crate) fn check_limit(what: &'static str, got: u64, limit: u64) -> Result<(), Self> {
        if got > limit {
            return Err(Self::LimitExceeded { what, got, limit });
        }
        Ok(())
    }

    /// `check_limit` for a length in memory.
    pub(crate) fn check_len(what: &'static str, got: usize, limit: usize) -> Result<(), Self> {
        Self::check_limit(what, saturating_u64(got), saturating_u64(limit))
    }
}

/// A value of ours that the wire format cannot carry. Always a local mistake, never a peer's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// The encoded form would be over a limit that receivers enforce.
    #[error("{what} is {got}, the limit is {limit}")]
    LimitExceeded {
        /// What is too large, with its unit.
        what: &'static str,
        /// Its size.
        got: u64,
        /// The largest size that receivers accept.
        limit: u64,
    },
    /// A value that receivers would reject.
    #[error("{what} cannot be encoded: {reason}")]
    Invalid {
        /// The value's name on the wire.
        what: &'static str,
        /// Why receivers would reject it.
        reason: Cow<'static, str>,
    },
}

impl EncodeError {
    pub(crate) fn invalid(what: &'static str, reason: impl Into<Cow<'static, str>>) -> Self {
        Self::Invalid {
            what,
            reason: reason.into(),
        }
    }

    /// Fails if `got` is over `limit`.
    pub(crate) fn check_len(what: &'static str, got: usize, limit: usize) -> Result<(), Self> {
        if got > limit {
            return Err(Self::LimitExceeded {
                what,
                got: saturating_u64(got),
                limit: saturating_u64(limit),
            });
        }
        Ok(())
    }
}

/// Shortens `text` to at most `max_bytes`, never inside a character.
pub(crate) fn truncate_text(text: &mut String, max_bytes: usize) {
    let mut end = max_bytes.min(text.len());
    while !text.is_char_boundary(end) {
        end = end.saturating_sub(1);
    }
    text.truncate(end);
}

/// A length as `u64`; `usize` is never wider on a supported platform.
pub(crate) fn saturating_u64(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cut_between_characters() {
        let mut text = "aé".to_owned();
        truncate_text(&mut text, 2);
        assert_eq!(text, "a");
        truncate_text(&mut text, 10);
        assert_eq!(text, "a");
    }

    #[test]
    fn messages_name_the_thing_and_the_bound() {
        let error = DecodeError::check_len("frame bytes", 11, 10);
        assert_eq!(
            error.map_err(|e| e.to_string()),
            Err("frame bytes is 11, the limit is 10".to_owned())
        );
    }
}
