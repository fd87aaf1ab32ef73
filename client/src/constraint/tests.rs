use chacha20::ChaCha20Rng;
use rand::{RngExt as _, SeedableRng};

use super::*;
use crate::text_codec::test_codecs::{byte_fallback, byte_level, fable};
use crate::text_codec::{GgufVocabulary, SentencePieceOptions, TextCodec};

/// Tokens of a walk at most; what a bounded schema allows has fewer.
const MAX_STEPS: usize = 2000;

fn vocabulary(codec: &TextCodec) -> Vocabulary {
    Vocabulary::new(codec, codec.vocab(), &[0]).unwrap()
}

/// Text of tokens drawn evenly from those that may come next, until nothing may; an error if that is not to be had.
fn walk(codec: &TextCodec, constraint: &Constraint, seed: u64) -> Result<String, ConstraintError> {
    let unusable = |text: String| ConstraintError::Unusable(text);
    let mut matcher = vocabulary(codec).matcher(constraint)?;
    let mut random = ChaCha20Rng::seed_from_u64(seed);
    let mut ids = Vec::new();
    while !matcher.is_stopped() && ids.len() < MAX_STEPS {
        let mask = matcher.compute_mask();
        let allowed = mask
            .map_err(|error| unusable(first_line(&error)))?
            .to_list();
        let id = allowed[random.random_range(0..allowed.len())];
        let taken = matcher.consume_token(id);
        taken.map_err(|error| unusable(first_line(&error)))?;
        ids.push(id);
    }
    Ok(codec.decode(&ids).unwrap())
}

fn sentencepiece() -> TextCodec {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/fixtures/tokenizers/spm-bpe.model"
    );
    let options = SentencePieceOptions {
        legacy: true,
        ..SentencePieceOptions::default()
    };
    TextCodec::sentencepiece(&std::fs::read(path).unwrap(), options).unwrap()
}

/// As a GGUF file of Llama 2 has it, with hardly any words.
fn gguf() -> TextCodec {
    let bytes = (0..=255_u8).map(|byte| format!("<0x{byte:02X}>"));
    let words = ["▁", "ó", "e", "plain", "\"▁"].map(str::to_owned);
    let tokens: Vec<String> = ["<unk>".to_owned(), "<s>".to_owned()]
        .into_iter()
        .chain(bytes)
        .chain(words.clone())
        .collect();
    let types = [2, 3]
        .into_iter()
        .chain([6; 256])
        .chain(words.iter().map(|word| {
            // Words of several characters that nothing makes are the user's.
            if word.chars().count() == 1 { 1 } else { 4 }
        }));
    let vocabulary = GgufVocabulary {
        model: "llama",
        tokens: &tokens,
        scores: &vec![0.0; tokens.len()],
        token_types: &types.collect::<Vec<i32>>(),
        unknown: Some(0),
        add_space_prefix: Some(false),
        ..GgufVocabulary::default()
    };
    TextCodec::gguf(&vocabulary).unwrap()
}

fn refusal(schema: &Value) -> ConstraintError {
    match Constraint::json_schema(schema) {
        Ok(constraint) => walk(&byte_level(), &constraint, 1).unwrap_err(),
        Err(error) => error,
    }
}

#[test]
fn every_kind_of_vocabulary_spells_characters_of_several_tokens() {
    let texts = [
        "żółw",
        "🙂 👩‍👧",
        "你好, \"wie\"",
        "plain",
        "a\\b\nc",
        "\u{7f}é",
    ];
    let schema = json!({"type": "array", "items": {"enum": texts}, "minItems": 2, "maxItems": 3});
    let constraint = Constraint::json_schema(&schema).unwrap();
    for codec in [
        fable(),
        byte_level(),
        byte_fallback(),
        sentencepiece(),
        gguf(),
    ] {
        for seed in 0..4 {
            let text = walk(&codec, &constraint, seed).unwrap();
            let items: Vec<String> = serde_json::from_str(&text).unwrap();
            assert!((2..=3).contains(&items.len()), "{text}");
            assert!(items.iter().all(|item| texts.contains(&item.as_str())));
        }
    }
}

#[test]
fn any_text_of_the_schema_ends() {
    let schema = json!({
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 6},
            "age": {"type": "integer", "minimum": 0, "maximum": 130},
            "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "maxItems": 3},
            "more": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/pair"}]},
        },
        "required": ["name", "age", "more"],
        "additionalProperties": false,
        "$defs": {"pair": {"type": "array", "prefixItems": [{"type": "boolean"}, {"const": 7}], "items": false,
            "minItems": 2}},
        "x-guidance": {"whitespace_pattern": "[ ]{0,5000}", "lenient": true},
    });
    let constraint = Constraint::json_schema(&schema).unwrap();
    for seed in 0..6 {
        let text = walk(&fable(), &constraint, seed).unwrap();
        let value: Value = serde_json::from_str(&text).unwrap();
        assert!(value["name"].as_str().unwrap().chars().count() <= 6);
        assert!((0..=130).contains(&value["age"].as_i64().unwrap()));
        assert!(value["more"].is_null() || value["more"][1] == 7, "{text}");
        // The options are ours, whatever a schema says of them.
        assert!(!text.contains(&" ".repeat(33)), "{text}");
    }
}

#[test]
fn schemas_that_are_too_large_are_refused() {
    let mut deep = json!({"type": "null"});
    for _ in 0..200 {
        deep = json!({"type": "array", "items": deep});
    }
    let numbered = |count: usize| (0..count).map(|number| format!("property {number}"));
    let fields = |count| -> serde_json::Map<String, Value> {
        numbered(count).map(|name| (name, json!({}))).collect()
    };
    let too_large = [
        deep,
        json!({"enum": numbered(20_000).collect::<Vec<_>>()}),
        json!({"type": "object", "properties": fields(501)}),
        json!({"$defs": fields(501)}),
        json!({"type": "string", "pattern": "a".repeat(70_000)}),
    ];
    for schema in too_large {
        let error = Constraint::json_schema(&schema).unwrap_err();
        assert!(matches!(error, ConstraintError::TooLarge { .. }), "{error}");
        assert!(error.to_string().ends_with("make it smaller"), "{error}");
    }
}

#[test]
fn schemas_that_cannot_be_followed_are_refused() {
    let branches: Vec<Value> = (0..60)
        .map(|number| json!({"type": "object", "required": [number.to_string()], "properties": {number.to_string(): {}}}))
        .collect();
    let unusable = [
        json!(true),
        json!([]),
        json!({"type": "nonsense"}),
        json!({"not": {"type": "null"}}),
        json!({"$ref": "https://example.com/schema.json"}),
        json!({"$ref": "#/$defs/absent"}),
        json!({"type": "object", "properties": {"a": false}, "required": ["a"]}),
        json!({"type": "integer", "minimum": 3, "maximum": 2}),
        json!({"type": "string", "pattern": "^(?=.*a).*$"}),
        json!({"type": "string", "pattern": format!("{}a{}", "(".repeat(400), ")".repeat(400))}),
        json!({"type": "string", "format": "no-such-format"}),
        json!({"allOf": [{"anyOf": branches}, {"anyOf": branches}, {"anyOf": branches}]}),
        json!({"$defs": {"a": {"allOf": [{"$ref": "#/$defs/a"}, {"type": "object"}]}}, "$ref": "#/$defs/a"}),
        // Refers to itself only: there is no text of it.
        json!({"$ref": "#"}),
    ];
    for schema in unusable {
        let error = refusal(&schema);
        assert!(matches!(error, ConstraintError::Unusable(_)), "{error}");
        assert!(error.to_string().ends_with("change it"), "{error}");
    }
}

#[test]
fn much_work_for_a_small_schema_is_bounded() {
    let chain: serde_json::Map<String, Value> = (0..499)
        .map(|number| {
            (
                number.to_string(),
                json!({"$ref": format!("#/$defs/{}", number + 1)}),
            )
        })
        .chain([("499".to_owned(), json!({"type": "null"}))])
        .collect();
    let hostile = [
        json!({"type": "string", "pattern": "^(a|b)*a(a|b){30}$"}),
        json!({"type": "string", "pattern": "^((a+)+)+$", "maxLength": 1_000_000_000}),
        json!({"type": "string", "pattern": "^(a{1000}){1000}$"}),
        json!({"type": "array", "items": {"type": "null"}, "minItems": 1_000_000_000}),
        json!({"type": "number", "multipleOf": 1e-7, "minimum": -1e300, "maximum": 1e300}),
        json!({"$ref": "#/$defs/0", "$defs": chain}),
        json!({"$ref": "#/$defs/n", "$defs": {"n": {"anyOf": [
            {"type": "array", "items": {"$ref": "#/$defs/n"}},
            {"type": "array", "items": {"anyOf": [{"$ref": "#/$defs/n"}, {"$ref": "#/$defs/n"}]}},
        ]}}}),
    ];
    for schema in hostile {
        // It ends, or gives up with an error: it neither hangs nor ends the process.
        let walked = Constraint::json_schema(&schema)
            .and_then(|constraint| walk(&byte_level(), &constraint, 3));
        assert!(
            walked.is_ok() || matches!(walked, Err(ConstraintError::Unusable(_))),
            "{walked:?}"
        );
    }
}

#[test]
fn a_model_whose_tokens_are_no_bytes_says_so() {
    let json = r###"{"version": "1.0", "added_tokens": [], "decoder": {"type": "WordPiece", "prefix": "##",
        "cleanup": true}, "model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}}"###;
    let codec = TextCodec::parse(json.as_bytes()).unwrap();
    let error = Vocabulary::new(&codec, 1, &[]).unwrap_err();
    assert!(error.to_string().contains("WordPiece"), "{error}");
    assert!(matches!(error, ConstraintError::Model(_)));
}
