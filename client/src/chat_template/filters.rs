//! Filters that can make more than they are given, with a limit, and those that differ from Python's.

use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Environment, Error, State, Value};

use super::budget::{Budget, budget, excess};
use super::json::tojson;
use super::methods::{invalid, is_blank};
use super::python::text;

/// Puts the filters in, and takes out those that no template of a chat needs and whose size is an argument.
pub(super) fn install(environment: &mut Environment<'_>) {
    for name in ["batch", "slice", "pprint", "format", "safe", "escape", "e"] {
        environment.remove_filter(name);
    }
    environment.add_filter("tojson", tojson);
    environment.add_filter("replace", replace);
    environment.add_filter("join", join);
    environment.add_filter("indent", indent);
    environment.add_filter("trim", trim);
    environment.add_filter("string", string);
    // Marks for HTML, which is never escaped here.
    environment.add_filter("safe", |value: Value| value);
    environment.add_test("sequence", is_sequence);
    environment.add_test("iterable", |value: &Value| {
        value.is_undefined() || is_sequence(value)
    });
}

fn replace(
    state: &State<'_, '_>,
    value: &Value,
    old: &str,
    new: &str,
    count: Option<i64>,
) -> Result<String, Error> {
    replaced(&*budget(state)?, &text(value), old, new, count)
}

/// Python's `str.replace`; a negative count is none.
///
/// # Errors
/// Too much.
pub(super) fn replaced(
    budget: &Budget,
    text: &str,
    old: &str,
    new: &str,
    count: Option<i64>,
) -> Result<String, Error> {
    let most = count.and_then(|count| usize::try_from(count).ok());
    let found = if old.is_empty() {
        text.chars().count() + 1
    } else {
        text.matches(old).count()
    };
    let times = most.map_or(found, |most| most.min(found));
    let size = times
        .checked_mul(new.len())
        .and_then(|added| added.checked_add(text.len()))
        .ok_or_else(|| excess("a replacement is too long".to_owned()))?;
    budget.make(size)?;
    Ok(text.replacen(old, new, times))
}

fn join(
    state: &State<'_, '_>,
    value: &Value,
    separator: Option<&str>,
    options: Kwargs,
) -> Result<String, Error> {
    let named: Option<&str> = options.get("d")?;
    let attribute: Option<Value> = options.get("attribute")?;
    options.assert_all_used()?;
    if value.is_undefined() {
        return Ok(String::new());
    }
    let budget = budget(state)?;
    let separator = separator.or(named).unwrap_or("");
    match attribute {
        None => joined(&budget, value.try_iter()?, separator),
        Some(attribute) => {
            let items: Result<Vec<Value>, Error> = value
                .try_iter()?
                .map(|item| item.get_item(&attribute))
                .collect();
            joined(&budget, items?.into_iter(), separator)
        }
    }
}

/// Python's `str.join`, over values as `str` spells them.
///
/// # Errors
/// Too much.
pub(super) fn joined(
    budget: &Budget,
    values: impl Iterator<Item = Value>,
    separator: &str,
) -> Result<String, Error> {
    let mut joined = String::new();
    for (index, value) in values.enumerate() {
        let value = text(&value);
        let separator = if index > 0 { separator } else { "" };
        budget.make(separator.len() + value.len())?;
        joined.push_str(separator);
        joined.push_str(&value);
        if joined.len() > budget.value_bytes() {
            return Err(excess("a list joined is too long".to_owned()));
        }
    }
    Ok(joined)
}

fn indent(
    state: &State<'_, '_>,
    value: &Value,
    width: Option<Value>,
    first: Option<bool>,
    options: Kwargs,
) -> Result<String, Error> {
    let width = width.or(options.get("width")?);
    let first = first.or(options.get("first")?).unwrap_or(false);
    let blank = options.get::<Option<bool>>("blank")?.unwrap_or(false);
    options.assert_all_used()?;
    let width = match &width {
        None => " ".repeat(4),
        Some(width) => match (width.as_str(), width.as_usize()) {
            (Some(text), _) if text.len() <= MAX_INDENT => text.to_owned(),
            (None, Some(width)) if width <= MAX_INDENT => " ".repeat(width),
            _ => return Err(invalid(format!("indent: at most {MAX_INDENT} wide"))),
        },
    };
    let budget = budget(state)?;
    let text = text(value);
    let lines = text.matches('\n').count() + 1;
    budget.make(lines * width.len() + text.len())?;
    let mut indented = String::new();
    for (index, line) in text.split('\n').enumerate() {
        if index > 0 {
            indented.push('\n');
        }
        let is_indented = if index == 0 {
            first
        } else {
            blank || !line.is_empty()
        };
        if is_indented {
            indented.push_str(&width);
        }
        indented.push_str(line);
    }
    Ok(indented)
}

fn trim(value: &Value, characters: Option<&str>) -> String {
    let text = text(value);
    match characters {
        None => text.trim_matches(is_blank).to_owned(),
        Some(set) => text.trim_matches(|c| set.contains(c)).to_owned(),
    }
}

fn string(state: &State<'_, '_>, value: &Value) -> Result<String, Error> {
    let text = text(value);
    budget(state)?.make(text.len())?;
    Ok(text)
}

/// Whatever has a length and places: texts and maps as well, as in Jinja.
fn is_sequence(value: &Value) -> bool {
    matches!(
        value.kind(),
        ValueKind::Seq | ValueKind::Iterable | ValueKind::Map | ValueKind::String
    )
}

/// Widest indentation of a block of text.
const MAX_INDENT: usize = 64;
