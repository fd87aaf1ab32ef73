//! A tokenizer from its parts.

use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokenizers::{
    AddedToken, DecoderWrapper, ModelWrapper, NormalizerWrapper, PostProcessorWrapper,
    PreTokenizerWrapper, Tokenizer,
};

use super::TextError;

/// What a tokenizer is made of; the parts in JSON are spelled as in a `tokenizer.json`.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) model: ModelWrapper,
    /// `null` for none.
    pub(super) normalizer: Value,
    /// `null` for none.
    pub(super) pre_tokenizer: Value,
    pub(super) decoder: Value,
    /// Tokens that are found in a text as they are, with their ids.
    pub(super) added: Vec<(u32, AddedToken)>,
    /// Put before a text, and behind it.
    pub(super) frame: Frame,
}

/// Special tokens around a text at the start of a sequence.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Frame {
    pub(super) before: Option<u32>,
    pub(super) behind: Option<u32>,
}

impl Parts {
    /// # Errors
    /// [`TextError`]: a part is not one of `tokenizers`, or a token has no room at its id.
    pub(super) fn assemble(mut self) -> Result<Tokenizer, TextError> {
        let mut tokenizer = Tokenizer::new(self.model);
        let normalizer: Option<NormalizerWrapper> = part(self.normalizer)?;
        tokenizer
            .with_normalizer(normalizer)
            .map_err(|error| TextError::new(error.to_string()))?;
        tokenizer.with_pre_tokenizer(part::<PreTokenizerWrapper>(self.pre_tokenizer)?);
        tokenizer.with_decoder(part::<DecoderWrapper>(self.decoder)?);
        self.added.sort_by_key(|(id, _)| *id);
        for (id, token) in self.added {
            let text = token.content.clone();
            tokenizer
                .add_tokens([token])
                .map_err(|error| TextError::new(error.to_string()))?;
            let found = tokenizer.token_to_id(&text);
            if found != Some(id) {
                return Err(TextError::new(format!(
                    "the token {text:?} should have the id {id}, and would get {found:?}"
                )));
            }
        }
        let frame = self.frame.processor(&tokenizer)?;
        tokenizer.with_post_processor(part::<PostProcessorWrapper>(frame)?);
        Ok(tokenizer)
    }
}

impl Frame {
    fn processor(self, tokenizer: &Tokenizer) -> Result<Value, TextError> {
        let mut tokens = serde_json::Map::new();
        let mut single = Vec::new();
        let mut special = |id: Option<u32>, single: &mut Vec<Value>| {
            let Some(id) = id else { return Ok(()) };
            let text = tokenizer.id_to_token(id).ok_or_else(|| {
                TextError::new(format!("the special token {id} is not in the vocabulary"))
            })?;
            tokens.insert(
                text.clone(),
                json!({"id": text, "ids": [id], "tokens": [text]}),
            );
            single.push(json!({"SpecialToken": {"id": text, "type_id": 0}}));
            Ok(())
        };
        special(self.before, &mut single)?;
        single.push(json!({"Sequence": {"id": "A", "type_id": 0}}));
        special(self.behind, &mut single)?;
        if tokens.is_empty() {
            return Ok(Value::Null);
        }
        let mut pair = single.clone();
        pair.push(json!({"Sequence": {"id": "B", "type_id": 1}}));
        Ok(
            json!({"type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": tokens}),
        )
    }
}

fn part<T: DeserializeOwned>(json: Value) -> Result<Option<T>, TextError> {
    if json.is_null() {
        return Ok(None);
    }
    serde_json::from_value(json)
        .map(Some)
        .map_err(|error| TextError::new(error.to_string()))
}
