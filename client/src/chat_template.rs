//! A conversation → the text that the model continues, by the template of the model's makers.
//!
//! Renders as transformers does (`apply_chat_template`): Jinja with `trim_blocks` and `lstrip_blocks`, loop controls,
//! `raise_exception`, `strftime_now`, `tojson` by Python's `json.dumps`, Python's methods, `{% generation %}` marks, and
//! the special tokens of the model by name. A template comes with a model that anybody may have made, so what it may
//! take is bounded by the size of the conversation.
//!
//! - `message`: what goes in; `error`: why nothing comes out
//! - `origin`: where a model keeps its template
//! - `environment`, `filters`, `methods`, `json`, `python`, `clock`: Jinja as transformers has it
//! - `syntax`, `guard`, `budget`: the bounds

use std::io;

use minijinja::value::ValueKind;
use minijinja::{Environment, Value};

mod budget;
mod clock;
mod environment;
mod error;
mod filters;
mod guard;
mod json;
mod message;
mod methods;
mod origin;
mod python;
mod syntax;

pub use clock::LocalTime;
pub use error::ChatTemplateError;
pub use message::{ChatMessage, MessageContent, RenderOptions, TemplateValue};
pub(crate) use origin::{SpecialTokens, Templates, spelling};

use budget::{BUDGET, Budget};
use environment::{NOW, Now};

/// The chat template of a model; several, if it has special ones.
#[derive(Debug, Clone)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    names: Vec<String>,
    tokens: SpecialTokens,
}

impl ChatTemplate {
    /// Reads a template, such as the text of a `chat_template.jinja`, without special tokens.
    ///
    /// # Errors
    /// [`ChatTemplateError::Template`], [`ChatTemplateError::Excess`] if it is too long.
    pub fn parse(source: &str) -> Result<Self, ChatTemplateError> {
        Self::new(&Templates::one(source.to_owned()), SpecialTokens::default())
    }

    /// The same model with another template.
    ///
    /// # Errors
    /// As [`ChatTemplate::parse`].
    pub fn replaced(&self, source: &str) -> Result<Self, ChatTemplateError> {
        Self::new(&Templates::one(source.to_owned()), self.tokens.clone())
    }

    pub(crate) fn new(
        templates: &Templates,
        tokens: SpecialTokens,
    ) -> Result<Self, ChatTemplateError> {
        let mut environment = environment::environment();
        let mut names = Vec::new();
        for (name, source) in templates.named() {
            if source.len() > MAX_TEMPLATE_BYTES {
                return Err(ChatTemplateError::Excess(format!(
                    "it is longer than {MAX_TEMPLATE_BYTES} bytes"
                )));
            }
            // Jinja ends lines in its own way, too.
            let source = source.replace("\r\n", "\n").replace('\r', "\n");
            let guarded =
                guard::guarded(&source).map_err(|rejection| ChatTemplateError::Template {
                    line: Some(rejection.line),
                    reason: rejection.reason,
                })?;
            environment
                .add_template_owned(name.clone(), guarded)
                .map_err(|error| environment::blame(&error))?;
            names.push(name.clone());
        }
        Ok(Self {
            environment,
            names,
            tokens,
        })
    }

    /// Gives a special token the name that templates call it by, such as `bos_token`, unless it has one by that name.
    #[must_use]
    pub fn with_token(mut self, name: &str, text: &str) -> Self {
        self.tokens.add(name, text.into());
        self
    }

    /// Names of the model's templates; one without a name is `default`.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The text of a conversation. It has its special tokens in it: turn it into ids with
    /// [`TextCodec::encode_continuation`](crate::TextCodec::encode_continuation), which adds none.
    ///
    /// # Errors
    /// [`ChatTemplateError`], which says whose fault it is.
    pub fn render(
        &self,
        messages: &[ChatMessage],
        options: &RenderOptions,
    ) -> Result<String, ChatTemplateError> {
        if options.continue_final_message && options.add_generation_prompt {
            return Err(ChatTemplateError::Request(
                "continue_final_message goes on with the last message, add_generation_prompt begins another: ask for \
                 one of them"
                    .to_owned(),
            ));
        }
        let name = self.choose(options)?;
        let mut context = self.context(messages, options)?;
        let mut size = Size::default();
        for (_, value) in &context {
            size.add(value, 0)?;
        }
        let budget = Budget::of(size.bytes);
        let mut output = BoundedOutput::new(budget.value_bytes());
        context.push((BUDGET.to_owned(), Value::from_object(budget)));
        // Fuel belongs to an environment; a clone shares all else.
        let mut environment = self.environment.clone();
        environment.set_fuel(Some(budget::fuel(size.nodes)));
        let template = environment
            .get_template(name)
            .map_err(|error| environment::blame(&error))?;
        let rendered = template.render_captured_to(Value::from_pairs(context), &mut output);
        if output.is_full {
            return Err(ChatTemplateError::Excess(
                "it writes more than a conversation of this size needs".to_owned(),
            ));
        }
        rendered.map_err(|error| environment::blame(&error))?;
        let text = String::from_utf8(output.bytes).map_err(|_| ChatTemplateError::Template {
            line: None,
            reason: "its text is no UTF-8".to_owned(),
        })?;
        if options.continue_final_message {
            return continued(text, messages.last());
        }
        Ok(text)
    }

    fn choose<'c>(&'c self, options: &'c RenderOptions) -> Result<&'c str, ChatTemplateError> {
        let has = |name: &str| self.names.iter().any(|known| known == name);
        let known = || self.names.join(", ");
        match &options.template {
            Some(name) if has(name) => Ok(name),
            Some(name) => Err(ChatTemplateError::Request(format!(
                "the model has no chat template {name:?}, but: {}",
                known()
            ))),
            None if options.tools.is_some() && has(TOOL_TEMPLATE) => Ok(TOOL_TEMPLATE),
            None if has(DEFAULT_TEMPLATE) => Ok(DEFAULT_TEMPLATE),
            None => Err(ChatTemplateError::Request(format!(
                "the model has several chat templates: choose one of {}",
                known()
            ))),
        }
    }

    fn context(
        &self,
        messages: &[ChatMessage],
        options: &RenderOptions,
    ) -> Result<Vec<(String, Value)>, ChatTemplateError> {
        let list = |values: &Option<Vec<TemplateValue>>| match values {
            Some(values) => values.iter().map(|value| value.0.clone()).collect(),
            None => Value::from(()),
        };
        let mut context: Vec<(String, Value)> = self.tokens.values().collect();
        for (name, value) in &options.variables {
            if RESERVED_NAMES.contains(&name.as_str()) || name.starts_with(guard::RESERVED) {
                return Err(ChatTemplateError::Request(format!(
                    "the name {name} is taken: give another variable to the chat template"
                )));
            }
            context.retain(|(known, _)| known != name);
            context.push((name.clone(), value.0.clone()));
        }
        context.push((
            "messages".to_owned(),
            messages.iter().map(ChatMessage::value).collect(),
        ));
        context.push(("tools".to_owned(), list(&options.tools)));
        context.push(("documents".to_owned(), list(&options.documents)));
        context.push((
            "add_generation_prompt".to_owned(),
            Value::from(options.add_generation_prompt),
        ));
        let now = options.now.map(|now| Value::from_object(Now(now)));
        context.extend(now.map(|now| (NOW.to_owned(), now)));
        Ok(context)
    }
}

/// Cuts a text behind the last message's words, as transformers does.
fn continued(mut text: String, last: Option<&ChatMessage>) -> Result<String, ChatTemplateError> {
    let words = last.and_then(ChatMessage::last_text).ok_or_else(|| {
        ChatTemplateError::Request(
            "continue_final_message needs a last message with text".to_owned(),
        )
    })?;
    let trimmed = words.trim_matches(methods::is_blank);
    let start = text.rfind(trimmed).ok_or_else(|| {
        ChatTemplateError::Request(
            "continue_final_message: the chat template does not keep the last message's text"
                .to_owned(),
        )
    })?;
    let words = words.trim_start_matches(methods::is_blank);
    let length = if text[start..].starts_with(words) {
        words.len()
    } else {
        trimmed.len()
    };
    text.truncate(start + length);
    Ok(text)
}

/// How large an input is.
#[derive(Debug, Default)]
struct Size {
    bytes: usize,
    nodes: usize,
}

impl Size {
    /// # Errors
    /// [`ChatTemplateError::Request`]: too much, or too deep.
    fn add(&mut self, value: &Value, depth: usize) -> Result<(), ChatTemplateError> {
        self.nodes += 1;
        self.bytes += value.as_str().map_or(0, str::len) + NODE_BYTES;
        if self.bytes > MAX_INPUT_BYTES || depth > MAX_INPUT_DEPTH {
            return Err(ChatTemplateError::Request(format!(
                "messages, tools and variables may have {MAX_INPUT_BYTES} bytes, and be nested {MAX_INPUT_DEPTH} deep"
            )));
        }
        let items = value.try_iter().into_iter().flatten();
        match value.kind() {
            ValueKind::Seq | ValueKind::Iterable => {
                for item in items {
                    self.add(&item, depth + 1)?;
                }
            }
            ValueKind::Map => {
                for key in items {
                    self.add(&key, depth + 1)?;
                    if let Ok(item) = value.get_item(&key) {
                        self.add(&item, depth + 1)?;
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// Text as it is written, up to a limit.
struct BoundedOutput {
    bytes: Vec<u8>,
    limit: usize,
    is_full: bool,
}

impl BoundedOutput {
    fn new(limit: usize) -> Self {
        Self {
            bytes: Vec::new(),
            limit,
            is_full: false,
        }
    }
}

impl io::Write for BoundedOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() > self.limit - self.bytes.len() {
            self.is_full = true;
            return Err(io::Error::from(io::ErrorKind::WriteZero));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

const DEFAULT_TEMPLATE: &str = "default";
const TOOL_TEMPLATE: &str = "tool_use";

/// Names that the rendering itself gives.
const RESERVED_NAMES: [&str; 4] = ["messages", "tools", "documents", "add_generation_prompt"];

/// Longest template: the longest of current models have 30,000 bytes.
const MAX_TEMPLATE_BYTES: usize = 256 * 1024;

/// Largest input: some two million tokens.
const MAX_INPUT_BYTES: usize = 8 * 1024 * 1024;

/// How deep an input may be nested: two less than what a template may name.
const MAX_INPUT_DEPTH: usize = 48;

/// Bytes of a value beside its text.
const NODE_BYTES: usize = 24;

#[cfg(test)]
mod tests;
