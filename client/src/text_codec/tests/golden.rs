//! Ids against Python: sentencepiece, tokenizers and transformers.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::LazyLock;

use serde::Deserialize;

use super::*;
use crate::text_codec::pre_tokenizer::NAMES;

/// What the tests' script recorded.
#[derive(Debug, Deserialize)]
pub(super) struct Golden {
    texts: Vec<String>,
    bytes: Vec<String>,
    special_texts: Vec<String>,
    sentencepiece: BTreeMap<String, SentencePieceGolden>,
    byte_level: BTreeMap<String, ByteLevelGolden>,
    fable: ByteLevelGolden,
}

#[derive(Debug, Deserialize)]
struct SentencePieceGolden {
    ids: Vec<Vec<u32>>,
    decoded: Vec<String>,
    special_ids: Vec<Vec<u32>>,
    bos: u32,
    not_legacy_ids: Option<Vec<Vec<u32>>>,
}

#[derive(Debug, Deserialize)]
struct ByteLevelGolden {
    ids: Vec<Vec<u32>>,
    decoded: Vec<String>,
    framed: Vec<u32>,
}

/// Tokens and merges of a byte-level BPE.
#[derive(Debug, Deserialize)]
pub(super) struct ByteLevel {
    pub(super) tokens: Vec<String>,
    pub(super) merges: Vec<String>,
}

static GOLDEN: LazyLock<Golden> = LazyLock::new(|| read_json("golden.json"));
pub(super) static BYTE_LEVEL: LazyLock<ByteLevel> = LazyLock::new(|| read_json("byte_level.json"));

fn read_json<T: serde::de::DeserializeOwned>(file: &str) -> T {
    serde_json::from_slice(&fixture(file)).unwrap()
}

pub(super) fn fixture(file: &str) -> Vec<u8> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tokenizers");
    std::fs::read(folder.join(file)).unwrap()
}

fn from_hex(hex: &str) -> Vec<u8> {
    let digits = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(digits).collect()
}

/// The corpus, bytes that are no UTF-8 among it.
fn texts() -> Vec<String> {
    let bytes = GOLDEN.bytes.iter().map(|hex| from_hex(hex));
    let replaced = bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    GOLDEN.texts.iter().cloned().chain(replaced).collect()
}

#[track_caller]
fn assert_ids(name: &str, codec: &TextCodec, texts: &[String], golden: &[Vec<u32>]) {
    assert_eq!(texts.len(), golden.len());
    let differences: Vec<String> = texts
        .iter()
        .zip(golden)
        .filter_map(|(text, golden)| {
            let ids = codec.encode_continuation(text).unwrap();
            (ids != *golden).then(|| format!("{text:?}\n{ids:?}\n{golden:?}\n"))
        })
        .collect();
    assert!(
        differences.is_empty(),
        "{name}: {} of {}\n{}",
        differences.len(),
        texts.len(),
        differences.join("\n")
    );
}

#[track_caller]
fn assert_decoded(codec: &TextCodec, ids: &[Vec<u32>], golden: &[String]) {
    // What SentencePiece writes for an unknown piece is transformers' special token, which has no text.
    let known = ids
        .iter()
        .zip(golden)
        .filter(|(_, text)| !text.contains('⁇'));
    for (ids, golden) in known {
        assert_eq!(codec.decode(ids).unwrap(), *golden, "{ids:?}");
    }
}

pub(super) fn vocabulary(pre: &'static str) -> GgufVocabulary<'static> {
    static TYPES: LazyLock<Vec<i32>> = LazyLock::new(|| {
        let mut types = vec![1; BYTE_LEVEL.tokens.len()];
        types[..4].fill(3);
        *types.last_mut().unwrap() = 4;
        types
    });
    GgufVocabulary {
        model: "gpt2",
        pre: Some(pre),
        tokens: &BYTE_LEVEL.tokens,
        token_types: &TYPES,
        merges: &BYTE_LEVEL.merges,
        bos: Some(1),
        eos: Some(2),
        add_bos: Some(true),
        ..GgufVocabulary::default()
    }
}

/// Pre-tokenizers by other names than the golden ones'.
const SAME: [(&str, &str); 9] = [
    ("phi-2", "gpt-2"),
    ("llama3", "llama-bpe"),
    ("llama-v3", "llama-bpe"),
    ("deepseek-r1-qwen", "qwen2"),
    ("starcoder", "smollm"),
    ("refact", "smollm"),
    ("llama4", "gpt-4o"),
    ("dbrx", ""),
    ("smaug-bpe", ""),
];

#[test]
fn every_way_of_gguf_to_cut_words_gives_the_ids_of_its_models() {
    let mut texts = texts();
    texts.extend(GOLDEN.special_texts.iter().cloned());
    for (name, golden) in &GOLDEN.byte_level {
        let name: &'static str = NAMES.iter().find(|known| *known == name).unwrap();
        let codec = TextCodec::gguf(&vocabulary(name)).unwrap();
        assert_ids(name, &codec, &texts, &golden.ids);
        assert_eq!(codec.encode("Hello").unwrap(), golden.framed);
    }
    for (other, name) in SAME {
        let codec = TextCodec::gguf(&vocabulary(other)).unwrap();
        if let Some(golden) = GOLDEN.byte_level.get(name) {
            assert_ids(other, &codec, &texts, &golden.ids);
        }
    }
    let tested = GOLDEN.byte_level.len() + SAME.len();
    assert_eq!(tested, NAMES.len());
}

/// Each golden way differs from each other on the corpus, so that none could stand in for another.
#[test]
fn the_corpus_tells_the_ways_to_cut_words_from_each_other() {
    let all: Vec<_> = GOLDEN
        .byte_level
        .values()
        .map(|golden| &golden.ids)
        .collect();
    for (index, one) in all.iter().enumerate() {
        assert!(all[..index].iter().all(|other| other != one));
    }
}

#[test]
fn a_tokenizer_json_gives_the_ids_of_python() {
    let mut texts = texts();
    texts.extend(GOLDEN.special_texts.iter().cloned());
    for name in ["llama-bpe", "qwen2"] {
        let golden = &GOLDEN.byte_level[name];
        let codec = TextCodec::parse(&fixture(&format!("{name}.json"))).unwrap();
        assert_ids(name, &codec, &texts, &golden.ids);
        assert_decoded(&codec, &golden.ids, &golden.decoded);
        assert_eq!(codec.encode("Hello").unwrap(), golden.framed);
    }
    assert_ids("fable", &fable(), &texts, &GOLDEN.fable.ids);
    assert_decoded(&fable(), &GOLDEN.fable.ids, &GOLDEN.fable.decoded);
    assert_eq!(fable().encode("Hello").unwrap(), GOLDEN.fable.framed);
}

/// The metadata that GGUF files of the embedded model have is its `tokenizer.json` in another form.
#[test]
fn the_embedded_models_metadata_in_gguf_give_the_ids_of_its_tokenizer_json() {
    let json = std::fs::read(fable_folder().join("tokenizer.json")).unwrap();
    let json: Value = serde_json::from_slice(&json).unwrap();
    let vocab: BTreeMap<String, usize> =
        serde_json::from_value(json["model"]["vocab"].clone()).unwrap();
    let mut tokens = vec![String::new(); vocab.len()];
    for (token, id) in vocab {
        tokens[id] = token;
    }
    let merges: Vec<String> = serde_json::from_value(json["model"]["merges"].clone()).unwrap();
    let mut types = vec![1; tokens.len()];
    types[..2].fill(3);
    let codec = TextCodec::gguf(&GgufVocabulary {
        model: "gpt2",
        pre: Some("gpt-2"),
        tokens: &tokens,
        token_types: &types,
        merges: &merges,
        bos: Some(0),
        eos: Some(1),
        add_bos: Some(true),
        ..GgufVocabulary::default()
    })
    .unwrap();
    let mut texts = texts();
    texts.extend(GOLDEN.special_texts.iter().cloned());
    assert_ids("fable", &codec, &texts, &GOLDEN.fable.ids);
    assert_decoded(&codec, &GOLDEN.fable.ids, &GOLDEN.fable.decoded);
    assert_eq!(codec.encode("Hello").unwrap(), GOLDEN.fable.framed);
}

fn sentencepiece(name: &str, options: SentencePieceOptions) -> TextCodec {
    TextCodec::sentencepiece(&fixture(&format!("{name}.model")), options).unwrap()
}

/// The scores of a unigram model's pieces; those of a BPE are ranks and add up to nothing.
struct Likelihood(Option<Vec<f32>>);

impl Likelihood {
    fn of(name: &str) -> Self {
        let file = SentencePieceFile::parse(&fixture(&format!("{name}.model"))).unwrap();
        let scores = file.pieces.iter().map(|piece| piece.score);
        Self((file.trainer.model_type() == 1).then(|| scores.collect()))
    }

    /// Whether the ids differ from the golden ones, and are as likely: which of them is taken is a matter of rounding.
    fn is_tie(&self, codec: &TextCodec, text: &str, golden: &[u32]) -> bool {
        let Some(scores) = &self.0 else { return false };
        let ids = codec.encode_continuation(text).unwrap();
        let sum = |ids: &[u32]| {
            ids.iter()
                .map(|id| f64::from(scores[*id as usize]))
                .sum::<f64>()
        };
        ids != golden && (sum(&ids) - sum(golden)).abs() < 1e-4
    }
}

#[test]
fn a_tokenizer_model_gives_the_ids_of_sentencepiece() {
    for (name, golden) in &GOLDEN.sentencepiece {
        let options = SentencePieceOptions {
            add_bos: true,
            legacy: true,
            ..SentencePieceOptions::default()
        };
        let codec = sentencepiece(name, options);
        let likely = Likelihood::of(name);
        let (texts, ids): (Vec<_>, Vec<_>) = texts()
            .into_iter()
            .zip(golden.ids.clone())
            .filter(|(text, ids)| !likely.is_tie(&codec, text, ids))
            .unzip();
        assert!(texts.len() + 2 >= golden.ids.len());
        assert_ids(name, &codec, &texts, &ids);
        assert_ids(name, &codec, &GOLDEN.special_texts, &golden.special_ids);
        assert_decoded(&codec, &golden.ids, &golden.decoded);
        let framed = codec.encode("Hello").unwrap();
        assert_eq!(framed[0], golden.bos);
        assert_eq!(framed[1..], codec.encode_continuation("Hello").unwrap());
    }
}

#[test]
fn a_tokenizer_model_that_is_not_legacy_gives_the_ids_of_transformers() {
    let golden = &GOLDEN.sentencepiece["spm-bpe"];
    let codec = sentencepiece("spm-bpe", SentencePieceOptions::default());
    let mut texts = texts();
    texts.extend(GOLDEN.special_texts.iter().cloned());
    assert_ids(
        "spm-bpe",
        &codec,
        &texts,
        golden.not_legacy_ids.as_ref().unwrap(),
    );
}

/// GGUF's form of SentencePiece's BPE: the same pieces, scores and types.
#[test]
fn the_same_vocabulary_in_gguf_gives_the_ids_of_sentencepiece() {
    for (name, add_space_prefix) in [("spm-bpe", true), ("spm-gemma", false)] {
        let golden = &GOLDEN.sentencepiece[name];
        let file = SentencePieceFile::parse(&fixture(&format!("{name}.model"))).unwrap();
        let tokens: Vec<String> = file.pieces.iter().map(|piece| piece.text.clone()).collect();
        let scores: Vec<f32> = file.pieces.iter().map(|piece| piece.score).collect();
        let types: Vec<i32> = file
            .pieces
            .iter()
            .map(|piece| {
                (1..=6).find(|kind| sentencepiece::PieceKind::of(*kind) == Some(piece.kind))
            })
            .collect::<Option<_>>()
            .unwrap();
        let codec = TextCodec::gguf(&GgufVocabulary {
            model: "llama",
            tokens: &tokens,
            scores: &scores,
            token_types: &types,
            bos: Some(golden.bos),
            unknown: Some(if name == "spm-bpe" { 0 } else { 3 }),
            add_space_prefix: Some(add_space_prefix),
            ..GgufVocabulary::default()
        })
        .unwrap();
        assert_ids(name, &codec, &texts(), &golden.ids);
        assert_ids(name, &codec, &GOLDEN.special_texts, &golden.special_ids);
        assert_eq!(codec.encode("").unwrap(), [golden.bos]);
    }
}
