//! The tokenizer in a GGUF file's metadata.
//!
//! `tokenizer.ggml.model` says which kind it is: `llama` is SentencePiece's BPE, by scores; `gpt2` a byte-level BPE, by
//! its list of merges, whose way of cutting words `tokenizer.ggml.pre` names.

use std::collections::HashMap;

use serde_json::json;
use tokenizers::models::bpe::{BPE, Merges, Vocab};
use tokenizers::{AddedToken, ModelWrapper, Tokenizer};

use super::TextError;
use super::assembly::{Frame, Parts};
use super::pre_tokenizer::{NAMES, PreTokenizer};
use super::sentencepiece::{MAX_PIECES, Piece, PieceKind};
use super::spm::{Algorithm, Prefix, SpmModel};

/// What a GGUF file says of its tokenizer; keys under `tokenizer.ggml.`.
#[derive(Debug, Clone, Default)]
pub struct GgufVocabulary<'f> {
    /// `model`: `gpt2` or `llama`.
    pub model: &'f str,
    /// `pre`: how words are cut; for `gpt2`.
    pub pre: Option<&'f str>,
    /// `tokens`, in the order of their ids.
    pub tokens: &'f [String],
    /// `scores`, one a token; for `llama`.
    pub scores: &'f [f32],
    /// `token_type`, one a token: 1 ordinary, 2 unknown, 3 control, 4 of the user, 5 unused, 6 a byte; empty for 1.
    pub token_types: &'f [i32],
    /// `merges`, two tokens with a blank between them, the first to be made first; for `gpt2`.
    pub merges: &'f [String],
    /// `bos_token_id`.
    pub bos: Option<u32>,
    /// `eos_token_id`.
    pub eos: Option<u32>,
    /// `unknown_token_id`.
    pub unknown: Option<u32>,
    /// `add_bos_token`; the kind decides if the file does not say.
    pub add_bos: Option<bool>,
    /// `add_eos_token`.
    pub add_eos: Option<bool>,
    /// `add_space_prefix`; true for `llama` if the file does not say.
    pub add_space_prefix: Option<bool>,
}

impl GgufVocabulary<'_> {
    /// # Errors
    /// [`TextError`]: a kind that is not known, or fields that do not fit each other.
    pub(super) fn tokenizer(&self) -> Result<Tokenizer, TextError> {
        if self.tokens.is_empty() || self.tokens.len() > MAX_PIECES {
            return Err(TextError::new(format!(
                "the GGUF file has {} tokens: from 1 to {MAX_PIECES} can be read",
                self.tokens.len()
            )));
        }
        match self.model {
            "gpt2" => self.byte_level(),
            "llama" => self.sentencepiece(),
            other => Err(TextError::new(format!(
                "the GGUF file has a tokenizer of the kind {other:?}; gpt2 and llama can be read: put the model's \
                 tokenizer.json beside it"
            ))),
        }
    }

    fn kinds(&self) -> Result<Vec<PieceKind>, TextError> {
        if self.token_types.is_empty() {
            return Ok(vec![PieceKind::Normal; self.tokens.len()]);
        }
        self.check_length("token_type", self.token_types.len())?;
        self.token_types
            .iter()
            .map(|number| {
                PieceKind::of(*number).ok_or_else(|| {
                    TextError::new(format!(
                        "the GGUF file has a token of an unknown type {number}"
                    ))
                })
            })
            .collect()
    }

    fn check_length(&self, field: &str, length: usize) -> Result<(), TextError> {
        if length != self.tokens.len() {
            return Err(TextError::new(format!(
                "the GGUF file has {} tokens, but {length} values of {field}",
                self.tokens.len()
            )));
        }
        Ok(())
    }

    fn frame(&self, adds_bos: bool) -> Frame {
        Frame {
            before: self.bos.filter(|_| self.add_bos.unwrap_or(adds_bos)),
            behind: self.eos.filter(|_| self.add_eos.unwrap_or(false)),
        }
    }

    fn sentencepiece(&self) -> Result<Tokenizer, TextError> {
        self.check_length("scores", self.scores.len())?;
        let kinds = self.kinds()?;
        let has_bytes = kinds.contains(&PieceKind::Byte);
        let pieces = self.tokens.iter().zip(self.scores).zip(kinds);
        let model = SpmModel {
            pieces: pieces
                .map(|((text, score), kind)| Piece {
                    text: text.clone(),
                    score: *score,
                    kind,
                })
                .collect(),
            algorithm: Algorithm::Bpe,
            unknown: self.unknown,
            byte_fallback: has_bytes,
            prefix: if self.add_space_prefix.unwrap_or(true) {
                Prefix::EveryPart
            } else {
                Prefix::Never
            },
            removes_blanks: false,
            frame: self.frame(true),
            added: Vec::new(),
        };
        model.tokenizer()
    }

    fn byte_level(&self) -> Result<Tokenizer, TextError> {
        let name = self.pre.unwrap_or("");
        let cuts = PreTokenizer::named(name).ok_or_else(|| {
            TextError::new(format!(
                "the GGUF file cuts words as {name:?} does, which is not known; known are {}: put the model's \
                 tokenizer.json beside it",
                NAMES.join(", ")
            ))
        })?;
        let mut ids: HashMap<&str, u32> = HashMap::with_capacity(self.tokens.len());
        for (id, token) in (0..).zip(self.tokens) {
            if ids.insert(token, id).is_some() {
                return Err(TextError::new(format!(
                    "the GGUF file has the token {token:?} twice"
                )));
            }
        }
        let vocab: Vocab = ids
            .iter()
            .map(|(text, id)| ((*text).to_owned(), *id))
            .collect();
        let model = BPE::builder()
            .vocab_and_merges(vocab, self.read_merges(&ids)?)
            .ignore_merges(cuts.ignores_merges)
            .build()
            .map_err(|error| TextError::new(error.to_string()))?;
        let added = (0..).zip(self.tokens).zip(self.kinds()?);
        let added = added.filter_map(|((id, token), kind)| {
            let is_special = match kind {
                PieceKind::Control | PieceKind::Unknown => true,
                PieceKind::UserDefined => false,
                PieceKind::Normal | PieceKind::Unused | PieceKind::Byte => return None,
            };
            let token = AddedToken::from(token.clone(), is_special).normalized(false);
            Some((id, token))
        });
        let parts = Parts {
            model: ModelWrapper::BPE(model),
            normalizer: cuts.normalizer,
            pre_tokenizer: cuts.pre_tokenizer,
            decoder: json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true}),
            added: added
                .filter(|(_, token)| !token.content.is_empty())
                .collect(),
            frame: self.frame(cuts.adds_bos),
        };
        parts.assemble()
    }

    fn read_merges(&self, ids: &HashMap<&str, u32>) -> Result<Merges, TextError> {
        if self.merges.len() > MAX_MERGES {
            return Err(TextError::new(format!(
                "the GGUF file has more than {MAX_MERGES} merges"
            )));
        }
        let mut made = String::new();
        self.merges
            .iter()
            .map(|merge| {
                // The first character may be a blank itself.
                let first = merge.chars().next().map_or(0, char::len_utf8);
                let parts = merge[first..].find(' ').map(|at| {
                    let (left, right) = merge.split_at(first + at);
                    (left, &right[1..])
                });
                let known = parts.filter(|(left, right)| {
                    made.clear();
                    made.push_str(left);
                    made.push_str(right);
                    [left, right, made.as_str()]
                        .iter()
                        .all(|token| ids.contains_key(*token))
                });
                let (left, right) = known.ok_or_else(|| {
                    TextError::new(format!(
                        "the GGUF file's merge {merge:?} is not of two tokens that make a third"
                    ))
                })?;
                Ok((left.to_owned(), right.to_owned()))
            })
            .collect()
    }
}

/// Most merges: vocabularies have one for nearly each token.
const MAX_MERGES: usize = MAX_PIECES;
