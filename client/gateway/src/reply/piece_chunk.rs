//! The chunk that brings a piece of text: made once a token, and so written straight into its bytes.

use serde::Serialize;
use serde_json::Value;

use super::{Envelope, Shape};
use crate::answer::Piece;

/// As [`Envelope::object`] with one choice.
#[derive(Debug, Serialize)]
pub(super) struct PieceChunk<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'a str,
    system_fingerprint: &'a str,
    choices: [PieceChoice<'a>; 1],
    /// Null where the last chunk tells the usage, left out elsewhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<()>,
}

/// As [`Envelope::chunk_choice`].
#[derive(Debug, Serialize)]
struct PieceChoice<'a> {
    index: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    delta: Option<Delta<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    /// Null unless asked for.
    logprobs: Option<Value>,
    /// Always null: the choice goes on.
    finish_reason: Option<()>,
}

#[derive(Debug, Serialize)]
struct Delta<'a> {
    content: &'a str,
}

impl<'a> PieceChunk<'a> {
    /// `tells_usage`: whether the stream ends with a chunk of the usage.
    pub(super) fn new(envelope: &'a Envelope, piece: &'a Piece, tells_usage: bool) -> Self {
        let shape = envelope.shape;
        let content = piece.text.as_str();
        let (delta, text) = match shape {
            Shape::Chat => (Some(Delta { content }), None),
            Shape::Text => (None, Some(content)),
        };
        let logprobs = envelope.has_logprobs.then(|| shape.logprobs(piece));
        Self {
            id: &envelope.id,
            object: shape.object(true),
            created: envelope.created,
            model: &envelope.model,
            system_fingerprint: &envelope.fingerprint,
            choices: [PieceChoice {
                index: piece.choice,
                delta,
                text,
                logprobs,
                finish_reason: None,
            }],
            usage: tells_usage.then_some(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::system::Accounts;

    /// The chunk as it would be made as an object, like those that come once a stream.
    fn as_object(envelope: &Envelope, piece: &Piece, tells_usage: bool) -> Value {
        let delta = json!({ "content": piece.text });
        let logprobs = envelope
            .has_logprobs
            .then(|| envelope.shape.logprobs(piece));
        let choice = envelope.chunk_choice(piece.choice, delta, logprobs.unwrap_or_default(), None);
        let mut chunk = envelope.object(true, vec![choice]);
        if tells_usage {
            chunk["usage"] = Value::Null;
        }
        chunk
    }

    #[test]
    fn a_piece_has_the_same_keys_as_every_other_chunk() {
        let piece = Piece {
            choice: 3,
            text: "\"quoted\"\n\u{1}ö".to_owned(),
            logprobs: Vec::new(),
        };
        let shapes = [Shape::Chat, Shape::Text].into_iter();
        for (shape, has_logprobs) in shapes.flat_map(|shape| [(shape, false), (shape, true)]) {
            let envelope = Envelope {
                shape,
                id: "chatcmpl-1".to_owned(),
                created: 7,
                model: "a \"model\"".to_owned(),
                fingerprint: "bs-1".to_owned(),
                has_logprobs,
                prompt_tokens: 2,
                accounts: Accounts::default(),
            };
            for tells_usage in [true, false] {
                let chunk = PieceChunk::new(&envelope, &piece, tells_usage);
                let written = serde_json::to_string(&chunk).unwrap();
                let expected = as_object(&envelope, &piece, tells_usage);
                assert_eq!(serde_json::from_str::<Value>(&written).unwrap(), expected);
                assert!(!written.contains('\n'), "{written}");
            }
        }
    }
}
