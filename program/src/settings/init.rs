//! `config init`: a file that explains every key.

use std::path::Path;

use super::Program;
use super::config_command::replace;
use super::file::is_yaml;
use super::keys::{Key, Keys};
use super::value;
use crate::error_report::Failure;

/// Writes the file.
///
/// # Errors
/// It exists and is not to be replaced, or is to be YAML (exit 2); it cannot be written (71).
pub(super) fn write(
    program: &Program,
    keys: &Keys,
    path: &Path,
    replaces: bool,
) -> Result<(), Failure> {
    if path.exists() && !replaces {
        return Err(Failure::usage(format!("{} exists", path.display()))
            .hint("--force replaces it; config set KEY VALUE changes one key"));
    }
    if is_yaml(path) {
        return Err(Failure::usage(format!("{} would be YAML", path.display()))
            .hint("name a file that ends in .toml; YAML is read, not written"));
    }
    replace(path, &text(program, keys))
}

/// The whole file.
pub(super) fn text(program: &Program, keys: &Keys) -> String {
    let name = program.name;
    let mut text = format!(
        "# Settings of {name}. Take the # before a key away to set it. The environment and flags win over this file;\n\
         # `{name} config show --origin` says what counts, and why.\n"
    );
    let (general, particular) = variants(keys);
    let mut heading = None;
    for key in general {
        if key.heading() != heading {
            heading = key.heading();
            text.push_str(&format!("\n# == {}\n", heading.unwrap_or("Other")));
        }
        push_key(&mut text, key);
    }
    let mut table = None;
    for key in particular {
        if key.command.as_deref() != table {
            table = key.command.as_deref();
            text.push_str(&format!("\n[{}]\n", table.unwrap_or_default()));
        }
        push_key(&mut text, key);
    }
    text
}

/// Keys that mean the same in every subcommand, each once; and keys of one subcommand.
fn variants(keys: &Keys) -> (Vec<&Key>, Vec<&Key>) {
    let (mut general, mut particular) = (Vec::<&Key>::new(), Vec::new());
    for key in keys.all() {
        let mut others = keys.all().iter().filter(|other| other.long == key.long);
        if keys.is_of_one_command(&key.long)
            || !others.all(|other| other.arg.get_env() == key.arg.get_env())
        {
            particular.push(key);
        } else if general.iter().all(|known| known.long != key.long) {
            general.push(key);
        }
    }
    (general, particular)
}

fn push_key(text: &mut String, key: &Key) {
    let arg = &key.arg;
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    text.push('\n');
    for line in wrapped(&help) {
        text.push_str(&format!("# {line}\n"));
    }
    let defaults = arg.get_default_values().iter();
    let mut defaults: Vec<String> = defaults
        .map(|default| default.to_string_lossy().into_owned())
        .collect();
    if defaults.is_empty() && value::is_switch(arg) {
        defaults.push("false".to_owned());
    }
    let shown = if defaults.is_empty() {
        "…".to_owned()
    } else {
        value::toml(arg, &defaults)
    };
    text.push_str(&format!("# {} = {shown}\n", key.long));
}

/// Lines of at most [`LINE_WIDTH`] characters.
fn wrapped(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let is_full = |line: &String| line.chars().count() + 1 + word.chars().count() > LINE_WIDTH;
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if !is_full(line) => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// Of a comment.
const LINE_WIDTH: usize = 100;
