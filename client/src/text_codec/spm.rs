//! SentencePiece's vocabulary → a tokenizer that gives the same ids.
//!
//! Unigram models choose the likeliest pieces, BPE models merge by score; both are models of `tokenizers`, as
//! transformers' converters make them (`convert_slow_tokenizer.py`), with these differences, all towards SentencePiece:
//! only ordinary pieces take part in merging; pieces of bytes and control pieces are never likely; blanks are removed by
//! the file's rules and nothing else is. What cannot be converted exactly is an error. Of unigram's pieces that are
//! equally likely together, the other ones may be chosen: SentencePiece adds in f32, `tokenizers` in f64.

use std::collections::HashMap;

use serde_json::{Value, json};
use tokenizers::models::bpe::{BPE, Merges, Vocab};
use tokenizers::models::unigram::Unigram;
use tokenizers::{AddedToken, ModelWrapper, Tokenizer};

use super::assembly::{Frame, Parts};
use super::sentencepiece::{Piece, PieceKind, SentencePieceFile};
use super::{SentencePieceOptions, TextError};

/// A vocabulary and how texts are prepared for it.
#[derive(Debug)]
pub(super) struct SpmModel {
    pub(super) pieces: Vec<Piece>,
    pub(super) algorithm: Algorithm,
    pub(super) unknown: Option<u32>,
    pub(super) byte_fallback: bool,
    pub(super) prefix: Prefix,
    /// Blanks at both ends go, runs of them become one.
    pub(super) removes_blanks: bool,
    pub(super) frame: Frame,
    /// Tokens that a tokenizer's configuration adds to the file's, by id.
    pub(super) added: Vec<(u32, AddedToken)>,
}

/// How pieces are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Algorithm {
    Unigram,
    Bpe,
}

/// Where a blank is put before a text, so that its first word looks like any other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Prefix {
    Never,
    /// Before each part between special tokens: transformers' `legacy` behaviour, and llama.cpp's.
    EveryPart,
    /// Before the whole text only, and not if it begins with a blank: transformers' newer behaviour.
    FirstPart,
}

impl SpmModel {
    /// A `tokenizer.model`, as Llama, Mistral and Gemma have it.
    ///
    /// # Errors
    /// [`TextError`]: the model is of a kind that cannot be converted exactly.
    pub(super) fn new(
        file: SentencePieceFile,
        options: SentencePieceOptions,
    ) -> Result<Self, TextError> {
        let SentencePieceFile {
            pieces,
            trainer,
            normalizer,
        } = file;
        let algorithm = match trainer.model_type() {
            1 => Algorithm::Unigram,
            2 => Algorithm::Bpe,
            other => return Err(unusable(&format!("it is of the kind {other}"))),
        };
        if trainer.treat_whitespace_as_suffix() || !normalizer.escape_whitespaces() {
            return Err(unusable("blanks are spelled in another way"));
        }
        // `tokenizers` normalizes by graphemes where SentencePiece does not: combining marks come out otherwise.
        if !normalizer.precompiled_charsmap().is_empty() {
            return Err(unusable("it normalizes texts by a table"));
        }
        // SentencePiece makes such a piece and then cuts it again.
        if let Some(unused) = pieces.iter().find(|piece| piece.kind == PieceKind::Unused) {
            return Err(unusable(&format!(
                "the piece {:?} is not to be used",
                unused.text
            )));
        }
        let spelled = |text: &Option<String>, id: i32| {
            let by_text = text.as_ref().and_then(|text| {
                let of_file = pieces.iter().position(|piece| piece.text == *text);
                let of_file = of_file.and_then(|id| u32::try_from(id).ok());
                let added = options.added.iter();
                let added = added.clone().find(|(_, token)| token.content == *text);
                of_file.or_else(|| added.map(|(id, _)| *id))
            });
            by_text.or_else(|| u32::try_from(id).ok())
        };
        let bos = spelled(&options.bos, trainer.bos_id());
        let eos = spelled(&options.eos, trainer.eos_id());
        Ok(Self {
            algorithm,
            unknown: u32::try_from(trainer.unk_id()).ok(),
            byte_fallback: trainer.byte_fallback(),
            prefix: match (normalizer.add_dummy_prefix(), options.legacy) {
                (false, _) => Prefix::Never,
                (true, true) => Prefix::EveryPart,
                (true, false) => Prefix::FirstPart,
            },
            removes_blanks: normalizer.remove_extra_whitespaces(),
            frame: Frame {
                before: bos.filter(|_| options.add_bos),
                behind: eos.filter(|_| options.add_eos),
            },
            added: options.added,
            pieces,
        })
    }

    /// # Errors
    /// [`TextError`]: the vocabulary cannot be converted exactly.
    pub(super) fn tokenizer(self) -> Result<Tokenizer, TextError> {
        let mut ids: HashMap<&str, u32> = HashMap::with_capacity(self.pieces.len());
        for (id, piece) in (0..).zip(&self.pieces) {
            if piece.text.is_empty() {
                return Err(unusable(&format!("piece {id} is empty")));
            }
            if !piece.score.is_finite() {
                return Err(unusable(&format!(
                    "the score of piece {id} is {}",
                    piece.score
                )));
            }
            if ids.insert(&piece.text, id).is_some() {
                return Err(unusable(&format!(
                    "the piece {:?} is there twice",
                    piece.text
                )));
            }
        }
        let model = match self.algorithm {
            Algorithm::Bpe => self.bpe(&ids)?,
            Algorithm::Unigram => self.unigram()?,
        };
        let normalizer = self.normalizer();
        let added = self.added_tokens()?;
        let parts = Parts {
            model,
            normalizer,
            pre_tokenizer: match self.prefix {
                Prefix::FirstPart => {
                    json!({"type": "Metaspace", "replacement": BLANK, "prepend_scheme": "first",
                    "split": false})
                }
                Prefix::Never | Prefix::EveryPart => Value::Null,
            },
            decoder: self.decoder(),
            added,
            frame: self.frame,
        };
        parts.assemble()
    }

    fn unknown_piece(&self) -> Result<Option<&Piece>, TextError> {
        self.unknown
            .map(|id| {
                self.pieces
                    .get(id as usize)
                    .ok_or_else(|| unusable(&format!("the unknown piece {id} is not there")))
            })
            .transpose()
    }

    fn bpe(&self, ids: &HashMap<&str, u32>) -> Result<ModelWrapper, TextError> {
        let vocab: Vocab = ids
            .iter()
            .map(|(text, id)| ((*text).to_owned(), *id))
            .collect();
        let mut builder = BPE::builder()
            .vocab_and_merges(vocab, self.merges(ids)?)
            .fuse_unk(true)
            .byte_fallback(self.byte_fallback);
        if let Some(unknown) = self.unknown_piece()? {
            builder = builder.unk_token(unknown.text.clone());
        }
        let model = builder
            .build()
            .map_err(|error| unusable(&error.to_string()))?;
        Ok(ModelWrapper::BPE(model))
    }

    /// Every way to make an ordinary piece of two others, the best piece first.
    fn merges(&self, ids: &HashMap<&str, u32>) -> Result<Merges, TextError> {
        let ordinary = |text: &str| {
            let id = *ids.get(text)?;
            let piece = self.pieces.get(id as usize)?;
            (piece.kind == PieceKind::Normal).then_some(id)
        };
        let mut ranked = Vec::new();
        let normal = self
            .pieces
            .iter()
            .filter(|piece| piece.kind == PieceKind::Normal);
        for piece in normal {
            let length = piece.text.chars().count();
            if length > MAX_PIECE_CHARS {
                return Err(unusable(&format!(
                    "a piece has more than {MAX_PIECE_CHARS} characters"
                )));
            }
            // SentencePiece merges characters that are no pieces themselves; here they would be bytes by then.
            let lost = piece
                .text
                .chars()
                .find(|c| length > 1 && ordinary(c.encode_utf8(&mut [0; 4])).is_none());
            if let Some(lost) = lost {
                return Err(unusable(&format!(
                    "the piece {:?} has the character {lost:?}, which is no piece",
                    piece.text
                )));
            }
            let mut ways = Vec::new();
            for (chars_before, (cut, _)) in piece.text.char_indices().enumerate().skip(1) {
                let (left, right) = piece.text.split_at(cut);
                if let (Some(left_id), Some(right_id)) = (ordinary(left), ordinary(right)) {
                    ways.push((left_id, right_id, chars_before, left, right));
                }
            }
            ways.sort_by_key(|(left_id, right_id, ..)| (*left_id, *right_id));
            ranked.extend(ways.into_iter().map(|(_, _, chars, left, right)| {
                (piece.score, chars, length - chars, left, right)
            }));
        }
        // Highest score first, then longest left part; stable, as the converters' sort is.
        ranked.sort_by(|one, other| {
            let by_score = other.0.total_cmp(&one.0);
            by_score.then((other.1, other.2).cmp(&(one.1, one.2)))
        });
        let merges = ranked.into_iter();
        Ok(merges
            .map(|(_, _, _, left, right)| (left.to_owned(), right.to_owned()))
            .collect())
    }

    fn unigram(&self) -> Result<ModelWrapper, TextError> {
        if self.unknown_piece()?.is_none() {
            return Err(unusable("it has no unknown piece"));
        }
        let ordinary = self
            .pieces
            .iter()
            .filter(|piece| piece.kind == PieceKind::Normal);
        let lowest = ordinary.fold(0.0_f64, |lowest, piece| lowest.min(piece.score.into()));
        let vocab: Vec<(String, f64)> = self
            .pieces
            .iter()
            .map(|piece| {
                let score = match piece.kind {
                    PieceKind::Normal | PieceKind::UserDefined => piece.score.into(),
                    _ => lowest - NEVER,
                };
                (piece.text.clone(), score)
            })
            .collect();
        let unknown = self.unknown.map(|id| id as usize);
        let model = Unigram::from(vocab, unknown, self.byte_fallback)
            .map_err(|error| unusable(&error.to_string()))?;
        Ok(ModelWrapper::Unigram(model))
    }

    fn normalizer(&self) -> Value {
        let mut steps = Vec::new();
        if self.removes_blanks {
            steps.push(json!({"type": "Replace", "pattern": {"Regex": "^ +| +$"}, "content": ""}));
            steps.push(json!({"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}));
        }
        if self.prefix == Prefix::EveryPart {
            steps.push(json!({"type": "Prepend", "prepend": BLANK}));
        }
        if self.prefix != Prefix::FirstPart {
            steps.push(json!({"type": "Replace", "pattern": {"String": " "}, "content": BLANK}));
        }
        if steps.is_empty() {
            return Value::Null;
        }
        json!({"type": "Sequence", "normalizers": steps})
    }

    fn decoder(&self) -> Value {
        let mut steps = vec![
            json!({"type": "Replace", "pattern": {"String": BLANK}, "content": " "}),
            json!({"type": "ByteFallback"}),
            json!({"type": "Fuse"}),
        ];
        if self.prefix != Prefix::Never {
            let blanks = if self.removes_blanks { MAX_BLANKS } else { 1 };
            steps.push(json!({"type": "Strip", "content": " ", "start": blanks, "stop": 0}));
        }
        json!({"type": "Sequence", "decoders": steps})
    }

    /// Control pieces, the unknown one and those of the user are found in a text as they are, and so is what a configuration adds.
    fn added_tokens(&self) -> Result<Vec<(u32, AddedToken)>, TextError> {
        let mut added = Vec::new();
        for (id, piece) in (0..).zip(&self.pieces) {
            let is_special = match piece.kind {
                PieceKind::Control | PieceKind::Unknown => true,
                PieceKind::UserDefined => false,
                _ => continue,
            };
            // Such a piece is found once blanks have become this character, which must not depend on a prefix.
            let has_blank = piece.text.contains(BLANK);
            if has_blank && self.prefix != Prefix::Never {
                return Err(unusable(&format!("the piece {:?} has a blank", piece.text)));
            }
            let token = AddedToken::from(piece.text.clone(), is_special).normalized(has_blank);
            added.push((id, token));
        }
        added.retain(|(id, _)| self.added.iter().all(|(other, _)| other != id));
        added.extend(self.added.iter().cloned());
        Ok(added)
    }
}

fn unusable(reason: &str) -> TextError {
    TextError::new(format!(
        "the SentencePiece model cannot be converted exactly: {reason}; put the model's tokenizer.json beside it"
    ))
}

/// How blanks are spelled in pieces: U+2581.
const BLANK: &str = "▁";

/// Longest piece: SentencePiece trains 16 characters unless told otherwise.
const MAX_PIECE_CHARS: usize = 256;

/// How much less likely than any other a piece is that must not be chosen.
const NEVER: f64 = 1000.0;

/// Blanks taken off the beginning of a decoded text whose blanks mean nothing.
const MAX_BLANKS: usize = 1 << 16;
