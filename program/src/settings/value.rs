//! A value as it stands in a file, and as its flag takes it.

use clap::{Arg, ArgAction, Command};

/// A value of a file, before its flag is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum FileValue {
    /// `true` or `false`.
    Switch(bool),
    /// A number, as text.
    Number(String),
    /// A string.
    Text(String),
    /// Strings or numbers.
    List(Vec<String>),
    /// A kind that no flag takes.
    Other,
}

impl FileValue {
    /// A list of nothing.
    pub(super) fn is_empty_list(&self) -> bool {
        matches!(self, Self::List(items) if items.is_empty())
    }

    /// The value as texts for `arg`; `None` if the kind does not fit.
    pub(super) fn texts(&self, arg: &Arg) -> Option<Vec<String>> {
        match (arg.get_action(), self) {
            (ArgAction::SetTrue, Self::Switch(on)) => Some(vec![on.to_string()]),
            (ArgAction::Count, Self::Number(number)) => Some(vec![number.clone()]),
            (ArgAction::Append, Self::List(items)) => Some(items.clone()),
            // A list in one value, such as a route, is an array in a file.
            (ArgAction::Set, Self::List(items)) if arg.get_value_delimiter().is_some() => {
                Some(items.clone())
            }
            (ArgAction::Append | ArgAction::Set, Self::Number(text) | Self::Text(text)) => {
                Some(vec![text.clone()])
            }
            _ => None,
        }
    }
}

/// What `arg` takes in a file.
pub(super) fn expected_kind(arg: &Arg) -> &'static str {
    match arg.get_action() {
        ArgAction::SetTrue => "true or false",
        ArgAction::Count => "a small whole number",
        ArgAction::Append => "a list of strings",
        _ => "a string or a number",
    }
}

/// Whether the flag's own parser takes the texts.
///
/// # Errors
/// The first line of clap's text.
pub(super) fn check(arg: &Arg, texts: &[String]) -> Result<(), String> {
    if matches!(arg.get_action(), ArgAction::Count) {
        let fits = |text: &String| text.parse::<u8>().is_ok_and(|count| count <= MAX_REPEAT);
        return match texts.iter().all(fits) {
            true => Ok(()),
            false => Err(format!("expected a whole number of at most {MAX_REPEAT}")),
        };
    }
    if is_switch(arg) {
        let on = as_switch(&texts.concat()).map(drop);
        return on.ok_or_else(|| "expected true or false".to_owned());
    }
    // Alone: what it requires and what excludes it are the command line's affair.
    let long = arg.get_long().unwrap_or_default().to_owned();
    let mut alone = Arg::new("alone")
        .long(long.clone())
        .value_parser(arg.get_value_parser().clone())
        .action(ArgAction::Append);
    if let Some(delimiter) = arg.get_value_delimiter() {
        alone = alone.value_delimiter(delimiter);
    }
    if let Some([name, ..]) = arg.get_value_names() {
        alone = alone.value_name(name.clone());
    }
    let words = texts.iter().map(|text| format!("--{long}={text}"));
    let outcome = Command::new("alone")
        .no_binary_name(true)
        .disable_help_flag(true)
        .arg(alone)
        .try_get_matches_from(words);
    outcome.map(drop).map_err(|error| {
        let text = error.to_string();
        let first = text.lines().next().unwrap_or_default();
        first.trim_start_matches("error: ").to_owned()
    })
}

/// Whether `arg` has to have a value where it stands: to name nobody must not read as the default, which may be everybody.
pub(super) fn refuses_nothing(arg: &Arg) -> bool {
    arg.get_num_args().is_some_and(|most| most.min_values() > 0)
}

/// What the help of `arg` says that no value means.
pub(super) fn told_default(arg: &Arg) -> Option<String> {
    let help = arg.get_help()?.to_string();
    let (_, told) = help.rsplit_once("[default: ")?;
    told.strip_suffix(']').map(ToOwned::to_owned)
}

/// Whether `arg` is on or off, and takes no value.
pub(super) fn is_switch(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::SetTrue)
}

/// Whether `arg` has a list of values.
pub(super) fn is_list(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::Append) || arg.get_value_delimiter().is_some()
}

/// The texts of `arg` as TOML writes them.
pub(super) fn toml(arg: &Arg, texts: &[String]) -> String {
    let strings = || texts.iter().cloned().map(toml::Value::String);
    if is_list(arg) {
        return toml::Value::Array(strings().collect()).to_string();
    }
    let text = texts.first().map_or("", String::as_str);
    if is_switch(arg) {
        return as_switch(text).unwrap_or_default().to_string();
    }
    if let Some(number) = number(text) {
        return number.to_string();
    }
    toml::Value::String(text.to_owned()).to_string()
}

/// The texts of `arg` as JSON writes them.
pub(super) fn json(arg: &Arg, texts: &[String]) -> serde_json::Value {
    if is_list(arg) {
        return texts.into();
    }
    let text = texts.first().map_or("", String::as_str);
    if is_switch(arg) {
        return as_switch(text).unwrap_or_default().into();
    }
    match number(text) {
        Some(number) => number.into(),
        None => text.into(),
    }
}

/// A number that is written as people write it. Other texts of digits (`0:20`, `1e9`) stay texts.
fn number(text: &str) -> Option<serde_json::Number> {
    let number: serde_json::Number = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

/// A switch as people write it, and as the hub's own variables have it.
pub(super) fn as_switch(text: &str) -> Option<bool> {
    let is = |words: [&str; 6]| words.iter().any(|word| text.eq_ignore_ascii_case(word));
    if is(["1", "on", "yes", "true", "y", "t"]) {
        Some(true)
    } else if is(["0", "off", "no", "false", "n", "f"]) {
        Some(false)
    } else {
        None
    }
}

/// Most repetitions of a counted flag (`verbose`).
const MAX_REPEAT: u8 = 4;
