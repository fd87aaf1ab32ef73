//! Keys of a YAML file, with their lines: the shape of Petals' `config.yml`.

use std::path::Path;

use serde_norway::Value;

use super::file::{RawEntry, wrong};
use super::value::FileValue;
use crate::error_report::Failure;

/// Every key at the top and in a mapping, in their order. A key without a value counts as absent.
///
/// # Errors
/// No YAML, or no mapping; the failure names the line (exit 78).
pub(super) fn entries(text: &str, path: &Path) -> Result<Vec<RawEntry>, Failure> {
    let value: Value = serde_norway::from_str(text).map_err(|error| {
        let line = error.location().map_or(1, |location| location.line());
        wrong(path, line, "not valid YAML").cause(error.to_string())
    })?;
    let mapping = match value {
        Value::Mapping(mapping) => mapping,
        // An empty file, or one of comments.
        Value::Null => return Ok(Vec::new()),
        _ => return Err(wrong(path, 1, "not a list of `key: value`")),
    };
    let mut entries = Vec::new();
    for (key, value) in mapping {
        let key = name(&key, path)?;
        match value {
            Value::Null => {}
            Value::Mapping(inner) => {
                for (inner_key, value) in inner {
                    let inner_key = name(&inner_key, path)?;
                    let line = line_in(text, &key, &inner_key);
                    entries.push(entry(Some(key.clone()), inner_key, line, &value));
                }
            }
            value => {
                let line = line_at_top(text, &key);
                entries.push(entry(None, key, line, &value));
            }
        }
    }
    Ok(entries)
}

fn entry(table: Option<String>, key: String, line: usize, value: &Value) -> RawEntry {
    RawEntry {
        table,
        key,
        line,
        value: file_value(value),
        span: None,
    }
}

fn name(key: &Value, path: &Path) -> Result<String, Failure> {
    let name = key.as_str().map(ToOwned::to_owned);
    name.ok_or_else(|| wrong(path, 1, "a key is not a word"))
}

fn file_value(value: &Value) -> FileValue {
    match value {
        Value::Bool(on) => FileValue::Switch(*on),
        Value::Number(number) => FileValue::Number(number.to_string()),
        Value::String(text) => FileValue::Text(text.clone()),
        Value::Sequence(items) => {
            let texts = items.iter().map(|item| match file_value(item) {
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

/// The reader of YAML keeps no positions; block mappings, which people write, are found by their lines.
fn line_at_top(text: &str, key: &str) -> usize {
    let mut lines = text.lines();
    lines
        .position(|line| is_key(line, key))
        .map_or(1, |number| number + 1)
}

fn line_in(text: &str, table: &str, key: &str) -> usize {
    let start = line_at_top(text, table);
    let inside = |line: &&str| line.starts_with([' ', '\t', '#']) || line.trim().is_empty();
    let mut inner = text.lines().skip(start).take_while(inside);
    let found = inner.position(|line| is_key(line.trim_start(), key));
    found.map_or(start, |number| start + number + 1)
}

/// Whether `line` begins with `key:`, quoted or not.
fn is_key(line: &str, key: &str) -> bool {
    ["", "\"", "'"].iter().any(|quote| {
        let rest = line
            .strip_prefix(quote)
            .and_then(|rest| rest.strip_prefix(key))
            .and_then(|rest| rest.strip_prefix(quote));
        rest.is_some_and(|rest| rest.trim_start().starts_with(':'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<RawEntry>, Failure> {
        entries(text, Path::new("config.yml"))
    }

    #[test]
    fn keys_are_found_with_their_lines() {
        let text = "# of Petals\nport: 31330\n\nblock_indices: 0:20\ninitial_peers: [a, b]\n\"new_swarm\": true\npublic_name:\nlimits:\n  # few\n  max_sessions: 3\n";
        let found: Vec<_> = read(text)
            .unwrap()
            .into_iter()
            .map(|entry| (entry.key, entry.line, entry.value))
            .collect();
        let list = vec!["a".to_owned(), "b".to_owned()];
        assert_eq!(
            found,
            [
                ("port".into(), 2, FileValue::Number("31330".into())),
                ("block_indices".into(), 4, FileValue::Text("0:20".into())),
                ("initial_peers".into(), 5, FileValue::List(list)),
                ("new_swarm".into(), 6, FileValue::Switch(true)),
                ("max_sessions".into(), 10, FileValue::Number("3".into())),
            ]
        );
    }

    #[test]
    fn what_is_no_mapping_is_refused() {
        assert!(read("").unwrap().is_empty());
        for wrong in ["- a\n- b\n", "word", "1: 2\n", "port: [1\n", "a: b: c\n"] {
            assert_eq!(read(wrong).unwrap_err().exit().code(), 78, "{wrong}");
        }
        let failure = read("port: 1\nname: \"open\n").unwrap_err().to_string();
        assert!(failure.contains("not valid YAML"), "{failure}");
    }
}
