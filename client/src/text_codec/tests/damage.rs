//! Tokenizers that are damaged, or not what can be read.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use std::sync::LazyLock;

use prost::Message;

use super::golden::{BYTE_LEVEL, fixture, vocabulary};
use super::*;
use crate::text_codec::sentencepiece::{NormalizerSpec, TrainerSpec};

const MODELS: [&str; 4] = [
    "spm-bpe.model",
    "spm-gemma.model",
    "spm-unigram.model",
    "spm-unigram-unknown.model",
];

/// Whatever a tokenizer makes of a text and of ids, it does not panic.
fn use_it(codec: Result<TextCodec, TextError>) {
    if let Ok(codec) = codec {
        for text in ["", " a  b\n", "Hello 你好 🙂 e\u{301} <s></s> <0x41>"] {
            if let Ok(ids) = codec.encode(text) {
                let _ = codec.decode(&ids);
            }
        }
        let _ = codec.decode(&[0, 1, 2, 300, u32::MAX]);
    }
}

/// A change to bytes: a place in them as a share of their length, how many go, and what comes.
type Damage = (f64, usize, Vec<u8>);

fn damages() -> impl Strategy<Value = Vec<Damage>> {
    vec((0.0..1.0, 0..12_usize, vec(any::<u8>(), 0..6)), 1..4)
}

fn damaged(mut bytes: Vec<u8>, damages: &[Damage]) -> Vec<u8> {
    for (place, gone, new) in damages {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share of a length"
        )]
        let at = (bytes.len() as f64 * place) as usize;
        let end = (at + gone).min(bytes.len());
        bytes.splice(at..end, new.iter().copied());
    }
    bytes
}

/// A message of a field: its number and length, and its bytes.
fn field(number: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![number << 3 | 2];
    prost::encoding::encode_varint(body.len() as u64, &mut bytes);
    bytes.extend_from_slice(body);
    bytes
}

fn piece(text: &str, score: f32, kind: u8) -> Vec<u8> {
    let mut body = field(1, text.as_bytes());
    body.push(2 << 3 | 5);
    body.extend_from_slice(&score.to_le_bytes());
    body.extend_from_slice(&[3 << 3, kind]);
    field(1, &body)
}

/// A model with these pieces behind the three that all have.
fn model(pieces: &[Vec<u8>], trainer: &TrainerSpec, normalizer: &NormalizerSpec) -> Vec<u8> {
    let first = [
        piece("<unk>", 0.0, 2),
        piece("<s>", 0.0, 3),
        piece("</s>", 0.0, 3),
    ];
    let mut bytes = [&first[..], pieces].concat().concat();
    bytes.extend(field(2, &trainer.encode_to_vec()));
    bytes.extend(field(3, &normalizer.encode_to_vec()));
    bytes
}

fn bpe() -> TrainerSpec {
    TrainerSpec {
        model_type: Some(2),
        ..TrainerSpec::default()
    }
}

fn refusal(bytes: &[u8]) -> String {
    let options = SentencePieceOptions::default();
    TextCodec::sentencepiece(bytes, options)
        .unwrap_err()
        .to_string()
}

/// Why a model of these pieces is refused.
fn refusal_of_pieces(pieces: &[(&str, f32, u8)]) -> String {
    let pieces: Vec<_> = pieces
        .iter()
        .map(|(text, score, kind)| piece(text, *score, *kind))
        .collect();
    refusal(&model(&pieces, &bpe(), &NormalizerSpec::default()))
}

/// Why a model is refused that says something else than usual.
fn refusal_of_spec(change: impl FnOnce(&mut TrainerSpec, &mut NormalizerSpec)) -> String {
    let (mut trainer, mut normalizer) = (bpe(), NormalizerSpec::default());
    change(&mut trainer, &mut normalizer);
    refusal(&model(&[], &trainer, &normalizer))
}

#[test]
fn what_does_not_convert_exactly_says_that_a_tokenizer_json_would_do() {
    let long = "a".repeat(300);
    let refusals = [
        (refusal_of_pieces(&[("a", f32::NAN, 1)]), "score of piece 3"),
        (refusal_of_pieces(&[("", 0.0, 1)]), "piece 3 is empty"),
        (
            refusal_of_pieces(&[("a", 0.0, 1), ("a", 0.0, 1)]),
            "there twice",
        ),
        (refusal_of_pieces(&[("a", 0.0, 5)]), "not to be used"),
        (
            refusal_of_pieces(&[("ab", 0.0, 1), ("a", 0.0, 1)]),
            "'b', which is no piece",
        ),
        (refusal_of_pieces(&[("▁▁", 0.0, 4)]), "has a blank"),
        (
            refusal_of_pieces(&[(&long, 0.0, 1)]),
            "more than 256 characters",
        ),
        (
            refusal_of_spec(|trainer, _| trainer.model_type = Some(3)),
            "of the kind 3",
        ),
        (
            refusal_of_spec(|trainer, _| trainer.unk_id = Some(9)),
            "unknown piece 9",
        ),
        (
            refusal_of_spec(|trainer, _| {
                trainer.unk_id = Some(-1);
                trainer.model_type = Some(1);
            }),
            "no unknown piece",
        ),
        (
            refusal_of_spec(|trainer, _| trainer.treat_whitespace_as_suffix = Some(true)),
            "another way",
        ),
        (
            refusal_of_spec(|_, normalizer| normalizer.escape_whitespaces = Some(false)),
            "another way",
        ),
        (
            refusal_of_spec(|_, normalizer| normalizer.precompiled_charsmap = Some(vec![1])),
            "by a table",
        ),
    ];
    for (refusal, reason) in refusals {
        assert!(
            refusal.contains(reason) && refusal.contains("tokenizer.json"),
            "{reason}: {refusal}"
        );
    }
}

#[test]
fn what_is_no_tokenizer_model_is_refused() {
    for bytes in [
        &b""[..],
        b"{}",
        b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
        b"\x0a\x05",
        &[0x0a; 64],
    ] {
        assert!(
            refusal(bytes).contains("no SentencePiece model"),
            "{bytes:?}"
        );
    }
    // Two bytes a piece: a small file could ask for much memory.
    let many = [0x0a, 0x00].repeat(sentencepiece::MAX_PIECES + 1);
    assert!(refusal(&many).contains("more than"));
}

/// Why metadata are refused that say something else than usual.
fn refusal_of_metadata(change: impl FnOnce(&mut GgufVocabulary<'static>)) -> String {
    let mut vocabulary = vocabulary("gpt-2");
    change(&mut vocabulary);
    TextCodec::gguf(&vocabulary).unwrap_err().to_string()
}

#[test]
fn metadata_of_gguf_that_do_not_fit_are_refused() {
    static NINES: LazyLock<Vec<i32>> = LazyLock::new(|| vec![9; BYTE_LEVEL.tokens.len()]);
    static TWICE: LazyLock<Vec<String>> = LazyLock::new(|| vec!["a".to_owned(); 2]);
    let refusals = [
        (refusal_of_metadata(|file| file.model = "t5"), "\"t5\""),
        (
            refusal_of_metadata(|file| file.pre = Some("default")),
            "\"default\"",
        ),
        (
            refusal_of_metadata(|file| file.pre = Some("default")),
            "qwen2",
        ),
        (
            refusal_of_metadata(|file| file.pre = None),
            "tokenizer.json",
        ),
        (refusal_of_metadata(|file| file.tokens = &[]), "0 tokens"),
        (
            refusal_of_metadata(|file| file.token_types = &[1]),
            "1 values of token_type",
        ),
        (
            refusal_of_metadata(|file| file.token_types = &NINES),
            "unknown type 9",
        ),
        (
            refusal_of_metadata(|file| file.model = "llama"),
            "0 values of scores",
        ),
        (
            refusal_of_metadata(|file| file.bos = Some(1 << 30)),
            "not in the vocabulary",
        ),
        (refusal_of_metadata(|file| file.tokens = &TWICE), "twice"),
    ];
    for (refusal, reason) in refusals {
        assert!(refusal.contains(reason), "{reason}: {refusal}");
    }
    for merge in ["", " ", "a", "h", "no such", "é"] {
        let merges = vec![merge.to_owned()];
        let mut vocabulary = vocabulary("gpt-2");
        vocabulary.merges = &merges;
        let refusal = TextCodec::gguf(&vocabulary).unwrap_err().to_string();
        assert!(refusal.contains("merge"), "{refusal}");
    }
}

/// Its reader would reserve eight bytes for each that the head of the table names.
#[test]
fn a_table_that_is_longer_than_itself_is_refused_before_memory_is_reserved() {
    let parse = |map: &str| {
        let normalizer = serde_json::json!({"type": "Sequence", "normalizers": [
            {"type": "Precompiled", "precompiled_charsmap": map}]});
        let mut json: Value = serde_json::from_slice(&fixture("qwen2.json")).unwrap();
        json["normalizer"] = normalizer;
        TextCodec::parse(json.to_string().as_bytes())
    };
    for map in ["/////w==", "EAAAAA==", ""] {
        let refusal = parse(map).unwrap_err().to_string();
        assert!(refusal.contains("damaged"), "{refusal}");
    }
    // A table without entries, which is read and panics once it is used.
    let codec = parse("AAAAAA==").unwrap();
    assert!(
        codec
            .encode("a")
            .unwrap_err()
            .to_string()
            .contains("panicked")
    );
}

proptest! {
    #[test]
    fn damaged_tokenizer_models_are_used_or_refused(file in select(&MODELS[..]), damages in damages()) {
        let bytes = damaged(fixture(file), &damages);
        use_it(TextCodec::sentencepiece(&bytes, SentencePieceOptions::default()));
    }

    #[test]
    fn any_bytes_are_no_tokenizer_model_or_one(bytes in vec(any::<u8>(), 0..80)) {
        use_it(TextCodec::sentencepiece(&bytes, SentencePieceOptions::default()));
    }

    #[test]
    fn any_pieces_are_used_or_refused(
        pieces in vec(("[ab▁é]{0,3}", -10.0_f32..0.0, 1..7_u8), 0..12),
        kind in 1..3_i32, fallback in any::<bool>(), prefix in any::<bool>(), removes in any::<bool>(),
    ) {
        let pieces: Vec<_> = pieces.iter().map(|(text, score, kind)| piece(text, *score, *kind)).collect();
        let trainer = TrainerSpec { model_type: Some(kind), byte_fallback: Some(fallback), ..TrainerSpec::default() };
        let normalizer = NormalizerSpec {
            add_dummy_prefix: Some(prefix), remove_extra_whitespaces: Some(removes), ..NormalizerSpec::default()
        };
        use_it(TextCodec::sentencepiece(&model(&pieces, &trainer, &normalizer), SentencePieceOptions::default()));
    }

    #[test]
    fn any_metadata_are_used_or_refused(
        tokens in vec("[ab Ġ▁<>]{0,3}", 0..10), merges in vec("[ab Ġ]{0,5}", 0..4), types in vec(0..8_i32, 0..10),
        scores in vec(-5.0_f32..0.0, 0..10), model in select(&["gpt2", "llama"][..]), bos in 0..12_u32,
    ) {
        let scores: Vec<f32> = tokens.iter().enumerate().map(|(at, _)| scores.get(at).copied().unwrap_or(0.0)).collect();
        let types: Vec<i32> = tokens.iter().enumerate().map(|(at, _)| types.get(at).copied().unwrap_or(1)).collect();
        use_it(TextCodec::gguf(&GgufVocabulary {
            model, pre: Some("falcon"), tokens: &tokens, scores: &scores, token_types: &types, merges: &merges,
            bos: Some(bos), unknown: Some(bos / 2), ..GgufVocabulary::default()
        }));
    }
}

proptest! {
    // Each reads a file of 80 kB.
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases / 8, ..ProptestConfig::default() })]

    #[test]
    fn damaged_tokenizer_jsons_are_used_or_refused(damages in damages()) {
        use_it(TextCodec::parse(&damaged(fixture("qwen2.json"), &damages)));
    }
}
