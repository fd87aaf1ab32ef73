//! What an answer must look like: JSON, or JSON of a schema.
//!
//! The grammars are `llguidance`'s. A schema is read once, here, without a model ([`Constraint`]); with a model's
//! vocabulary it becomes a [`Follower`], which says before each token which ones may come.
//!
//! - `schema`: what is checked of a schema before anything is made of it
//! - `vocabulary`: the model's tokens as a tree of bytes
//! - `follower`: one answer's way through a grammar

use std::fmt;
use std::sync::Arc;

use llguidance::JsonCompileOptions;
use llguidance::api::{GrammarInit, TopLevelGrammar};
use serde_json::{Value, json};

mod follower;
mod schema;
mod vocabulary;

pub(crate) use follower::Follower;
pub(crate) use vocabulary::Vocabulary;

use vocabulary::limits;

/// What an answer must look like. Cheap to clone.
///
/// Blanks between the parts of JSON are one blank, or one newline and up to 32 blanks, so that an answer cannot go on
/// forever between two of them.
#[derive(Clone)]
pub struct Constraint {
    schema: Arc<Value>,
    grammar: Arc<GrammarInit>,
}

/// A schema that cannot be followed. The caller must change it, except where it says otherwise.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConstraintError {
    /// Too large or too deep to be worth reading.
    #[error("the schema has {what} than the {limit} that can be followed: make it smaller")]
    TooLarge {
        /// More of what.
        what: &'static str,
        /// How much it may have.
        limit: usize,
    },
    /// It is no schema, contradicts itself, or says something that cannot be followed.
    #[error("the schema cannot be followed: {0}: change it")]
    Unusable(String),
    /// The model's tokens cannot be told apart by their bytes; whoever serves the model must act.
    #[error("this model cannot follow a schema: {0}: use another model, or leave the schema out")]
    Model(String),
    /// This machine must act.
    #[error("no thread to read the schema with: {0}: free memory or raise the limit of threads")]
    NoThread(String),
}

impl Constraint {
    /// Any JSON object.
    ///
    /// # Errors
    /// [`ConstraintError::NoThread`].
    pub fn json_object() -> Result<Self, ConstraintError> {
        Self::json_schema(&json!({"type": "object"}))
    }

    /// JSON that is valid by a schema (draft 2020-12 and the older ones that it names). Properties come in the order of
    /// the schema. What the schema says and cannot be followed, such as `not`, is an error rather than ignored.
    ///
    /// Takes less than a millisecond for most schemas and about a second for the worst that is not refused: read those of
    /// strangers where they delay nobody, for example by `spawn_blocking`.
    ///
    /// # Errors
    /// [`ConstraintError::TooLarge`], [`ConstraintError::Unusable`], [`ConstraintError::NoThread`].
    pub fn json_schema(schema: &Value) -> Result<Self, ConstraintError> {
        schema::check(schema)?;
        let schema = Arc::new(schema.clone());
        let mut with_options = Value::clone(&schema);
        // Replaces what the schema itself may say here: it is the caller's, not ours.
        json_options().apply_to(&mut with_options);
        let grammar = on_deep_stack(move || {
            let written = TopLevelGrammar::from_json_schema(with_options);
            let read = GrammarInit::Serialized(written).to_internal(None, limits());
            let (grammar, lexer) = read.map_err(|error| first_line(&error))?;
            Ok(GrammarInit::Internal(grammar, lexer))
        })?;
        Ok(Self {
            schema,
            grammar: Arc::new(grammar),
        })
    }
}

impl PartialEq for Constraint {
    fn eq(&self, other: &Self) -> bool {
        self.schema == other.schema
    }
}

impl fmt::Debug for Constraint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_tuple("Constraint")
            .field(&self.schema)
            .finish()
    }
}

fn json_options() -> JsonCompileOptions {
    JsonCompileOptions {
        whitespace_pattern: Some(r"\x20|\x0A\x20{0,32}".to_owned()),
        ..JsonCompileOptions::default()
    }
}

/// Does what recurses as deep as a schema is nested, refers or has properties. `llguidance` turns its own panics into
/// errors, but a full stack is none.
fn on_deep_stack<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, ConstraintError> {
    let thread = std::thread::Builder::new()
        .name("schema".to_owned())
        .stack_size(STACK_BYTES)
        .spawn(work)
        .map_err(|error| ConstraintError::NoThread(error.to_string()))?;
    let done = thread.join();
    let done = done.unwrap_or_else(|_| Err("what reads it panicked".to_owned()));
    done.map_err(ConstraintError::Unusable)
}

/// What an error says in one line: a pattern's comes with a drawing of the place, others with what is meant for whoever
/// works on the grammars.
fn first_line(error: &impl fmt::Display) -> String {
    let text = error.to_string();
    let mut lines = text.lines();
    let first = lines.next().unwrap_or_default().trim();
    match lines.find_map(|line| line.strip_prefix("error: ")) {
        Some(reason) if first.ends_with(':') => format!("{first} {reason}"),
        _ => first.to_owned(),
    }
}

/// Only what is used of it becomes memory; a schema that is one long chain of references needs most.
const STACK_BYTES: usize = 64 * 1024 * 1024;

#[cfg(test)]
mod tests;
