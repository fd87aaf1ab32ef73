//! Fields of a JSON object, each read with an error that names it. `null` is the same as a field that is not there.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use crate::api_error::ApiError;

/// The fields of one object of a request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fields<'a> {
    map: &'a Map<String, Value>,
    /// What their names begin with in errors: empty, or `messages[0].`.
    path: &'a str,
}

impl<'a> Fields<'a> {
    pub(crate) fn new(map: &'a Map<String, Value>) -> Self {
        Self { map, path: "" }
    }

    /// The fields of an object inside a request, at `path`, which ends in a dot.
    pub(crate) fn inside(map: &'a Map<String, Value>, path: &'a str) -> Self {
        Self { map, path }
    }

    pub(crate) fn get(&self, name: &str) -> Option<&'a Value> {
        self.map.get(name).filter(|value| !value.is_null())
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &'a str> {
        self.map.keys().map(String::as_str)
    }

    /// The error of a field that is not what it must be.
    pub(crate) fn wrong(&self, name: &str, expected: &str) -> ApiError {
        let path = self.path;
        let found = self.map.get(name).map_or("not there", kind);
        ApiError::invalid(
            format!("{path}{name}"),
            format!("{path}{name} must be {expected}, but it is {found}"),
        )
    }

    /// The error of a field that cannot be used here.
    pub(crate) fn refused(&self, name: &str, why: &str) -> ApiError {
        let path = self.path;
        ApiError::invalid(format!("{path}{name}"), format!("{path}{name}: {why}"))
    }

    fn read<T>(
        &self,
        name: &str,
        expected: &str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, ApiError> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        match read(value) {
            Some(value) => Ok(Some(value)),
            None => Err(self.wrong(name, expected)),
        }
    }

    pub(crate) fn text(&self, name: &str) -> Result<Option<&'a str>, ApiError> {
        self.read(name, "a string", Value::as_str)
    }

    pub(crate) fn flag(&self, name: &str) -> Result<Option<bool>, ApiError> {
        self.read(name, "true or false", Value::as_bool)
    }

    pub(crate) fn list(&self, name: &str) -> Result<Option<&'a [Value]>, ApiError> {
        self.read(name, "a list", |value| value.as_array().map(Vec::as_slice))
    }

    pub(crate) fn object(&self, name: &str) -> Result<Option<&'a Map<String, Value>>, ApiError> {
        self.read(name, "an object", Value::as_object)
    }

    /// A number in `range`.
    pub(crate) fn number(
        &self,
        name: &str,
        range: RangeInclusive<f32>,
    ) -> Result<Option<f32>, ApiError> {
        let expected = format!("a number from {} to {}", range.start(), range.end());
        self.read(name, &expected, |value| {
            #[expect(clippy::cast_possible_truncation, reason = "sampling is in f32")]
            let number = value.as_f64()? as f32;
            range.contains(&number).then_some(number)
        })
    }

    /// A whole number in `range`. `2.0` is one, as some clients write it.
    pub(crate) fn whole(
        &self,
        name: &str,
        range: RangeInclusive<usize>,
    ) -> Result<Option<usize>, ApiError> {
        let expected = if *range.end() == usize::MAX {
            format!("a whole number from {}", range.start())
        } else {
            format!("a whole number from {} to {}", range.start(), range.end())
        };
        self.read(name, &expected, |value| {
            let number = usize::try_from(whole(value)?).ok()?;
            range.contains(&number).then_some(number)
        })
    }

    /// Any whole number.
    pub(crate) fn integer(&self, name: &str) -> Result<Option<i64>, ApiError> {
        self.read(name, "a whole number", whole)
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "whole and far inside the range of i64"
)]
fn whole(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| {
        let number = value.as_f64()?;
        let is_whole = number.fract() == 0.0 && number.abs() < 2_f64.powi(53);
        is_whole.then_some(number as i64)
    })
}

/// What a value is, without its text: that may be private.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "another number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
