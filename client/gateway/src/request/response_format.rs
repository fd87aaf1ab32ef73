//! `response_format`: free text, JSON, or JSON of a schema.

use block_client::{Constraint, ConstraintError};
use serde_json::Value;

use super::fields::Fields;
use crate::api_error::{ApiError, ErrorCode};

/// What an answer must look like.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) enum ResponseFormat {
    /// Anything.
    #[default]
    Text,
    /// A JSON object.
    JsonObject,
    /// JSON that is valid by this schema.
    JsonSchema(Value),
}

impl ResponseFormat {
    /// Reads it.
    ///
    /// # Errors
    /// A format that is none, or a schema that is missing.
    pub(super) fn read(fields: &Fields<'_>) -> Result<Self, ApiError> {
        let Some(format) = fields.object(FIELD)? else {
            return Ok(Self::Text);
        };
        match format.get("type").and_then(Value::as_str) {
            Some("text") => Ok(Self::Text),
            Some("json_object") => Ok(Self::JsonObject),
            Some("json_schema") => {
                let wanted = Fields::inside(format, "response_format.").object("json_schema")?;
                match wanted.and_then(|wanted| wanted.get("schema")) {
                    Some(schema) => Ok(Self::JsonSchema(schema.clone())),
                    None => Err(fields.refused(FIELD, "json_schema.schema is missing")),
                }
            }
            _ => Err(fields.refused(FIELD, "type must be text, json_object or json_schema")),
        }
    }

    /// What holds answers to it; `None` for free text. Takes up to a second: call it where it delays nobody.
    ///
    /// # Errors
    /// A schema that cannot be followed.
    pub(crate) fn constraint(&self) -> Result<Option<Constraint>, ApiError> {
        let constraint = match self {
            Self::Text => return Ok(None),
            Self::JsonObject => Constraint::json_object(),
            Self::JsonSchema(schema) => Constraint::json_schema(schema),
        };
        constraint.map(Some).map_err(|error| match error {
            ConstraintError::NoThread(_) => {
                ApiError::new(ErrorCode::InternalError, error.to_string())
            }
            _ => ApiError::invalid(FIELD, format!("{FIELD}: {error}")),
        })
    }
}

const FIELD: &str = "response_format";
