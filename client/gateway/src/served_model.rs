//! A model as the gateway serves it.

use block_client::{
    ChatTemplate, ChatTemplateError, RemoteModel, SamplingConfig, SamplingOverrides, ViewSnapshot,
};

use crate::api_error::{ApiError, ErrorCode};
use crate::chat_style::ChatStyle;
use crate::request::{Conversation, PromptInput};

/// A model as the gateway serves it.
#[derive(Debug)]
pub struct ServedModel {
    name: String,
    remote: RemoteModel,
    chat: ChatStyle,
    max_model_len: usize,
    max_tokens_cap: Option<usize>,
    revision: Option<String>,
    source: Option<String>,
    fingerprint: String,
}

/// How a model is served; [`ServedModelOptions::new`] fills in defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServedModelOptions {
    /// What requests call it.
    pub name: String,
    /// The commit of its files, where known.
    pub revision: Option<String>,
    /// What `--model` of a server takes for it on any machine, where that is known.
    pub source: Option<String>,
    /// Text of a chat template that takes the place of the model's own.
    pub chat_template: Option<String>,
    /// Most tokens of a prompt and its answer, instead of what the model was made for.
    pub max_model_len: Option<usize>,
    /// Most tokens of an answer; a request for more is refused. Default: what fits.
    pub max_tokens_cap: Option<usize>,
}

impl ServedModelOptions {
    /// The defaults, for a model that is called `name`.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            revision: None,
            source: None,
            chat_template: None,
            max_model_len: None,
            max_tokens_cap: None,
        }
    }
}

impl ServedModel {
    /// A model as it is served.
    ///
    /// # Errors
    /// The given template cannot be used. That the model's own cannot is told to those who chat.
    pub fn new(
        remote: RemoteModel,
        options: ServedModelOptions,
    ) -> Result<Self, ChatTemplateError> {
        let chat = match options.chat_template {
            Some(text) => ChatStyle::Template(match remote.local.chat_template() {
                Ok(own) => own.replaced(&text)?,
                Err(_) => ChatTemplate::parse(&text)?,
            }),
            None => ChatStyle::of_model(&remote.local),
        };
        let config = &remote.local.config;
        let commit = options.revision.as_deref().unwrap_or("local");
        let commit = commit.get(..SHORT_COMMIT).unwrap_or(commit);
        let dtype = config.dtype.map_or("any", |dtype| dtype.name());
        Ok(Self {
            fingerprint: format!("bs-{}-{commit}-{dtype}", env!("CARGO_PKG_VERSION")),
            max_model_len: options.max_model_len.unwrap_or(config.max_positions),
            name: options.name,
            chat,
            max_tokens_cap: options.max_tokens_cap,
            revision: options.revision,
            source: options.source,
            remote,
        })
    }

    /// What requests call it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The model in its swarm.
    #[must_use]
    pub fn remote(&self) -> &RemoteModel {
        &self.remote
    }

    /// Most tokens of a prompt and its answer.
    #[must_use]
    pub fn max_model_len(&self) -> usize {
        self.max_model_len
    }

    /// Most tokens of an answer.
    #[must_use]
    pub fn max_tokens_cap(&self) -> Option<usize> {
        self.max_tokens_cap
    }

    /// The commit of its files, where known.
    #[must_use]
    pub fn revision(&self) -> Option<&str> {
        self.revision.as_deref()
    }

    /// What `--model` of a server takes for it on any machine, where that is known.
    pub(crate) fn source(&self) -> Option<&str> {
        self.source.as_deref()
    }

    /// What must be the same for the same answer: program, files and element type.
    pub(crate) fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// What is known of its servers.
    pub(crate) fn snapshot(&self) -> ViewSnapshot {
        self.remote.view.snapshot()
    }

    /// How conversations become prompts.
    pub(crate) fn chat(&self) -> &ChatStyle {
        &self.chat
    }

    /// The tokens of a conversation, and its text.
    ///
    /// # Errors
    /// The template does not take it, or there is none that can be used.
    pub(crate) fn chat_prompt(
        &self,
        conversation: &Conversation,
    ) -> Result<(String, Vec<u32>), ApiError> {
        let (text, ids) = self
            .chat
            .prompt(&self.remote.local.tokenizer, conversation)?;
        self.check_ids("messages", &ids)?;
        Ok((text, ids))
    }

    /// The tokens of a prompt, and its text.
    ///
    /// # Errors
    /// No tokens, or some that the model does not have.
    pub(crate) fn prompt(&self, input: PromptInput) -> Result<(String, Vec<u32>), ApiError> {
        let codec = &self.remote.local.tokenizer;
        let failed =
            |error: block_client::TextError| ApiError::invalid("prompt", error.to_string());
        let (text, ids) = match input {
            PromptInput::Text(text) => {
                let ids = codec.encode(&text).map_err(failed)?;
                (text, ids)
            }
            PromptInput::Ids(ids) => {
                self.check_ids("prompt", &ids)?;
                (codec.decode(&ids).map_err(failed)?, ids)
            }
        };
        self.check_ids("prompt", &ids)?;
        Ok((text, ids))
    }

    fn check_ids(&self, param: &str, ids: &[u32]) -> Result<(), ApiError> {
        let vocab = self.remote.local.config.vocab;
        if ids.is_empty() {
            return Err(ApiError::invalid(
                param,
                format!("{param}: no token to continue from"),
            ));
        }
        match ids.iter().find(|id| **id as usize >= vocab) {
            Some(id) => Err(ApiError::invalid(
                param,
                format!("{param}: there is no token {id}, the model has {vocab}, from 0"),
            )),
            None => Ok(()),
        }
    }

    /// Most tokens of an answer to `prompt` tokens, which the field `param` has: as asked, else as the model's makers say, else what fits.
    ///
    /// # Errors
    /// `ContextLengthExceeded`, or more than this gateway gives.
    pub(crate) fn max_tokens(
        &self,
        (param, prompt): (&str, usize),
        asked: Option<usize>,
    ) -> Result<usize, ApiError> {
        let left = self.max_model_len.saturating_sub(prompt);
        if let (Some(asked), Some(cap)) = (asked, self.max_tokens_cap)
            && asked > cap
        {
            let text = format!("max_tokens may be {cap} at most at this gateway, not {asked}");
            return Err(ApiError::invalid("max_tokens", text));
        }
        let advised = self.remote.local.generation_defaults().max_tokens(prompt);
        let cap = self.max_tokens_cap.unwrap_or(usize::MAX);
        let tokens =
            asked.unwrap_or_else(|| left.min(cap).min(advised.unwrap_or(usize::MAX).max(1)));
        if tokens > left || left == 0 && asked.is_none() {
            return Err(ApiError::new(
                ErrorCode::ContextLengthExceeded,
                format!(
                    "the prompt has {prompt} tokens and its answer may have {}: the model takes {} together",
                    asked.unwrap_or(1),
                    self.max_model_len
                ),
            )
            .about(param));
        }
        Ok(tokens)
    }

    /// How tokens are chosen: as asked, else as the model's makers say, else by the model's own distribution. The
    /// choice with number `index` has a seed of its own.
    pub(crate) fn sampling(&self, asked: &SamplingOverrides, index: usize) -> SamplingConfig {
        let advised = self.remote.local.generation_defaults();
        let temperature = match (advised.do_sample, advised.temperature) {
            (Some(false), _) => 0.0,
            (_, temperature) => temperature.unwrap_or(1.0),
        };
        let asked = SamplingOverrides {
            temperature: Some(asked.temperature.unwrap_or(temperature)),
            seed: asked.seed.map(|seed| seed.wrapping_add(index as u64)),
            ..asked.clone()
        };
        advised.overridden(&asked)
    }
}

/// Characters of a commit that tell it from others.
const SHORT_COMMIT: usize = 7;
