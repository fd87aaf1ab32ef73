//! What one rendering may take.
//!
//! | limit      | of what                                         | size                                      |
//! |------------|-------------------------------------------------|-------------------------------------------|
//! | fuel       | steps                                           | [`FUEL`] + [`FUEL_PER_NODE`] a node        |
//! | one value  | a value that gets a name                        | [`VALUE_BYTES`] + [`INPUT_TIMES`] × input |
//! | the result | the text                                        | as one value                              |
//! | all values | what is named, copied, joined or captured in all | [`WORK_BYTES`] + [`WORK_TIMES`] × input   |
//!
//! `input` is the size of the messages, tools and variables, `node` one of their values, so that an honest template has
//! room for any conversation, and a hostile one can only take what the conversation's size allows.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use minijinja::value::{Object, ObjectRepr, ValueKind};
use minijinja::{Error, ErrorKind, State, Value};

/// What is left to a rendering; it is in the context under [`BUDGET`].
#[derive(Debug)]
pub(super) struct Budget {
    value_bytes: usize,
    work: AtomicUsize,
}

/// A rendering wanted more than it may take.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Excess(String);

/// Name of the budget in the context.
pub(super) const BUDGET: &str = "__guard_budget";

impl Object for Budget {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }
}

impl Budget {
    /// For an input of this size.
    pub(super) fn of(input: usize) -> Self {
        Self {
            value_bytes: input
                .saturating_mul(INPUT_TIMES)
                .saturating_add(VALUE_BYTES),
            work: AtomicUsize::new(input.saturating_mul(WORK_TIMES).saturating_add(WORK_BYTES)),
        }
    }

    /// Bytes that one value, or the result, may have.
    pub(super) fn value_bytes(&self) -> usize {
        self.value_bytes
    }

    /// Takes `bytes` for work done or about to be done.
    ///
    /// # Errors
    /// [`Excess`].
    pub(super) fn spend(&self, bytes: usize) -> Result<(), Error> {
        let spent = self
            .work
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                left.checked_sub(bytes)
            });
        spent.map(drop).map_err(|left| {
            excess(format!(
                "all its values together are too large: {left} bytes were left"
            ))
        })
    }

    /// Takes the size of a text that is about to be made.
    ///
    /// # Errors
    /// [`Excess`].
    pub(super) fn make(&self, bytes: usize) -> Result<(), Error> {
        if bytes > self.value_bytes {
            return Err(self.too_large());
        }
        self.spend(bytes)
    }

    /// Weighs a value, and makes a list of what would only be computed when it is asked for.
    ///
    /// # Errors
    /// [`Excess`]: too large, or too deep.
    pub(super) fn keep(&self, value: Value) -> Result<Value, Error> {
        let value = if value.kind() == ValueKind::Iterable {
            let mut list = Vec::new();
            for item in value.try_iter()? {
                if list.len() >= self.value_bytes / NODE_BYTES {
                    return Err(self.too_large());
                }
                list.push(item);
            }
            Value::from(list)
        } else {
            value
        };
        let mut left = self.value_bytes;
        self.weigh(&value, 0, &mut left)?;
        self.spend(self.value_bytes - left)?;
        Ok(value)
    }

    fn weigh(&self, value: &Value, depth: usize, left: &mut usize) -> Result<(), Error> {
        if depth > MAX_DEPTH {
            return Err(excess(format!(
                "a value is nested more than {MAX_DEPTH} deep"
            )));
        }
        let text = value.as_str().map_or(0, str::len);
        *left = left
            .checked_sub(text.saturating_add(NODE_BYTES))
            .ok_or_else(|| self.too_large())?;
        match value.kind() {
            ValueKind::Seq | ValueKind::Iterable => {
                for item in value.try_iter()? {
                    self.weigh(&item, depth + 1, left)?;
                }
            }
            ValueKind::Map => {
                for key in value.try_iter()? {
                    let item = value.get_item(&key)?;
                    self.weigh(&key, depth + 1, left)?;
                    self.weigh(&item, depth + 1, left)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn too_large(&self) -> Error {
        excess(format!(
            "a value has more than the {} bytes that fit the size of the conversation",
            self.value_bytes
        ))
    }
}

/// The budget of a rendering.
///
/// # Errors
/// The template has put something else in its place.
pub(super) fn budget(state: &State<'_, '_>) -> Result<Arc<Budget>, Error> {
    state
        .lookup(BUDGET)
        .and_then(|value| value.downcast_object::<Budget>())
        .ok_or_else(|| excess("it has no budget".to_owned()))
}

/// Steps for an input of `nodes` values.
pub(super) fn fuel(nodes: usize) -> u64 {
    FUEL.saturating_add(FUEL_PER_NODE.saturating_mul(nodes as u64))
}

/// Whether a namespace is in a value: one in another could lead back to itself.
pub(super) fn has_namespace(value: &Value) -> bool {
    match value.kind() {
        ValueKind::Map if is_namespace(value) => true,
        ValueKind::Seq | ValueKind::Iterable => value
            .try_iter()
            .is_ok_and(|mut items| items.any(|item| has_namespace(&item))),
        ValueKind::Map => value.try_iter().is_ok_and(|mut keys| {
            keys.any(|key| value.get_item(&key).is_ok_and(|item| has_namespace(&item)))
        }),
        _ => false,
    }
}

fn is_namespace(value: &Value) -> bool {
    value
        .as_object()
        .is_some_and(|object| object.type_name().ends_with("Namespace"))
}

/// An error that says that the template wants too much.
pub(super) fn excess(reason: String) -> Error {
    Error::new(ErrorKind::InvalidOperation, reason.clone()).with_source(Excess(reason))
}

/// Steps of any rendering. Templates of current models take 100 to 1,000 before their first message.
const FUEL: u64 = 200_000;

/// Steps for each value of the input. Current templates take up to 100 for a message of two values.
const FUEL_PER_NODE: u64 = 500;

/// Bytes of any value: a template's own texts have a few thousand.
const VALUE_BYTES: usize = 256 * 1024;

/// Bytes of a value for each of the input: JSON spells some characters in six.
const INPUT_TIMES: usize = 6;

/// Bytes of all values: a thousand loops over a short conversation.
const WORK_BYTES: usize = 64 * 1024 * 1024;

/// Bytes of all values for each of the input: a template goes over a conversation a few times.
const WORK_TIMES: usize = 64;

/// Bytes that a value takes beside its text.
const NODE_BYTES: usize = 24;

/// How deep lists and maps may be nested: JSON schemas of tools go to ten or so; minijinja walks values by recursion.
const MAX_DEPTH: usize = 64;
