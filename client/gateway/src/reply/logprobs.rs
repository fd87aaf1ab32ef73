//! Logarithms of probabilities in both of OpenAI's shapes.

use serde_json::{Map, Value, json};

use crate::answer::TokenLogprob;

/// `{"content":[{"token","logprob","bytes","top_logprobs"}],"refusal":null}`.
pub(super) fn of_chat(tokens: &[TokenLogprob]) -> Value {
    let one = |text: &str, logprob: Option<f32>| json!({ "token": text, "logprob": logprob, "bytes": text.as_bytes() });
    let content = tokens.iter().map(|token| {
        let top = token.top.iter();
        let mut value = one(&token.text, token.logprob);
        value["top_logprobs"] = top
            .map(|(text, logprob)| one(text, Some(*logprob)))
            .collect();
        value
    });
    json!({ "content": content.collect::<Vec<_>>(), "refusal": null })
}

/// `{"tokens","token_logprobs","top_logprobs","text_offset"}`: four lists of one length. The first token of a prompt has
/// no logarithm.
pub(super) fn of_text(tokens: &[TokenLogprob]) -> Value {
    let top = |token: &TokenLogprob| {
        token.logprob?;
        let top = token.top.iter();
        // Of two tokens with one text the likelier counts.
        let top = top
            .rev()
            .map(|(text, logprob)| (text.clone(), json!(logprob)));
        Some(top.collect::<Map<_, _>>())
    };
    json!({
        "tokens": tokens.iter().map(|token| &token.text).collect::<Vec<_>>(),
        "token_logprobs": tokens.iter().map(|token| token.logprob).collect::<Vec<_>>(),
        "top_logprobs": tokens.iter().map(top).collect::<Vec<_>>(),
        "text_offset": tokens.iter().map(|token| token.offset).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_shapes_have_every_token_with_what_might_have_been() {
        let tokens = [
            TokenLogprob {
                text: "é".to_owned(),
                logprob: None,
                top: Vec::new(),
                offset: 0,
            },
            TokenLogprob {
                text: " b".to_owned(),
                logprob: Some(-0.5),
                top: vec![
                    (" b".to_owned(), -0.5),
                    (" c".to_owned(), -1.0),
                    (" b".to_owned(), -9.0),
                ],
                offset: 1,
            },
        ];
        assert_eq!(
            of_text(&tokens),
            json!({
                "tokens": ["é", " b"],
                "token_logprobs": [null, -0.5],
                "top_logprobs": [null, { " b": -0.5, " c": -1.0 }],
                "text_offset": [0, 1],
            })
        );
        assert_eq!(
            of_chat(&tokens[..1]),
            json!({
                "content": [{ "token": "é", "logprob": null, "bytes": [195, 169], "top_logprobs": [] }],
                "refusal": null,
            })
        );
    }
}
