//! Tokenizers for tests: the embedded model's, and two small ones whose tokens cut characters in pieces.

use std::path::PathBuf;

use serde_json::{Map, Value, json};

use super::TextCodec;

/// Folder of the embedded model.
pub(crate) fn fable_folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../models/fable-7m")
}

pub(crate) fn fable() -> TextCodec {
    TextCodec::read(&fable_folder().join("tokenizer.json")).unwrap()
}

/// A byte-level BPE, as of GPT-2 and Llama 3, with merges inside and across characters. Id 0 is special; byte `b` is `b + 1`.
pub(crate) fn byte_level() -> TextCodec {
    let merges: [&[u8]; 9] = [
        b"\xF0\x9F",
        b"\xF0\x9F\x99", // half an emoji
        b"\xE4\xBD",     // most of 你
        b"\xE4\xBD\xA0", // 你
        b" \xE4",        // a space and the beginning of a character
        b"\xA0\xE5",     // the end of one and the beginning of the next
        b"he",
        b" he",
        b"\x80\x8D",
    ];
    let mut vocab = Map::new();
    vocab.insert("</s>".to_owned(), json!(0));
    for byte in 0..=255_u8 {
        vocab.insert(byte_char(byte).to_string(), json!(u32::from(byte) + 1));
    }
    let mut rules = Vec::new();
    for merge in merges {
        let spelled: Vec<char> = merge.iter().map(|byte| byte_char(*byte)).collect();
        let whole: String = spelled.iter().collect();
        let pair = (1..spelled.len())
            .map(|at| {
                (
                    spelled[..at].iter().collect(),
                    spelled[at..].iter().collect(),
                )
            })
            .find(|(left, right): &(String, String)| {
                vocab.contains_key(left) && vocab.contains_key(right)
            })
            .unwrap();
        rules.push(json!([pair.0, pair.1]));
        let id = vocab.len();
        vocab.insert(whole, json!(id));
    }
    parse(&json!({
        "version": "1.0",
        "added_tokens": [special(0, "</s>")],
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false},
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "vocab": vocab, "merges": rules},
    }))
}

/// Words with a marked leading space, and bytes for what has no token, as of Llama 2. Byte `b` is `b + 1`.
pub(crate) fn byte_fallback() -> TextCodec {
    let mut vocab = Map::new();
    vocab.insert("<unk>".to_owned(), json!(0));
    for byte in 0..=255_u8 {
        vocab.insert(format!("<0x{byte:02X}>"), json!(u32::from(byte) + 1));
    }
    for word in ["▁", "h", "e", "▁h", "▁he", "é", "."] {
        let id = vocab.len();
        vocab.insert(word.to_owned(), json!(id));
    }
    parse(&json!({
        "version": "1.0",
        "added_tokens": [special(0, "<unk>")],
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": "▁"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
        ]},
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
            {"type": "ByteFallback"},
            {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0},
        ]},
        "model": {"type": "BPE", "byte_fallback": true, "unk_token": "<unk>", "fuse_unk": true, "vocab": vocab,
            "merges": [["▁", "h"], ["▁h", "e"]]},
    }))
}

fn parse(json: &Value) -> TextCodec {
    TextCodec::parse(json.to_string().as_bytes()).unwrap()
}

fn special(id: u32, content: &str) -> Value {
    json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
        "normalized": false, "special": true})
}

/// How a byte-level BPE spells a byte: printable ones as themselves, the others by the characters from 256 on.
fn byte_char(byte: u8) -> char {
    let is_printable = |byte: u8| matches!(byte, 33..=126 | 161..=172 | 174..=255);
    if is_printable(byte) {
        return char::from(byte);
    }
    let number = (0..byte).filter(|byte| !is_printable(*byte)).count();
    char::from_u32(256 + u32::try_from(number).unwrap()).unwrap()
}
