use serde_json::Value;

use super::test_codecs::{byte_fallback, byte_level, fable, fable_folder};
use super::*;

mod damage;
mod golden;

#[test]
fn encodes_and_decodes_as_transformers_does() {
    let golden = std::fs::read_to_string(fable_folder().join("golden.json")).unwrap();
    let golden: Value = serde_json::from_str(&golden).unwrap();
    let codec = fable();
    for case in golden["tokenizer_cases"].as_array().unwrap() {
        let text = case["text"].as_str().unwrap();
        let ids: Vec<u32> = serde_json::from_value(case["ids"].clone()).unwrap();
        assert_eq!(codec.encode(text).unwrap(), ids, "{text:?}");
        assert_eq!(
            codec.encode_continuation(text).unwrap(),
            ids[1..],
            "{text:?}"
        );
        assert_eq!(
            codec.decode(&ids).unwrap(),
            case["decoded"].as_str().unwrap()
        );
    }
}

#[test]
fn ids_outside_the_vocabulary_have_no_text() {
    assert_eq!(fable().decode(&[0, 1, 4096, u32::MAX]).unwrap(), "");
}

#[test]
fn truncation_and_padding_of_training_are_left_out() {
    let file = std::fs::read(fable_folder().join("tokenizer.json")).unwrap();
    let mut json: Value = serde_json::from_slice(&file).unwrap();
    json["truncation"] = serde_json::json!(
        {"max_length": 4, "strategy": "LongestFirst", "stride": 0, "direction": "Right"}
    );
    let codec = TextCodec::parse(json.to_string().as_bytes()).unwrap();
    let text = "Once upon a time, there was a little girl";
    assert_eq!(codec.encode(text).unwrap(), fable().encode(text).unwrap());
}

#[test]
fn a_file_that_is_no_tokenizer_is_an_error() {
    assert!(TextCodec::parse(b"{}").is_err());
    assert!(TextCodec::read(&fable_folder().join("nothing.json")).is_err());
}

#[test]
fn the_tokenizers_of_the_tests_cut_characters_in_pieces() {
    for codec in [byte_level(), byte_fallback()] {
        let ids = codec.encode_continuation("he 你é🙂.").unwrap();
        assert_eq!(codec.decode(&ids).unwrap(), "he 你é🙂.");
        let pieces: Vec<String> = ids.iter().map(|id| codec.decode(&[*id]).unwrap()).collect();
        assert!(
            pieces
                .iter()
                .filter(|piece| piece.contains('\u{FFFD}'))
                .count()
                >= 4,
            "{pieces:?}"
        );
    }
}
