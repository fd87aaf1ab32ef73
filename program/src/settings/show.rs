//! `config show`: every setting as it counts now, and why.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::keys::{Key, Keys};
use super::layers::{self, Layers};
use super::value;
use crate::error_report::Failure;

/// One setting.
pub(super) struct Row<'a> {
    /// The key, with its subcommand if it differs between them.
    name: String,
    key: &'a Key,
    /// `None` = it has no value.
    texts: Option<Vec<String>>,
    origin: Origin,
}

enum Origin {
    Default,
    File { path: PathBuf, line: usize },
    Variable(String),
}

/// Every setting. `variable` reads the environment.
///
/// # Errors
/// A value of a file (exit 78) or of the environment (2) that its flag refuses.
pub(super) fn rows<'a>(
    keys: &'a Keys,
    layers: &Layers,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<Vec<Row<'a>>, Failure> {
    unique(keys, layers)
        .map(|(key, is_shared)| row(key, is_shared, layers, variable))
        .collect()
}

/// A key that is the same everywhere counts once, others once for each subcommand.
fn unique<'a>(keys: &'a Keys, layers: &Layers) -> impl Iterator<Item = (&'a Key, bool)> {
    let same = |left: &Key, right: &Key| {
        left.arg.get_env() == right.arg.get_env()
            && left.arg.get_default_values() == right.arg.get_default_values()
    };
    let is_scoped = |long: &str| {
        let mut entries = layers.files.iter().flat_map(|file| &file.entries);
        entries.any(|entry| entry.long == long && entry.scope.is_some())
    };
    let mut rows: Vec<(&Key, bool)> = Vec::new();
    for key in keys.all() {
        let others = || keys.all().iter().filter(|other| other.long == key.long);
        let is_shared = others().all(|other| same(key, other)) && !is_scoped(&key.long);
        if !is_shared || rows.iter().all(|(known, _)| known.long != key.long) {
            rows.push((key, is_shared));
        }
    }
    rows.into_iter()
}

fn row<'a>(
    key: &'a Key,
    is_shared: bool,
    layers: &Layers,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<Row<'a>, Failure> {
    let scope = key.command.as_deref().filter(|_| !is_shared);
    let name = match scope {
        Some(command) => format!("{command}.{}", key.long),
        None => key.long.clone(),
    };
    let (texts, origin) = value_of(key, scope, layers, variable)?;
    // A secret is shown to nobody.
    let texts = match key.arg.is_hide_env_values_set() {
        true => texts.map(|_| vec![HIDDEN.to_owned()]),
        false => texts,
    };
    Ok(Row {
        name,
        key,
        texts,
        origin,
    })
}

fn value_of(
    key: &Key,
    scope: Option<&str>,
    layers: &Layers,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<(Option<Vec<String>>, Origin), Failure> {
    let arg = &key.arg;
    let name = arg.get_env().unwrap_or_default();
    let name = name.to_string_lossy().into_owned();
    if let Some(text) = variable(&name) {
        let texts: Vec<String> = match arg.get_value_delimiter() {
            Some(delimiter) => text.split(delimiter).map(ToOwned::to_owned).collect(),
            None => vec![text],
        };
        value::check(arg, &texts)
            .map_err(|reason| Failure::usage(format!("{name} has a wrong value")).cause(reason))?;
        return Ok((Some(texts), Origin::Variable(name)));
    }
    if let Some((path, entry)) = layers.entry(scope, &key.long) {
        let texts = layers::texts(entry, arg, path)?;
        let origin = Origin::File {
            path: path.to_owned(),
            line: entry.line,
        };
        return Ok((Some(texts), origin));
    }
    let defaults = arg.get_default_values().iter();
    let defaults: Vec<String> = defaults
        .map(|text| text.to_string_lossy().into_owned())
        .collect();
    let texts = match (defaults.is_empty(), value::is_switch(arg)) {
        (true, true) => Some(vec!["false".to_owned()]),
        (true, false) => None,
        (false, _) => Some(defaults),
    };
    Ok((texts, Origin::Default))
}

/// The settings as TOML, which a file could hold.
pub(super) fn text(rows: &[Row<'_>], with_origin: bool) -> String {
    let lines: Vec<(String, String)> = rows
        .iter()
        .map(|row| (row.line(), row.origin.to_string()))
        .collect();
    if !with_origin {
        let lines: Vec<String> = lines.into_iter().map(|(line, _)| line).collect();
        return lines.join("\n");
    }
    let widths = lines.iter().map(|(line, _)| line.chars().count());
    let width = widths
        .filter(|width| *width <= MOST_PADDED)
        .max()
        .unwrap_or(0);
    let lines: Vec<String> = lines
        .into_iter()
        .map(|(line, origin)| format!("{line:<width$}  # {origin}"))
        .collect();
    lines.join("\n")
}

/// The settings as one line of JSON: key → value, origin.
pub(super) fn json(rows: &[Row<'_>]) -> String {
    let rows = rows.iter().map(|row| (row.name.clone(), row.json()));
    Value::Object(rows.collect()).to_string()
}

impl Row<'_> {
    fn line(&self) -> String {
        match &self.texts {
            Some(texts) => format!("{} = {}", self.name, value::toml(&self.key.arg, texts)),
            None => format!("# {} = …", self.name),
        }
    }

    fn json(&self) -> Value {
        let value = match &self.texts {
            Some(texts) => value::json(&self.key.arg, texts),
            None => Value::Null,
        };
        match &self.origin {
            Origin::Default => json!({"value": value, "origin": "default"}),
            Origin::File { path, line } => {
                json!({"value": value, "origin": "file", "file": path, "line": line})
            }
            Origin::Variable(name) => {
                json!({"value": value, "origin": "environment", "variable": name})
            }
        }
    }
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Variable(name) => write!(f, "environment {name}"),
        }
    }
}

/// What stands for a secret.
const HIDDEN: &str = "(hidden)";
/// Longer lines do not move the origins of the others to the right.
const MOST_PADDED: usize = 48;
