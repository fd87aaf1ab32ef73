//! An answer as one object.

use serde_json::{Value, json};

use super::{Envelope, Shape, account};
use crate::answer::{Account, Answer, Event, TokenLogprob};
use crate::api_error::ApiError;

/// One choice as far as it has come.
#[derive(Debug, Default)]
struct Choice {
    text: String,
    logprobs: Vec<TokenLogprob>,
    reason: &'static str,
    tokens: usize,
    cached: usize,
    account: Account,
}

/// Waits for all choices.
///
/// # Errors
/// Of the first choice that failed.
pub(crate) async fn whole(
    envelope: &Envelope,
    mut answer: Answer,
    choices: usize,
) -> Result<Value, ApiError> {
    let mut collected: Vec<Choice> = Vec::new();
    collected.resize_with(choices, Choice::default);
    while let Some(event) = answer.next().await {
        match event? {
            Event::Pieces(pieces) => {
                for piece in pieces {
                    if let Some(choice) = collected.get_mut(piece.choice) {
                        choice.text += &piece.text;
                        choice.logprobs.extend(piece.logprobs);
                    }
                }
            }
            Event::Ended(ended) => {
                if let Some(choice) = collected.get_mut(ended.choice) {
                    choice.reason = ended.reason;
                    choice.tokens = ended.tokens;
                    choice.cached = ended.cached;
                    choice.account = ended.account;
                }
            }
            Event::Failed(error) => return Err(error),
        }
    }
    let cached = collected.iter().map(|choice| choice.cached).sum();
    let tokens = collected.iter().map(|choice| choice.tokens).sum();
    let account = account::json(collected.iter().map(|choice| &choice.account));
    envelope.publish(&account);
    let numbered = collected.into_iter().enumerate();
    let values = numbered.map(|(index, choice)| envelope.whole_choice(index, choice));
    let mut object = envelope.object(false, values.collect());
    object["usage"] = envelope.usage(tokens, cached);
    object["swarm"] = account;
    Ok(object)
}

impl Envelope {
    fn whole_choice(&self, index: usize, choice: Choice) -> Value {
        let logprobs = match (self.has_logprobs, self.shape) {
            (false, _) => Value::Null,
            (true, Shape::Chat) => super::logprobs::of_chat(&choice.logprobs),
            (true, Shape::Text) => super::logprobs::of_text(&choice.logprobs),
        };
        let mut value = json!({
            "index": index, "logprobs": logprobs, "finish_reason": choice.reason,
        });
        match self.shape {
            Shape::Chat => {
                value["message"] =
                    json!({ "role": "assistant", "content": choice.text, "refusal": null });
            }
            Shape::Text => value["text"] = choice.text.into(),
        }
        value
    }
}
