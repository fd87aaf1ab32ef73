//! What can be wrong with a `config.json`.

use thiserror::Error;

/// What is wrong with a `config.json`. The model's publisher must act, or the operator must
/// choose another model.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// Not JSON, or a field is missing or of another type.
    #[error("cannot be read: {0}")]
    Malformed(#[source] serde_json::Error),
    /// A family that is not implemented.
    #[error("architecture {found} is not supported; supported: {supported}")]
    UnsupportedArchitecture {
        /// What the file names.
        found: String,
        /// All that would work, separated by commas.
        supported: String,
    },
    /// A field whose value makes no sense or is not implemented.
    #[error("{field}: {reason}")]
    Invalid {
        /// Name of the field as written in the file.
        field: &'static str,
        /// Value and accepted range.
        reason: String,
    },
}

impl ConfigError {
    pub(super) fn malformed(error: serde_json::Error) -> Self {
        Self::Malformed(error)
    }

    pub(crate) fn invalid(field: &'static str, reason: impl Into<String>) -> Self {
        Self::Invalid {
            field,
            reason: reason.into(),
        }
    }
}
