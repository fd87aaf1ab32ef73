//! What each token adds to a text, in bytes.
//!
//! How a vocabulary spells bytes follows from the tokenizer's decoder, which is serialized for it as in a
//! `tokenizer.json`:
//!
//! | decoder                    | spelling                                                                   |
//! |----------------------------|----------------------------------------------------------------------------|
//! | `ByteLevel`                | each byte by a character: printable ones by themselves, others from U+0100 |
//! | `ByteFallback`             | `<0x0A>` is one byte, other tokens are their characters                    |
//! | `Replace`, `Metaspace`     | a character that stands for a blank                                        |

use serde_json::Value;
use tokenizers::Tokenizer;

use super::{TextCodec, TextError, caught};

impl TextCodec {
    /// The bytes of each id from 0 to `vocab`. Without any: special tokens, ids that are no token, and tokens that cannot
    /// be part of a text in UTF-8 or are longer than any word.
    ///
    /// # Errors
    /// [`TextError`]: the decoder is of a kind whose tokens are not a run of bytes.
    pub(crate) fn token_bytes(&self, vocab: usize) -> Result<Vec<Vec<u8>>, TextError> {
        let spelling = Spelling::of(&self.tokenizer)?;
        let added = self.tokenizer.get_added_tokens_decoder();
        let ids = 0..u32::try_from(vocab).unwrap_or(u32::MAX);
        caught(|| {
            let bytes = ids.map(|id| match added.get(&id) {
                Some(token) if token.special => Vec::new(),
                Some(token) => token.content.clone().into_bytes(),
                None => {
                    let token = self.tokenizer.id_to_token(id);
                    token.map_or_else(Vec::new, |token| spelling.bytes(&token))
                }
            });
            Ok(bytes
                .map(|bytes| if is_usable(&bytes) { bytes } else { Vec::new() })
                .collect())
        })
    }
}

/// How tokens spell bytes.
#[derive(Debug, Default)]
struct Spelling {
    by_byte: bool,
    has_bytes: bool,
    blank: Option<String>,
}

impl Spelling {
    fn of(tokenizer: &Tokenizer) -> Result<Self, TextError> {
        let decoder = serde_json::to_value(tokenizer.get_decoder())
            .map_err(|error| TextError::new(error.to_string()))?;
        let mut spelling = Self::default();
        let steps = decoder.get("decoders").and_then(Value::as_array);
        for step in steps.map_or_else(|| std::slice::from_ref(&decoder), Vec::as_slice) {
            let kind = step.get("type").and_then(Value::as_str).unwrap_or("none");
            match kind {
                "ByteLevel" => spelling.by_byte = true,
                "ByteFallback" => spelling.has_bytes = true,
                "Metaspace" => spelling.blank = text(step, "/replacement"),
                "Replace" if text(step, "/content").as_deref() == Some(" ") => {
                    spelling.blank = text(step, "/pattern/String");
                }
                // They join tokens, or take something off the beginning of a whole text.
                "Fuse" | "Strip" => {}
                other => {
                    return Err(TextError::new(format!(
                        "its decoder has a step of the kind {other}, after which a token is no run of bytes"
                    )));
                }
            }
        }
        Ok(spelling)
    }

    fn bytes(&self, token: &str) -> Vec<u8> {
        if self.by_byte {
            let bytes: Option<Vec<u8>> = token.chars().map(byte_of).collect();
            // `tokenizers` takes such a token as it is, too.
            return bytes.unwrap_or_else(|| token.as_bytes().to_vec());
        }
        let byte = token
            .strip_prefix("<0x")
            .and_then(|rest| rest.strip_suffix('>'));
        let byte = byte.filter(|digits| self.has_bytes && digits.len() == 2);
        if let Some(byte) = byte.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            return vec![byte];
        }
        match &self.blank {
            Some(blank) => token.replace(blank.as_str(), " ").into_bytes(),
            None => token.as_bytes().to_vec(),
        }
    }
}

fn text(json: &Value, pointer: &str) -> Option<String> {
    let text = json.pointer(pointer).and_then(Value::as_str);
    text.filter(|text| !text.is_empty()).map(str::to_owned)
}

/// The byte that a character of a byte-level vocabulary stands for.
fn byte_of(character: char) -> Option<u8> {
    let code = u32::from(character);
    let is_printable = |byte: u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    match u8::try_from(code) {
        Ok(byte) => is_printable(byte).then_some(byte),
        Err(_) => {
            let number = usize::try_from(code - 256).ok()?;
            (0..=u8::MAX)
                .filter(|byte| !is_printable(*byte))
                .nth(number)
        }
    }
}

fn is_usable(bytes: &[u8]) -> bool {
    bytes.len() <= MAX_TOKEN_BYTES && !bytes.contains(&0xFF)
}

/// Longest token that is of use: real vocabularies have runs of a few hundred blanks.
const MAX_TOKEN_BYTES: usize = 512;

#[cfg(test)]
mod tests {
    use crate::text_codec::TextCodec;
    use crate::text_codec::test_codecs::{byte_fallback, byte_level, fable};

    const TEXTS: [&str; 5] = [
        "{\"name\": \"Łukasz 你好\", \"n\": [1, -2.5e3]}\n",
        "  two  blanks\tand\r\na tab",
        "🙂👩‍👩‍👧 é ü ß \u{7f}\u{a0}\u{ad}",
        "\\u00e9 \"\\\\\" </s",
        "",
    ];

    fn spelled(codec: &TextCodec, text: &str) -> Vec<u8> {
        let bytes = codec.token_bytes(codec.vocab()).unwrap();
        let ids = codec.encode_continuation(text).unwrap();
        ids.iter()
            .flat_map(|id| bytes[*id as usize].clone())
            .collect()
    }

    #[test]
    fn the_bytes_of_a_texts_tokens_are_the_text() {
        for text in TEXTS {
            for codec in [fable(), byte_level()] {
                assert_eq!(spelled(&codec, text), text.as_bytes(), "{text:?}");
            }
            // The blank that this one puts before a text is part of its first token.
            let prefixed = [" ", text].concat();
            let expected = if text.is_empty() { "" } else { &prefixed };
            assert_eq!(spelled(&byte_fallback(), text), expected.as_bytes());
        }
    }

    #[test]
    fn special_tokens_and_ids_without_a_token_have_no_bytes() {
        let bytes = fable().token_bytes(4100).unwrap();
        assert_eq!(bytes.len(), 4100);
        let empty: Vec<usize> = (0..4100).filter(|id| bytes[*id].is_empty()).collect();
        // The byte 0xFF is in no text.
        assert!(empty.starts_with(&[0, 1]) && empty.ends_with(&[4096, 4097, 4098, 4099]));
        assert!(empty.len() <= 7, "{empty:?}");
        assert!(byte_level().token_bytes(257).unwrap()[256].is_empty());
    }

    #[test]
    fn a_decoder_that_does_more_is_an_error() {
        let json = r###"{"version": "1.0", "added_tokens": [], "decoder": {"type": "WordPiece", "prefix": "##",
            "cleanup": true}, "model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}}"###;
        let codec = TextCodec::parse(json.as_bytes()).unwrap();
        let error = codec.token_bytes(1).unwrap_err().to_string();
        assert!(error.contains("WordPiece"), "{error}");
    }
}
