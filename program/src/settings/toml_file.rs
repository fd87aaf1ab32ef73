//! Keys of a TOML file, with their lines.

use std::path::Path;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::file::{RawEntry, line_of, wrong};
use super::value::FileValue;
use crate::error_report::Failure;

/// Every key at the top and in a table, in the order of lines.
///
/// # Errors
/// Not TOML; the failure names the line (exit 78).
pub(super) fn entries(text: &str, path: &Path) -> Result<Vec<RawEntry>, Failure> {
    let table = DeTable::parse(text).map_err(|error| {
        let line = error.span().map_or(1, |span| line_of(text, span.start));
        wrong(path, line, "not valid TOML").cause(error.message())
    })?;
    let mut entries = Vec::new();
    for (key, value) in table.get_ref() {
        match value.get_ref() {
            DeValue::Table(inner) => entries.extend(
                inner
                    .iter()
                    .map(|(inner_key, inner)| entry(text, Some(key.get_ref()), inner_key, inner)),
            ),
            _ => entries.push(entry(text, None, key, value)),
        }
    }
    entries.sort_by_key(|entry| entry.line);
    Ok(entries)
}

fn entry(
    text: &str,
    table: Option<&str>,
    key: &Spanned<DeString<'_>>,
    value: &Spanned<DeValue<'_>>,
) -> RawEntry {
    RawEntry {
        table: table.map(ToOwned::to_owned),
        key: key.get_ref().to_string(),
        line: line_of(text, key.span().start),
        value: file_value(value.get_ref()),
        span: Some(value.span()),
    }
}

fn file_value(value: &DeValue<'_>) -> FileValue {
    match value {
        DeValue::Boolean(on) => FileValue::Switch(*on),
        DeValue::Integer(number) => FileValue::Number(number.to_string()),
        DeValue::Float(number) => FileValue::Number(number.to_string()),
        DeValue::String(text) => FileValue::Text(text.to_string()),
        DeValue::Array(items) => {
            let texts = items.iter().map(|item| match file_value(item.get_ref()) {
                FileValue::Number(text) | FileValue::Text(text) => Some(text),
                _ => None,
            });
            texts
                .collect::<Option<_>>()
                .map_or(FileValue::Other, FileValue::List)
        }
        _ => FileValue::Other,
    }
}
