//! minijinja set up as transformers sets up Jinja (`utils/chat_template_utils.py`), with our limits.

use std::sync::Arc;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, ValueKind};
use minijinja::{
    AutoEscape, Environment, Error, ErrorKind, Output, State, UndefinedBehavior, Value,
};

use super::budget::{Excess, budget, excess, has_namespace};
use super::clock::LocalTime;
use super::error::ChatTemplateError;
use super::guard::{COUNT, FACTOR, KEEP, KEEP_IN, KEEP_LOOP};
use super::methods::invalid;
use super::{filters, methods, python};

/// An environment without templates.
pub(super) fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_syntax(syntax());
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_undefined_behavior(UndefinedBehavior::Lenient);
    environment.set_recursion_limit(MAX_RECURSION);
    environment.set_formatter(format);
    environment.set_unknown_method_callback(methods::call);
    environment.remove_global("debug");
    filters::install(&mut environment);
    let builtin = environment
        .globals()
        .find_map(|(name, value)| (name == "namespace").then_some(value));
    environment.add_function(
        "namespace",
        move |state: &mut State<'_, '_>, args: Kwargs| namespace(state, builtin.as_ref(), &args),
    );
    environment.add_function("raise_exception", raise_exception);
    environment.add_function("strftime_now", strftime_now);
    environment.add_function(KEEP, |state: &State<'_, '_>, value: Value| {
        budget(state)?.keep(value)
    });
    environment.add_function(KEEP_LOOP, keep_loop);
    environment.add_function(KEEP_IN, keep_in);
    environment.add_filter(FACTOR, factor);
    environment.add_function(COUNT, |state: &State<'_, '_>, bytes: usize| {
        budget(state)?.spend(bytes).map(|()| "")
    });
    environment
}

pub(super) fn syntax() -> SyntaxConfig {
    let mut builder = SyntaxConfig::builder();
    builder.trim_blocks(true).lstrip_blocks(true);
    builder.build().expect("the marks are the usual ones")
}

/// Prints a value, captured or not.
fn format(output: &mut Output<'_>, state: &mut State<'_, '_>, value: &Value) -> Result<(), Error> {
    if value.is_undefined() {
        return Ok(());
    }
    let owned;
    let text = match value.as_str() {
        Some(text) => text,
        None => {
            owned = python::text(value);
            &owned
        }
    };
    budget(state)?.make(text.len())?;
    output.write_str(text).map_err(Error::from)
}

fn namespace(
    state: &mut State<'_, '_>,
    builtin: Option<&Value>,
    args: &Kwargs,
) -> Result<Value, Error> {
    let mut kept = Vec::new();
    for name in args.args() {
        let value: Value = args.get(name)?;
        kept.push((name.to_owned(), keep_in(state, value)?));
    }
    let builtin = builtin.ok_or_else(|| invalid("there are no namespaces"))?;
    builtin.call(state, &[Kwargs::from_iter(kept).into()])
}

/// Python goes over no number, and not over `None`.
fn keep_loop(state: &State<'_, '_>, value: Value) -> Result<Value, Error> {
    if matches!(
        value.kind(),
        ValueKind::None | ValueKind::Bool | ValueKind::Number
    ) {
        return Err(invalid(format!(
            "a loop goes over a value of type {}",
            value.kind()
        )));
    }
    budget(state)?.keep(value)
}

fn keep_in(state: &State<'_, '_>, value: Value) -> Result<Value, Error> {
    let value = budget(state)?.keep(value)?;
    if has_namespace(&value) {
        return Err(excess("a namespace is put into a namespace".to_owned()));
    }
    Ok(value)
}

/// Lets texts and lists through, and numbers that may multiply them.
fn factor(value: Value) -> Result<Value, Error> {
    let is_large = value.kind() == ValueKind::Number
        && f64::try_from(value.clone()).is_ok_and(|number| number > MAX_FACTOR);
    if is_large {
        return Err(excess(format!("it multiplies by more than {MAX_FACTOR}")));
    }
    Ok(value)
}

/// A template's own word that it does not take the messages.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Refusal(String);

fn raise_exception(message: &Value) -> Result<Value, Error> {
    let message = python::text(message);
    let refusal = Refusal(message.clone());
    Err(Error::new(ErrorKind::InvalidOperation, message).with_source(refusal))
}

fn strftime_now(state: &State<'_, '_>, format: &str) -> Result<String, Error> {
    let now = state
        .lookup(NOW)
        .and_then(|now| now.downcast_object::<Now>())
        .ok_or_else(|| invalid("it asks what time it is, which it was not told"))?;
    if format.len() > MAX_TIME_FORMAT {
        return Err(invalid("the format of a time is too long"));
    }
    Ok(now.0.strftime(format))
}

/// The time in the context, under [`NOW`].
#[derive(Debug)]
pub(super) struct Now(pub(super) LocalTime);

impl minijinja::value::Object for Now {
    fn repr(self: &Arc<Self>) -> minijinja::value::ObjectRepr {
        minijinja::value::ObjectRepr::Plain
    }
}

/// Name of the time in the context.
pub(super) const NOW: &str = "__guard_now";

/// Whose fault an error is.
pub(super) fn blame(error: &Error) -> ChatTemplateError {
    if error.kind() == ErrorKind::OutOfFuel {
        return ChatTemplateError::Excess(
            "it takes more steps than a conversation of this size needs".to_owned(),
        );
    }
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(cause) = source {
        if let Some(Refusal(message)) = cause.downcast_ref() {
            return ChatTemplateError::Refused(message.clone());
        }
        if let Some(excess) = cause.downcast_ref::<Excess>() {
            return ChatTemplateError::Excess(excess.to_string());
        }
        source = cause.source();
    }
    let mut reason = error.detail().map_or_else(
        || error.kind().to_string(),
        |detail| format!("{}: {detail}", error.kind()),
    );
    if let Some((end, _)) = reason.char_indices().nth(MAX_REASON) {
        reason.truncate(end);
    }
    ChatTemplateError::Template {
        line: error.line(),
        reason,
    }
}

/// Macros in macros, and loops in loops; each takes some of the stack.
const MAX_RECURSION: usize = 64;

/// What a text may be multiplied by: templates indent with it.
const MAX_FACTOR: f64 = 1000.0;

/// Longest format of a time.
const MAX_TIME_FORMAT: usize = 256;

/// Characters of a reason that are shown: it may quote a value.
const MAX_REASON: usize = 400;
