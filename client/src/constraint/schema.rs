//! What is checked of a schema before anything is made of it.

use serde_json::Value;

use super::ConstraintError;

/// # Errors
/// [`ConstraintError`]: it is no object, or larger or deeper than what is worth reading.
pub(super) fn check(schema: &Value) -> Result<(), ConstraintError> {
    if !schema.is_object() {
        return Err(ConstraintError::Unusable("it is no JSON object".to_owned()));
    }
    let mut bytes = 0_usize;
    let mut open = vec![(schema, 1)];
    while let Some((value, depth)) = open.pop() {
        if depth > MAX_DEPTH {
            return too_large("more levels", MAX_DEPTH);
        }
        bytes += SCALAR_BYTES;
        match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
            Value::String(text) => bytes += text.len(),
            Value::Array(items) => open.extend(items.iter().map(|item| (item, depth + 1))),
            Value::Object(fields) => {
                if fields.len() > MAX_FIELDS {
                    return too_large("more keys in one object", MAX_FIELDS);
                }
                for (key, field) in fields {
                    bytes += key.len() + SCALAR_BYTES;
                    open.push((field, depth + 1));
                }
            }
        }
        if bytes > MAX_BYTES {
            return too_large("more bytes", MAX_BYTES);
        }
    }
    Ok(())
}

fn too_large(what: &'static str, limit: usize) -> Result<(), ConstraintError> {
    Err(ConstraintError::TooLarge { what, limit })
}

/// Largest schema: what is made of one grows with its square at worst, which for this is about a second of work.
const MAX_BYTES: usize = 64 * 1024;

/// Levels of JSON; an object in an object is two of them. Schemas that people write have ten or twenty.
const MAX_DEPTH: usize = 64;

/// Keys of one object, `properties` among them: each property that may be left out takes part in every step of the
/// grammar, which with more than 500 of them gives up.
const MAX_FIELDS: usize = 500;

/// Quotes, commas, brackets, short numbers.
const SCALAR_BYTES: usize = 3;
