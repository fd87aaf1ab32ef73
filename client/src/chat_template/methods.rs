//! Python's methods of texts, maps and lists, as templates call them.
//!
//! Places and lengths are counted in characters, blanks are Python's. Methods that change a list or a map are missing
//! on purpose: transformers renders in a sandbox that refuses them.

use minijinja::formatting::{FormatStyle, format};
use minijinja::value::{Tuple, ValueKind, from_args};
use minijinja::{Error, ErrorKind, State, Value};

use super::budget::{Budget, budget};
use super::filters::{joined, replaced};
use super::python;

/// Calls a method that minijinja does not know.
///
/// # Errors
/// There is no such method, it does not take the arguments, or it would make too much.
pub(super) fn call(
    state: &mut State<'_, '_>,
    value: &Value,
    method: &str,
    args: &[Value],
) -> Result<Value, Error> {
    match (value.as_str(), value.kind()) {
        (Some(text), _) => text_method(state, text, method, args),
        (None, ValueKind::Map) => map_method(value, method, args),
        (None, ValueKind::Seq | ValueKind::Iterable) => list_method(value, method, args),
        _ => Err(unknown()),
    }
}

fn unknown() -> Error {
    Error::from(ErrorKind::UnknownMethod)
}

fn text_method(
    state: &State<'_, '_>,
    text: &str,
    method: &str,
    args: &[Value],
) -> Result<Value, Error> {
    match method {
        "strip" | "lstrip" | "rstrip" => strip_method(text, method, args),
        "startswith" | "endswith" => {
            let (affix, start): (&Value, Option<usize>) = from_args(args)?;
            let text = text
                .get(char_place(text, start.unwrap_or(0))..)
                .unwrap_or("");
            let has = |affix: &Value| match affix.as_str() {
                Some(affix) if method == "startswith" => Ok(text.starts_with(affix)),
                Some(affix) => Ok(text.ends_with(affix)),
                None => Err(invalid(format!("{method} takes a text or several"))),
            };
            if affix.as_str().is_some() {
                return has(affix).map(Value::from);
            }
            for affix in affix.try_iter()? {
                if has(&affix)? {
                    return Ok(Value::from(true));
                }
            }
            Ok(Value::from(false))
        }
        "split" | "rsplit" | "splitlines" | "partition" | "rpartition" => {
            parts_method(text, method, args)
        }
        "find" | "rfind" | "index" | "rindex" | "count" => place_method(text, method, args),
        "replace" => {
            let (old, new, count): (&str, &str, Option<i64>) = from_args(args)?;
            replaced(&*budget(state)?, text, old, new, count).map(Value::from)
        }
        "join" => {
            let (values,): (&Value,) = from_args(args)?;
            joined(&*budget(state)?, values.try_iter()?, text).map(Value::from)
        }
        "format" => formatted(&*budget(state)?, text, args).map(Value::from),
        "removeprefix" | "removesuffix" => {
            let (affix,): (&str,) = from_args(args)?;
            let rest = if method == "removeprefix" {
                text.strip_prefix(affix)
            } else {
                text.strip_suffix(affix)
            };
            Ok(Value::from(rest.unwrap_or(text)))
        }
        _ => {
            let () = from_args(args)?;
            plain_method(text, method)
        }
    }
}

/// Methods without arguments.
fn plain_method(text: &str, method: &str) -> Result<Value, Error> {
    let all =
        |belongs: fn(char) -> bool| Value::from(!text.is_empty() && text.chars().all(belongs));
    let cased = |is_right: fn(char) -> bool, is_wrong: fn(char) -> bool| {
        Value::from(text.chars().any(is_right) && !text.chars().any(is_wrong))
    };
    Ok(match method {
        "upper" => Value::from(text.to_uppercase()),
        "lower" => Value::from(text.to_lowercase()),
        "title" => Value::from(title(text)),
        "capitalize" => Value::from(capitalized(text)),
        "isspace" => all(is_blank),
        "isdigit" | "isnumeric" | "isdecimal" => all(char::is_numeric),
        "isalpha" => all(char::is_alphabetic),
        "isalnum" => all(char::is_alphanumeric),
        "isascii" => Value::from(text.is_ascii()),
        "islower" => cased(char::is_lowercase, char::is_uppercase),
        "isupper" => cased(char::is_uppercase, char::is_lowercase),
        _ => return Err(unknown()),
    })
}

fn strip_method(text: &str, method: &str, args: &[Value]) -> Result<Value, Error> {
    let (characters,): (Option<&str>,) = from_args(args)?;
    let goes = |c: char| characters.map_or_else(|| is_blank(c), |set| set.contains(c));
    Ok(Value::from(match method {
        "strip" => text.trim_matches(goes),
        "lstrip" => text.trim_start_matches(goes),
        _ => text.trim_end_matches(goes),
    }))
}

fn parts_method(text: &str, method: &str, args: &[Value]) -> Result<Value, Error> {
    if method == "splitlines" {
        let (keeps_ends,): (Option<bool>,) = from_args(args)?;
        let lines = lines(text).map(|(line, end)| {
            let kept = if keeps_ends.unwrap_or(false) { end } else { 0 };
            Value::from(&text[line.start..line.end + kept])
        });
        return Ok(lines.collect());
    }
    if matches!(method, "partition" | "rpartition") {
        let (separator,): (&str,) = from_args(args)?;
        let separator = non_empty(separator)?;
        let halves = if method == "partition" {
            text.split_once(separator)
        } else {
            text.rsplit_once(separator)
        };
        let parts = match halves {
            Some((before, after)) => [before, separator, after],
            None if method == "partition" => [text, "", ""],
            None => ["", "", text],
        };
        return Ok(Value::from(Tuple::from(parts.map(Value::from))));
    }
    let (separator, most): (Option<&str>, Option<i64>) = from_args(args)?;
    let most = most.and_then(|most| usize::try_from(most).ok());
    let mut parts: Vec<&str> = match (separator, most) {
        (None, None) => text
            .split(is_blank)
            .filter(|part| !part.is_empty())
            .collect(),
        (None, Some(most)) => return Ok(split_blanks(text, most, method == "rsplit")),
        (Some(separator), None) => text.split(non_empty(separator)?).collect(),
        (Some(separator), Some(most)) if method == "split" => text
            .splitn(most.saturating_add(1), non_empty(separator)?)
            .collect(),
        (Some(separator), Some(most)) => {
            let separator = non_empty(separator)?;
            let mut parts: Vec<&str> = text.rsplitn(most.saturating_add(1), separator).collect();
            parts.reverse();
            parts
        }
    };
    Ok(parts.drain(..).map(Value::from).collect())
}

/// Python's `str.format`, where no field is wider than [`MAX_WIDTH_DIGITS`] digits can say.
fn formatted(budget: &Budget, text: &str, args: &[Value]) -> Result<String, Error> {
    let mut digits = 0;
    for c in text.chars() {
        digits = if c.is_ascii_digit() { digits + 1 } else { 0 };
        if digits > MAX_WIDTH_DIGITS {
            return Err(invalid("format: a field is too wide"));
        }
    }
    // A field inside a field gives a width as a value.
    if text
        .split('{')
        .skip(1)
        .any(|field| !field.contains('}') && !field.is_empty())
    {
        return Err(invalid("format: fields in fields are not supported"));
    }
    let fields = text.matches('{').count();
    let longest = args.iter().map(|value| python::text(value).len()).max();
    let width = MAX_WIDTH.max(longest.unwrap_or(0));
    budget.make(fields.saturating_mul(width).saturating_add(text.len()))?;
    format(FormatStyle::StrFormat, text, args)
}

/// At runs of blanks, at most `most` times; what is left keeps the blanks that no cut was made at.
fn split_blanks(text: &str, most: usize, from_end: bool) -> Value {
    let trim = |text: &'_ str| -> String {
        let trimmed = if from_end {
            text.trim_end_matches(is_blank)
        } else {
            text.trim_start_matches(is_blank)
        };
        trimmed.to_owned()
    };
    let mut parts = Vec::new();
    let mut rest = trim(text);
    while parts.len() < most && !rest.is_empty() {
        let cut = if from_end {
            rest.char_indices().rfind(|(_, c)| is_blank(*c))
        } else {
            rest.char_indices().find(|(_, c)| is_blank(*c))
        };
        let Some((cut, blank)) = cut else { break };
        let (before, after) = (&rest[..cut], &rest[cut + blank.len_utf8()..]);
        let (part, left) = if from_end {
            (after, before)
        } else {
            (before, after)
        };
        parts.push(Value::from(part));
        rest = trim(left);
    }
    if !rest.is_empty() {
        parts.push(Value::from(rest));
    }
    if from_end {
        parts.reverse();
    }
    Value::from(parts)
}

/// Lines by Python's ends of lines, and how long each end is.
fn lines(text: &str) -> impl Iterator<Item = (std::ops::Range<usize>, usize)> + '_ {
    let is_end = |c: char| {
        matches!(
            c,
            '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{1c}'
                ..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}'
        )
    };
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = text.get(at..).filter(|rest| !rest.is_empty())?;
        let length = rest.find(is_end).unwrap_or(rest.len());
        let end = match rest[length..].chars().next() {
            Some('\r') if rest[length..].starts_with("\r\n") => 2,
            Some(c) => c.len_utf8(),
            None => 0,
        };
        let line = at..at + length;
        at = line.end + end;
        Some((line, end))
    })
}

fn place_method(text: &str, method: &str, args: &[Value]) -> Result<Value, Error> {
    let (what,): (&str,) = from_args(args)?;
    if method == "count" {
        let count = if what.is_empty() {
            text.chars().count() + 1
        } else {
            text.matches(what).count()
        };
        return Ok(Value::from(count));
    }
    let found = if method.starts_with('r') {
        text.rfind(what)
    } else {
        text.find(what)
    };
    match found {
        Some(at) => Ok(Value::from(text[..at].chars().count())),
        None if method.ends_with("find") => Ok(Value::from(-1)),
        None => Err(invalid("substring not found")),
    }
}

fn map_method(value: &Value, method: &str, args: &[Value]) -> Result<Value, Error> {
    let object = value.as_object().ok_or_else(unknown)?;
    let pairs = || object.try_iter_pairs().into_iter().flatten();
    match method {
        "keys" => from_args(args).map(|()| pairs().map(|(key, _)| key).collect()),
        "values" => from_args(args).map(|()| pairs().map(|(_, item)| item).collect()),
        "items" => from_args(args).map(|()| {
            let tuples = pairs().map(|(key, item)| Value::from(Tuple::from([key, item])));
            tuples.collect()
        }),
        "get" => {
            let (key, default): (&Value, Option<Value>) = from_args(args)?;
            let found = object.get_value(key);
            Ok(found.or(default).unwrap_or_else(|| Value::from(())))
        }
        _ => Err(unknown()),
    }
}

fn list_method(value: &Value, method: &str, args: &[Value]) -> Result<Value, Error> {
    let (what,): (&Value,) = match method {
        "count" | "index" => from_args(args)?,
        _ => return Err(unknown()),
    };
    let mut items = value.try_iter()?;
    if method == "count" {
        return Ok(Value::from(items.filter(|item| item == what).count()));
    }
    let place = items.position(|item| item == *what);
    place
        .map(Value::from)
        .ok_or_else(|| invalid("the list has no such value"))
}

/// Byte at which a character begins, the end for one behind it.
fn char_place(text: &str, characters: usize) -> usize {
    text.char_indices()
        .nth(characters)
        .map_or(text.len(), |(at, _)| at)
}

/// A blank, as Python's `str.isspace` says: Unicode's, and the four separators of ASCII.
pub(super) fn is_blank(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

fn capitalized(text: &str) -> String {
    let mut characters = text.chars();
    let first = characters.next();
    first
        .into_iter()
        .flat_map(char::to_uppercase)
        .chain(characters.as_str().to_lowercase().chars())
        .collect()
}

fn title(text: &str) -> String {
    let mut titled = String::with_capacity(text.len());
    let mut in_word = false;
    for c in text.chars() {
        if in_word {
            titled.extend(c.to_lowercase());
        } else {
            titled.extend(c.to_uppercase());
        }
        in_word = c.is_alphabetic();
    }
    titled
}

fn non_empty(separator: &str) -> Result<&str, Error> {
    if separator.is_empty() {
        return Err(invalid("empty separator"));
    }
    Ok(separator)
}

/// What is wrong with a value or an argument.
pub(super) fn invalid(reason: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidOperation, reason)
}

/// Digits of a width or of a field's number.
const MAX_WIDTH_DIGITS: usize = 2;

/// What they can say.
const MAX_WIDTH: usize = 99;
