//! `config schema`: what a file may hold, as a JSON Schema for editors.

use std::collections::{BTreeMap, BTreeSet};

use clap::ArgAction;
use serde_json::{Map, Value, json};

use super::Program;
use super::keys::{Key, Keys};
use super::value;

/// The schema, one line for each brace so that people can read it, too.
pub(super) fn schema(program: &Program, keys: &Keys) -> String {
    let mut top = Map::new();
    let mut tables: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    let headings: BTreeSet<String> = keys
        .all()
        .iter()
        .filter_map(|key| key.heading().map(str::to_lowercase))
        .collect();
    for key in keys.all() {
        let property = property(key);
        let mut add = |table: &str, name: &str| {
            let table = tables.entry(table.to_owned()).or_default();
            table.insert(name.to_owned(), property.clone());
        };
        // What the program itself has needs no table of a subcommand, though one is read.
        let is_everywhere = || {
            keys.all()
                .iter()
                .any(|other| other.command.is_none() && other.long == key.long)
        };
        if let Some(command) = key.command.as_ref().filter(|_| !is_everywhere()) {
            add(command, &key.long);
        }
        if keys.is_of_one_command(&key.long) {
            continue;
        }
        if let Some(heading) = key.heading() {
            let heading = heading.to_lowercase();
            add(&heading, &key.long);
        }
        // `[log] level` is `log-level`.
        for table in headings.iter().map(String::as_str).chain(PREFIXES) {
            if let Some(name) = key
                .long
                .strip_prefix(table)
                .and_then(|rest| rest.strip_prefix('-'))
            {
                add(table, name);
            }
        }
        top.entry(key.long.clone()).or_insert(property);
    }
    for (name, properties) in tables {
        let table = json!({
            "type": "object",
            "properties": properties,
            "additionalProperties": false,
        });
        // A key and a group may have the same name.
        match top.remove(&name) {
            Some(key) => top.insert(name, json!({"anyOf": [key, table]})),
            None => top.insert(name, table),
        };
    }
    let schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": format!("Settings of {}", program.name),
        "type": "object",
        "properties": top,
        "additionalProperties": false,
    });
    format!("{schema:#}")
}

fn property(key: &Key) -> Value {
    let arg = &key.arg;
    let mut property = match arg.get_action() {
        ArgAction::SetTrue => json!({"type": "boolean"}),
        ArgAction::Count => json!({"type": "integer", "minimum": 0}),
        _ if value::is_list(arg) => json!({
            "anyOf": [
                {"type": ["string", "number"]},
                {"type": "array", "items": {"type": ["string", "number"]}},
            ]
        }),
        _ => json!({"type": ["string", "number"]}),
    };
    let Some(fields) = property.as_object_mut() else {
        return property;
    };
    let values = arg.get_possible_values();
    if !values.is_empty() && !value::is_switch(arg) {
        let names: Vec<_> = values.iter().map(|value| value.get_name()).collect();
        fields.insert("enum".to_owned(), names.into());
        fields.insert("type".to_owned(), "string".into());
    }
    let help = arg.get_help().map(ToString::to_string);
    if let Some(help) = help {
        fields.insert("description".to_owned(), help.into());
    }
    let defaults = arg.get_default_values().iter();
    let defaults: Vec<String> = defaults
        .map(|text| text.to_string_lossy().into_owned())
        .collect();
    if !defaults.is_empty() {
        fields.insert("default".to_owned(), value::json(arg, &defaults));
    }
    property
}

/// First words of flags that make a table beside the groups of `--help`.
const PREFIXES: [&str; 1] = ["admin"];
