//! How a call's flat list of tensors maps to its arguments.
//!
//! The caller replaces each tensor of `(args, kwargs)` by the byte string `__T<index>` and sends
//! what is left as `args_structure`: `tuple(tuple(bin "__T0", bin "__T1"), map {})`. A tensor
//! used twice appears once in the list. Without a structure the tensors are the arguments.
//! Only the order of the positional arguments matters to servers; kwargs are ignored.
//!
//! Source: Petals main, `utils/packaging.py`; hivemind 1.1.12, `utils/nested.py`.

use crate::{
    error::DecodeError,
    limits::{MAX_POSITIONAL_ARGS, MAX_TENSORS_PER_MESSAGE},
    msgpack::{self, Value},
};

const WHAT: &str = "args_structure";
const PLACEHOLDER: &[u8] = b"__T";

/// For each positional argument the index of its tensor; `None` for an argument that is nil.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArgsStructure {
    positional: Vec<Option<usize>>,
}

impl ArgsStructure {
    /// The structure of `count` tensors that are the arguments in order.
    #[must_use]
    pub fn positional(count: usize) -> Self {
        Self {
            positional: (0..count).map(Some).collect(),
        }
    }

    /// Reads the value under `args_structure`.
    ///
    /// # Errors
    /// `Malformed` if it is not `(args, kwargs)` or an argument is neither a tensor nor nil;
    /// `LimitExceeded` for more than [`MAX_POSITIONAL_ARGS`] arguments.
    pub fn from_value(value: &Value) -> Result<Self, DecodeError> {
        let outer = msgpack::sequence(value, WHAT)?;
        let [args, _kwargs] = outer.as_slice() else {
            return Err(DecodeError::malformed(
                WHAT,
                "not a pair of args and kwargs",
            ));
        };
        let args = msgpack::sequence(args, WHAT)?;
        DecodeError::check_len("positional arguments", args.len(), MAX_POSITIONAL_ARGS)?;
        let positional = args.iter().map(argument).collect::<Result<_, _>>()?;
        Ok(Self { positional })
    }

    /// The value to send under `args_structure`.
    #[must_use]
    pub fn to_value(&self) -> Value {
        let args = self.positional.iter().map(|index| match index {
            Some(index) => Value::Binary(format!("__T{index}").into_bytes()),
            None => Value::Nil,
        });
        msgpack::tuple(vec![msgpack::tuple(args.collect()), Value::Map(Vec::new())])
    }

    /// The positional arguments out of the flat list `tensors`; an index may occur more than once.
    ///
    /// # Errors
    /// `Malformed` if the structure names a tensor that was not sent.
    pub fn resolve<T: Clone>(&self, tensors: &[T]) -> Result<Vec<Option<T>>, DecodeError> {
        let pick =
            |index: &Option<usize>| match index {
                None => Ok(None),
                Some(index) => tensors.get(*index).cloned().map(Some).ok_or_else(|| {
                    DecodeError::malformed(WHAT, "names a tensor that was not sent")
                }),
            };
        self.positional.iter().map(pick).collect()
    }
}

/// The positional arguments of a call: by `structure` if there is one, else the tensors in order.
///
/// # Errors
/// Those of [`ArgsStructure::resolve`].
pub fn resolve<T: Clone>(
    structure: Option<&ArgsStructure>,
    tensors: Vec<T>,
) -> Result<Vec<Option<T>>, DecodeError> {
    match structure {
        Some(structure) => structure.resolve(&tensors),
        None => Ok(tensors.into_iter().map(Some).collect()),
    }
}

fn argument(value: &Value) -> Result<Option<usize>, DecodeError> {
    if value.is_nil() {
        return Ok(None);
    }
    let index = msgpack::binary(value, WHAT)?
        .strip_prefix(PLACEHOLDER)
        .and_then(|digits| std::str::from_utf8(digits).ok())
        .and_then(|digits| digits.parse::<usize>().ok())
        .ok_or_else(|| DecodeError::malformed(WHAT, "an argument is not a tensor"))?;
    DecodeError::check_len("tensor index", index, MAX_TENSORS_PER_MESSAGE)?;
    Ok(Some(index))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn structure(args: Vec<Value>) -> Result<ArgsStructure, DecodeError> {
        ArgsStructure::from_value(&Value::Array(vec![Value::Array(args), Value::Nil]))
    }

    #[test]
    fn arguments_may_repeat_skip_and_be_nil() {
        let bin = |text: &str| Value::Binary(text.into());
        let parsed = structure(vec![bin("__T1"), Value::Nil, bin("__T1")]).unwrap();
        assert_eq!(
            parsed.resolve(&['a', 'b']),
            Ok(vec![Some('b'), None, Some('b')])
        );
        assert!(parsed.resolve(&['a']).is_err());
    }

    #[test]
    fn without_a_structure_tensors_are_positional() {
        assert_eq!(resolve(None, vec![1, 2]), Ok(vec![Some(1), Some(2)]));
    }

    #[test]
    fn anything_but_a_tensor_or_nil_is_refused() {
        for bad in [
            Value::from(1),
            "__T0".into(),
            Value::Binary(b"__T".to_vec()),
            Value::Binary(b"__Tx".to_vec()),
            Value::Binary(b"__T99999999999999999999".to_vec()),
            Value::Binary(b"__T1000".to_vec()),
            Value::Array(vec![]),
        ] {
            assert!(structure(vec![bad.clone()]).is_err(), "{bad}");
        }
        assert!(structure(vec![Value::Nil; MAX_POSITIONAL_ARGS + 1]).is_err());
        assert!(ArgsStructure::from_value(&Value::Nil).is_err());
        assert!(ArgsStructure::from_value(&msgpack::tuple(vec![])).is_err());
    }

    proptest! {
        #[test]
        fn structures_round_trip(positional in prop::collection::vec(
            prop::option::of(0..=MAX_TENSORS_PER_MESSAGE), 0..MAX_POSITIONAL_ARGS,
        )) {
            let structure = ArgsStructure { positional };
            prop_assert_eq!(ArgsStructure::from_value(&structure.to_value()), Ok(structure));
        }
    }
}
