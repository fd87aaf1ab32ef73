//! `config set`: one key of a file, everything else in it as it was.

use std::path::Path;

use super::config_command::replace;
use super::file::{ConfigFile, is_yaml, text_of};
use super::keys::{Key, Keys, normal};
use super::value;
use crate::error_report::Failure;

/// Sets `key` in the TOML file at `path`, which is made if absent, and says so.
///
/// # Errors
/// No such key, or a value that its flag refuses (exit 2); the file is wrong (78) or cannot be written (71).
pub(super) fn set(
    keys: &Keys,
    path: &Path,
    key: &str,
    values: &[String],
) -> Result<String, Failure> {
    if is_yaml(path) {
        return Err(Failure::usage(format!("{} is YAML", path.display()))
            .hint("edit it by hand, or write the same keys into a file that ends in .toml"));
    }
    let (scope, found) = meant(keys, key)?;
    let texts = texts(found, values)?;
    let written = value::toml(&found.arg, &texts);
    let old = match path.exists() {
        true => text_of(path)?,
        false => String::new(),
    };
    let file = ConfigFile::of_text(&old, path, keys)?;
    let long = found.long.as_str();
    let entry = file
        .entries
        .iter()
        .find(|entry| entry.long == long && entry.scope.as_deref() == scope);
    let new = match entry.and_then(|entry| entry.span.clone()) {
        Some(span) => format!("{}{written}{}", &old[..span.start], &old[span.end..]),
        None => with_line(&old, scope, &format!("{long} = {written}\n")),
    };
    // What was put together must read as what was meant.
    ConfigFile::of_text(&new, path, keys)?;
    replace(path, &new)?;
    let name = scope.map_or_else(|| long.to_owned(), |scope| format!("{scope}.{long}"));
    Ok(format!("{}: {name} = {written}", path.display()))
}

fn meant<'a>(keys: &'a Keys, key: &'a str) -> Result<(Option<&'a str>, &'a Key), Failure> {
    let (scope, long) = match key.split_once('.') {
        Some((scope, long)) => (Some(scope), normal(long)),
        None => (None, normal(key)),
    };
    let is_scope = scope.is_none_or(|scope| keys.is_command(scope));
    let found = keys.spelled(scope, &long).filter(|_| is_scope);
    if let (None, Some(found)) = (scope, found)
        && keys.is_of_one_command(&found.long)
    {
        let long = &found.long;
        return Err(
            Failure::usage(format!("{key} is set for one command, not for all"))
                .hint(format!("config set {}.{long} VALUE", keys.example_of(long))),
        );
    }
    found.map(|found| (scope, found)).ok_or_else(|| {
        let failure = Failure::usage(format!("there is no key {key}"));
        match keys.near(&long) {
            Some(near) => failure.hint(format!("did you mean {near}?")),
            None => failure.hint("config show lists all keys"),
        }
    })
}

/// The values as the flag takes them.
fn texts(key: &Key, values: &[String]) -> Result<Vec<String>, Failure> {
    let arg = &key.arg;
    let texts: Vec<String> = match arg.get_value_delimiter().filter(|_| value::is_list(arg)) {
        Some(delimiter) => values
            .iter()
            .flat_map(|value| value.split(delimiter))
            .map(ToOwned::to_owned)
            .collect(),
        None => values.to_vec(),
    };
    let checked = if texts.len() > 1 && !value::is_list(arg) {
        Err("it has one value".to_owned())
    } else {
        value::check(arg, &texts)
    };
    checked.map_err(|reason| {
        Failure::usage(format!("key {} cannot be {}", key.long, texts.join(" "))).cause(reason)
    })?;
    Ok(texts)
}

/// The text with a line more: before the first table, or at the beginning of the table `scope`.
fn with_line(text: &str, scope: Option<&str>, line: &str) -> String {
    let is_table = |text: &str| text.trim_start().starts_with('[');
    let mut at = 0;
    for existing in text.split_inclusive('\n') {
        match scope {
            None if is_table(existing) => return inserted(text, at, line),
            Some(scope) if existing.trim() == format!("[{scope}]") => {
                return inserted(text, at + existing.len(), line);
            }
            _ => at += existing.len(),
        }
    }
    let gap = if text.is_empty() || text.ends_with('\n') {
        ""
    } else {
        "\n"
    };
    match scope {
        None => format!("{text}{gap}{line}"),
        Some(scope) => format!("{text}{gap}\n[{scope}]\n{line}"),
    }
}

fn inserted(text: &str, at: usize, line: &str) -> String {
    let (before, after) = text.split_at(at);
    let gap = if before.is_empty() || before.ends_with('\n') {
        ""
    } else {
        "\n"
    };
    format!("{before}{gap}{line}{after}")
}
