//! `tokenizer.model`: SentencePiece's file.
//!
//! A protobuf (`sentencepiece_model.proto`, 0.2), of which this is read; all else is passed over:
//!
//! | message           | field | name                                                     | default |
//! |-------------------|------:|----------------------------------------------------------|---------|
//! | `ModelProto`      |     1 | `pieces`, repeated `SentencePiece`                       |         |
//! |                   |     2 | `trainer_spec`                                           |         |
//! |                   |     3 | `normalizer_spec`                                        |         |
//! | `SentencePiece`   |     1 | `piece`, text                                            |         |
//! |                   |     2 | `score`, float                                           | 0       |
//! |                   |     3 | `type`, see [`PieceKind`]                                | 1       |
//! | `TrainerSpec`     |     3 | `model_type`: 1 unigram, 2 BPE, 3 words, 4 characters    | 1       |
//! |                   |    24 | `treat_whitespace_as_suffix`                             | false   |
//! |                   |    35 | `byte_fallback`                                          | false   |
//! |                   | 40–42 | `unk_id`, `bos_id`, `eos_id`; -1 is none                 | 0, 1, 2 |
//! | `NormalizerSpec`  |     2 | `precompiled_charsmap`                                   | none    |
//! |                   |   3–5 | `add_dummy_prefix`, `remove_extra_whitespaces`, `escape_whitespaces` | true |

use prost::Message;
use prost::bytes::Buf;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

use super::TextError;

/// A model as its file says.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct SentencePieceFile {
    pub(super) pieces: Vec<Piece>,
    pub(super) trainer: TrainerSpec,
    pub(super) normalizer: NormalizerSpec,
}

/// A piece of the vocabulary; its place is its id.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Piece {
    pub(super) text: String,
    pub(super) score: f32,
    pub(super) kind: PieceKind,
}

/// What a piece is; GGUF has the same numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PieceKind {
    /// 1: made by merging, or by choosing the likeliest.
    Normal,
    /// 2: stands for what no other piece can.
    Unknown,
    /// 3: never in a text, such as the beginning of a sequence.
    Control,
    /// 4: never cut.
    UserDefined,
    /// 5: never made.
    Unused,
    /// 6: a byte, as `<0x41>`.
    Byte,
}

#[derive(Clone, PartialEq, Message)]
struct PieceMessage {
    #[prost(string, optional, tag = "1")]
    piece: Option<String>,
    #[prost(float, optional, tag = "2")]
    score: Option<f32>,
    #[prost(int32, optional, tag = "3", default = "1")]
    kind: Option<i32>,
}

/// How the model was trained, and what some ids mean.
#[derive(Clone, PartialEq, Message)]
pub(super) struct TrainerSpec {
    #[prost(int32, optional, tag = "3", default = "1")]
    pub(super) model_type: Option<i32>,
    #[prost(bool, optional, tag = "24")]
    pub(super) treat_whitespace_as_suffix: Option<bool>,
    #[prost(bool, optional, tag = "35")]
    pub(super) byte_fallback: Option<bool>,
    #[prost(int32, optional, tag = "40", default = "0")]
    pub(super) unk_id: Option<i32>,
    #[prost(int32, optional, tag = "41", default = "1")]
    pub(super) bos_id: Option<i32>,
    #[prost(int32, optional, tag = "42", default = "2")]
    pub(super) eos_id: Option<i32>,
}

/// What is done to a text first.
#[derive(Clone, PartialEq, Message)]
pub(super) struct NormalizerSpec {
    #[prost(bytes = "vec", optional, tag = "2")]
    pub(super) precompiled_charsmap: Option<Vec<u8>>,
    #[prost(bool, optional, tag = "3", default = "true")]
    pub(super) add_dummy_prefix: Option<bool>,
    #[prost(bool, optional, tag = "4", default = "true")]
    pub(super) remove_extra_whitespaces: Option<bool>,
    #[prost(bool, optional, tag = "5", default = "true")]
    pub(super) escape_whitespaces: Option<bool>,
}

impl SentencePieceFile {
    /// Parses the bytes of a `tokenizer.model`.
    ///
    /// # Errors
    /// [`TextError`] if they are no such protobuf, or have too many pieces.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, TextError> {
        let mut file = Self {
            pieces: Vec::new(),
            trainer: TrainerSpec::default(),
            normalizer: NormalizerSpec::default(),
        };
        file.read(bytes)
            .map_err(|reason| TextError::new(format!("no SentencePiece model: {reason}")))?;
        if file.pieces.is_empty() {
            return Err(TextError::new("no SentencePiece model: it has no pieces"));
        }
        Ok(file)
    }

    /// Field by field, so that the number of pieces is checked as they come.
    fn read(&mut self, mut bytes: &[u8]) -> Result<(), String> {
        let damaged = |error: prost::DecodeError| error.to_string();
        while bytes.has_remaining() {
            let (tag, wire_type) = decode_key(&mut bytes).map_err(damaged)?;
            if wire_type != WireType::LengthDelimited || tag > 3 {
                let context = DecodeContext::default();
                skip_field(wire_type, tag, &mut bytes, context).map_err(damaged)?;
                continue;
            }
            let length = decode_varint(&mut bytes).map_err(damaged)?;
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            let Some((body, rest)) = bytes.split_at_checked(length) else {
                return Err("it ends in the middle".to_owned());
            };
            bytes = rest;
            match tag {
                1 if self.pieces.len() >= MAX_PIECES => {
                    return Err(format!("it has more than {MAX_PIECES} pieces"));
                }
                1 => self.pieces.push(Piece::decode(body)?),
                2 => self.trainer.merge(body).map_err(damaged)?,
                _ => self.normalizer.merge(body).map_err(damaged)?,
            }
        }
        Ok(())
    }
}

impl Piece {
    fn decode(body: &[u8]) -> Result<Self, String> {
        let message = PieceMessage::decode(body).map_err(|error| error.to_string())?;
        let kind = message.kind();
        Ok(Self {
            score: message.score(),
            text: message.piece.unwrap_or_default(),
            kind: PieceKind::of(kind)
                .ok_or_else(|| format!("a piece of an unknown type {kind}"))?,
        })
    }
}

impl PieceKind {
    pub(super) fn of(number: i32) -> Option<Self> {
        Some(match number {
            1 => Self::Normal,
            2 => Self::Unknown,
            3 => Self::Control,
            4 => Self::UserDefined,
            5 => Self::Unused,
            6 => Self::Byte,
            _ => return None,
        })
    }
}

/// Most pieces of a vocabulary: the largest known have 262,144.
pub(super) const MAX_PIECES: usize = 1 << 20;
