//! `tojson`, as transformers has it: Python's `json.dumps` with `ensure_ascii=False` and nothing escaped for HTML.

use std::fmt::Write as _;

use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Error, ErrorKind, State, Value};

use super::budget::{Budget, budget};
use super::python;

/// How the text is laid out; `json.dumps`'s arguments.
#[derive(Debug, Default)]
struct Layout {
    ensure_ascii: bool,
    sort_keys: bool,
    indent: Option<String>,
    item_separator: String,
    key_separator: String,
}

/// The filter.
///
/// # Errors
/// An argument that Python would refuse, a value that has no JSON, or too much text.
pub(super) fn tojson(
    state: &State<'_, '_>,
    value: &Value,
    ensure_ascii: Option<bool>,
    options: Kwargs,
) -> Result<String, Error> {
    let layout = Layout::read(ensure_ascii, &options)?;
    options.assert_all_used()?;
    let budget = budget(state)?;
    let mut writer = Writer {
        layout,
        budget: &budget,
        text: String::new(),
    };
    writer.value(value, 0)?;
    budget.spend(writer.text.len())?;
    Ok(writer.text)
}

impl Layout {
    fn read(ensure_ascii: Option<bool>, options: &Kwargs) -> Result<Self, Error> {
        let indent = match options.get::<Option<Value>>("indent")? {
            None => None,
            Some(value) if value.is_none() => None,
            Some(value) => Some(match (value.as_str(), value.as_i64()) {
                (Some(text), _) if text.len() <= MAX_INDENT => text.to_owned(),
                (None, Some(width)) if width <= MAX_INDENT as i64 => {
                    " ".repeat(usize::try_from(width).unwrap_or(0))
                }
                _ => {
                    return Err(invalid(format!(
                        "tojson: indent must be a number up to {MAX_INDENT}, or as much text"
                    )));
                }
            }),
        };
        let (item, key) = match options.get::<Option<Value>>("separators")? {
            Some(pair) if !pair.is_none() => {
                let item = pair.get_item_by_index(0)?;
                let key = pair.get_item_by_index(1)?;
                match (item.as_str(), key.as_str()) {
                    (Some(item), Some(key)) => (item.to_owned(), key.to_owned()),
                    _ => return Err(invalid("tojson: separators must be two texts")),
                }
            }
            _ if indent.is_some() => (",".to_owned(), ": ".to_owned()),
            _ => (", ".to_owned(), ": ".to_owned()),
        };
        let named: Option<bool> = options.get("ensure_ascii")?;
        Ok(Self {
            ensure_ascii: ensure_ascii.or(named).unwrap_or(false),
            sort_keys: options.get::<Option<bool>>("sort_keys")?.unwrap_or(false),
            indent,
            item_separator: item,
            key_separator: key,
        })
    }
}

struct Writer<'b> {
    layout: Layout,
    budget: &'b Budget,
    text: String,
}

impl Writer<'_> {
    fn value(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        if self.text.len() > self.budget.value_bytes() || depth > MAX_DEPTH {
            return Err(super::budget::excess(
                "the JSON of a value is too long or too deep".to_owned(),
            ));
        }
        match value.kind() {
            ValueKind::None => self.text.push_str("null"),
            ValueKind::Bool => self
                .text
                .push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => self.number(value),
            ValueKind::String => self.string(value.as_str().unwrap_or_default()),
            ValueKind::Seq | ValueKind::Iterable => {
                let items: Vec<Value> = value.try_iter()?.collect();
                self.group('[', ']', items.len(), depth, |writer, index| {
                    writer.value(&items[index], depth + 1)
                })?;
            }
            ValueKind::Map => {
                let mut keys: Vec<Value> = value.try_iter()?.collect();
                if self.layout.sort_keys {
                    keys.sort();
                }
                self.group('{', '}', keys.len(), depth, |writer, index| {
                    let key = &keys[index];
                    writer.key(key)?;
                    writer.text.push_str(&writer.layout.key_separator.clone());
                    writer.value(&value.get_item(key)?, depth + 1)
                })?;
            }
            other => {
                return Err(invalid(format!(
                    "tojson: a value of type {other} has no JSON"
                )));
            }
        }
        Ok(())
    }

    fn group(
        &mut self,
        open: char,
        close: char,
        count: usize,
        depth: usize,
        mut item: impl FnMut(&mut Self, usize) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.text.push(open);
        for index in 0..count {
            if index > 0 {
                let separator = self.layout.item_separator.clone();
                self.text.push_str(&separator);
            }
            self.new_line(depth + 1);
            item(self, index)?;
        }
        if count > 0 {
            self.new_line(depth);
        }
        self.text.push(close);
        Ok(())
    }

    fn new_line(&mut self, depth: usize) {
        if let Some(indent) = &self.layout.indent {
            self.text.push('\n');
            for _ in 0..depth {
                self.text.push_str(indent);
            }
        }
    }

    /// Keys are text: Python spells the others as their JSON.
    fn key(&mut self, key: &Value) -> Result<(), Error> {
        match key.kind() {
            ValueKind::String => self.string(key.as_str().unwrap_or_default()),
            ValueKind::None | ValueKind::Bool | ValueKind::Number => {
                self.text.push('"');
                self.value(key, 0)?;
                self.text.push('"');
            }
            other => {
                return Err(invalid(format!(
                    "tojson: a key of type {other} has no JSON"
                )));
            }
        }
        Ok(())
    }

    fn number(&mut self, value: &Value) {
        let float = (!value.is_integer()).then(|| f64::try_from(value.clone()).ok());
        match float.flatten() {
            Some(float) if float.is_nan() => self.text.push_str("NaN"),
            Some(float) if float.is_infinite() => {
                self.text
                    .push_str(if float > 0.0 { "Infinity" } else { "-Infinity" });
            }
            _ => self.text.push_str(&python::number(value)),
        }
    }

    fn string(&mut self, string: &str) {
        self.text.push('"');
        for c in string.chars() {
            match c {
                '"' => self.text.push_str("\\\""),
                '\\' => self.text.push_str("\\\\"),
                '\n' => self.text.push_str("\\n"),
                '\r' => self.text.push_str("\\r"),
                '\t' => self.text.push_str("\\t"),
                '\u{8}' => self.text.push_str("\\b"),
                '\u{c}' => self.text.push_str("\\f"),
                c if u32::from(c) < 0x20 || (self.layout.ensure_ascii && !c.is_ascii()) => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        // Writing to a text cannot fail.
                        let _ = write!(self.text, "\\u{unit:04x}");
                    }
                }
                c => self.text.push(c),
            }
        }
        self.text.push('"');
    }
}

fn invalid(reason: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidOperation, reason)
}

/// Widest indentation: templates use 2 or 4.
const MAX_INDENT: usize = 32;

/// As deep as a value may be.
const MAX_DEPTH: usize = 64;
