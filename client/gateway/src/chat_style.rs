//! How a conversation becomes a prompt.

use block_client::{
    ChatTemplate, ChatTemplateError, LocalModel, LocalTime, RenderOptions, TextCodec,
};
use block_network::unix_time;

use crate::api_error::ApiError;
use crate::request::Conversation;

/// How the conversations of one model become prompts.
#[derive(Debug)]
pub(crate) enum ChatStyle {
    /// By the template of the model's makers, or the operator's.
    Template(ChatTemplate),
    /// The makers gave none, so it is a base model: [`PLAIN`], with the special tokens that its tokenizer adds.
    Plain(ChatTemplate),
    /// The makers' template cannot be used; this is why.
    Unusable(String),
}

/// The prompt of a base model: the messages as one text that the model goes on with. A question begins a paragraph, an
/// answer goes on where the question ended, as the model has written it.
pub(crate) const PLAIN: &str = "{%- for message in messages -%}
{%- if not loop.first and message.role != 'assistant' %}{{ '\\n\\n' }}{% endif -%}
{{ message.content }}
{%- endfor -%}";

impl ChatStyle {
    /// By the model's own template.
    pub(crate) fn of_model(model: &LocalModel) -> Self {
        match model.chat_template() {
            Ok(template) => Self::Template(template.clone()),
            Err(ChatTemplateError::Missing) => match ChatTemplate::parse(PLAIN) {
                Ok(plain) => Self::Plain(plain),
                Err(error) => Self::Unusable(error.to_string()),
            },
            Err(error) => Self::Unusable(error.to_string()),
        }
    }

    /// Whose template it is, for people: `model`, `plain` or `unusable`.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Template(_) => "template",
            Self::Plain(_) => "plain",
            Self::Unusable(_) => "unusable",
        }
    }

    /// Text and tokens of a conversation.
    ///
    /// # Errors
    /// There is no template that can be used, or it does not take these messages: all 400, since asking again helps
    /// nobody.
    pub(crate) fn prompt(
        &self,
        codec: &TextCodec,
        conversation: &Conversation,
    ) -> Result<(String, Vec<u32>), ApiError> {
        let failed = |error: String| ApiError::invalid("messages", error);
        let template = match self {
            Self::Template(template) | Self::Plain(template) => template,
            Self::Unusable(reason) => {
                return Err(failed(format!(
                    "{reason}; start the gateway with --chat-template FILE, or use /v1/completions"
                )));
            }
        };
        let options = RenderOptions {
            add_generation_prompt: conversation.add_generation_prompt,
            continue_final_message: conversation.continue_final_message,
            variables: conversation.variables.clone(),
            // A gateway does not know where its callers are.
            now: Some(LocalTime::in_greenwich(unix_time())),
            ..RenderOptions::default()
        };
        let text = template
            .render(&conversation.messages, &options)
            .map_err(|error| failed(error.to_string()))?;
        let ids = match self {
            Self::Plain(_) => codec.encode(&text),
            Self::Template(_) | Self::Unusable(_) => codec.encode_continuation(&text),
        };
        let ids = ids.map_err(|error| failed(error.to_string()))?;
        Ok((text, ids))
    }
}

#[cfg(test)]
mod tests {
    use block_client::ChatMessage;

    use super::*;

    #[test]
    fn a_base_model_goes_on_with_the_text_of_the_conversation() {
        let messages = [
            ("system", "A tale."),
            ("user", "Once upon a time"),
            ("assistant", ", there was a fox."),
            ("user", "Then"),
        ];
        let messages = messages.map(|(role, text)| ChatMessage::new(role, text));
        let text = ChatTemplate::parse(PLAIN)
            .unwrap()
            .render(&messages, &RenderOptions::default());
        assert_eq!(
            text.unwrap(),
            "A tale.\n\nOnce upon a time, there was a fox.\n\nThen"
        );
    }
}
