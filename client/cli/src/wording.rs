//! From messages to the tokens that a model is to continue.

use block_client::{ChatMessage, ChatTemplateError, LocalModel, LocalTime, RenderOptions};
use block_network::unix_time;
use block_program::{Exit, Failure};

/// How a conversation is put to a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wording {
    /// As the model's chat template has it.
    Template,
    /// One text that goes on, turn after turn: for models without a template.
    Plain,
}

impl Wording {
    /// The template if the model has one and `is_raw` does not forbid it.
    ///
    /// # Errors
    /// It has one that cannot be used (exit 65).
    pub(crate) fn of(model: &LocalModel, is_raw: bool) -> Result<Self, Failure> {
        if is_raw {
            return Ok(Self::Plain);
        }
        match model.chat_template() {
            Ok(_) => Ok(Self::Template),
            Err(ChatTemplateError::Missing) => Ok(Self::Plain),
            Err(error) => Err(template_failure(&error)),
        }
    }
}

/// The tokens of a whole conversation by the model's template, up to where the answer begins.
///
/// # Errors
/// The template refuses the messages (exit 2) or is of no use (65).
pub(crate) fn rendered(model: &LocalModel, messages: &[ChatMessage]) -> Result<Vec<u32>, Failure> {
    let options = RenderOptions {
        add_generation_prompt: true,
        now: Some(LocalTime::in_greenwich(unix_time())),
        ..RenderOptions::default()
    };
    let text = model
        .chat_template()
        .and_then(|template| template.render(messages, &options))
        .map_err(|error| template_failure(&error))?;
    // The template has written the special tokens already.
    let ids = model.tokenizer.encode_continuation(&text);
    ids.map_err(|error| {
        Failure::new(Exit::BadData, "the prompt cannot be turned into tokens").caused_by(&error)
    })
}

fn template_failure(error: &ChatTemplateError) -> Failure {
    let exit = if error.is_callers() {
        Exit::Usage
    } else {
        Exit::BadData
    };
    Failure::new(
        exit,
        "the conversation cannot be put into the model's words",
    )
    .caused_by(error)
    .hint("--raw gives the model the text as it is, without a chat template")
}
