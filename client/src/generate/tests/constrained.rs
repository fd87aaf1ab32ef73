//! Answers that must be JSON.

use serde_json::{Value, json};

use super::{PROMPT, answer, tokens};
use crate::constraint::Constraint;
use crate::generate::{FinishReason, Finished, GenerateConfig};
use crate::sampling::SamplingConfig;
use crate::session::Session;
use crate::session::tests::new_session;
use crate::session_error::SessionError;

/// Seeds of each schema.
const SEEDS: u64 = 8;

/// More tokens than any text of the bounded schemas here has.
const ENOUGH: usize = 380;

fn drawn(schema: &Value, seed: u64, max_tokens: usize) -> GenerateConfig {
    GenerateConfig {
        sampling: SamplingConfig {
            seed: Some(seed),
            ..SamplingConfig::default()
        },
        constraint: Some(Constraint::json_schema(schema).unwrap()),
        ..GenerateConfig::new(max_tokens)
    }
}

/// An answer to the prompt, whatever the session held before.
async fn anew(session: &mut Session, config: GenerateConfig) -> Finished {
    session.roll_back(0).unwrap();
    answer(session, PROMPT, config).await
}

/// Answers drawn from the model's own distribution, each of which must be valid and end by itself.
async fn all_are(schema: Value, is_valid: impl Fn(&Value) -> bool) {
    let mut session = new_session(400);
    for seed in 0..SEEDS {
        let finished = anew(&mut session, drawn(&schema, seed, ENOUGH)).await;
        let text = &finished.text;
        assert_eq!(finished.reason, FinishReason::Stop, "seed {seed}: {text}");
        let value: Value = serde_json::from_str(text).unwrap();
        assert!(is_valid(&value), "seed {seed}: {text}");
    }
    let greedy = GenerateConfig {
        sampling: SamplingConfig::greedy(),
        ..drawn(&schema, 0, ENOUGH)
    };
    let finished = anew(&mut session, greedy).await;
    assert!(is_valid(&serde_json::from_str(&finished.text).unwrap()));
}

fn has_only(value: &Value, keys: &[&str]) -> bool {
    let object = value.as_object();
    object.is_some_and(|object| object.keys().eq(keys))
}

#[tokio::test]
async fn objects_have_the_fields_and_ranges_of_their_schema() {
    let schema = json!({
        "type": "object",
        "properties": {
            "name": {"type": "string", "minLength": 1, "maxLength": 12},
            "age": {"type": "integer", "minimum": 1, "maximum": 99},
            "mood": {"enum": ["glad", "sad", null]},
            "brave": {"type": "boolean"},
        },
        "required": ["name", "age", "mood", "brave"],
        "additionalProperties": false,
    });
    let is_valid = |value: &Value| {
        let name = value["name"].as_str().map(|name| name.chars().count());
        has_only(value, &["name", "age", "mood", "brave"])
            && name.is_some_and(|length| (1..=12).contains(&length))
            && value["age"]
                .as_u64()
                .is_some_and(|age| (1..=99).contains(&age))
            && [json!("glad"), json!("sad"), Value::Null].contains(&value["mood"])
            && value["brave"].is_boolean()
    };
    all_are(schema, is_valid).await;
}

#[tokio::test]
async fn lists_have_the_items_of_their_schema() {
    let schema = json!({
        "type": "array",
        "minItems": 1,
        "maxItems": 3,
        "items": {"$ref": "#/$defs/item"},
        "$defs": {"item": {"anyOf": [
            {"type": "string", "pattern": "^[A-Z]{2}-[0-9]{3}$"},
            {"type": "object", "properties": {"at": {"type": "number", "minimum": 0, "maximum": 1, "multipleOf": 0.25}},
             "required": ["at"], "additionalProperties": false},
        ]}},
    });
    let is_code = |text: &str| {
        let (letters, digits) = text.split_once('-').unwrap_or_default();
        letters.len() == 2
            && letters.bytes().all(|byte| byte.is_ascii_uppercase())
            && digits.len() == 3
            && digits.bytes().all(|byte| byte.is_ascii_digit())
    };
    let is_item = |item: &Value| match item {
        Value::String(text) => is_code(text),
        _ => {
            has_only(item, &["at"])
                && item["at"]
                    .as_f64()
                    .is_some_and(|at| (0.0..=1.0).contains(&at) && at * 4.0 % 1.0 == 0.0)
        }
    };
    let is_valid = |value: &Value| {
        let items = value.as_array();
        items.is_some_and(|items| (1..=3).contains(&items.len()) && items.iter().all(is_item))
    };
    all_are(schema, is_valid).await;
}

#[tokio::test]
async fn characters_of_several_tokens_are_whole() {
    let texts = ["żółw 🙂", "你好", "naïve"];
    all_are(json!({"enum": texts}), |value| {
        value.as_str().is_some_and(|text| texts.contains(&text))
    })
    .await;
}

#[tokio::test]
async fn an_answer_that_must_be_an_object_is_one_as_far_as_it_goes() {
    let mut session = new_session(96);
    for seed in 0..SEEDS {
        let config = GenerateConfig {
            constraint: Some(Constraint::json_object().unwrap()),
            ..drawn(&json!({}), seed, 40)
        };
        let finished = anew(&mut session, config).await;
        assert!(finished.text.starts_with('{'), "{}", finished.text);
        if finished.reason == FinishReason::Stop {
            assert!(
                serde_json::from_str::<Value>(&finished.text)
                    .unwrap()
                    .is_object()
            );
        }
    }
    // What ends an object is as likely as can be: it ends at once, and nothing comes after it.
    let braces = session.model().tokenizer.encode_continuation("}").unwrap();
    let config = GenerateConfig {
        sampling: SamplingConfig {
            logit_bias: braces.iter().map(|id| (*id, 100.0)).collect(),
            ..SamplingConfig::greedy()
        },
        constraint: Some(Constraint::json_object().unwrap()),
        ..GenerateConfig::new(40)
    };
    let finished = anew(&mut session, config).await;
    assert_eq!(finished.reason, FinishReason::Stop);
    let text = finished.text.trim_end().to_owned();
    assert!(text.starts_with('{') && text.ends_with('}'), "{text}");
}

#[tokio::test]
async fn a_grammar_that_is_over_ends_an_answer_before_its_least_length() {
    let config = GenerateConfig {
        min_tokens: 20,
        ..drawn(&json!({"const": "so"}), 1, 30)
    };
    let (tokens, finished) = tokens(&mut new_session(64), PROMPT, config).await;
    assert_eq!(
        (finished.text.as_str(), finished.reason),
        ("\"so\"", FinishReason::Stop)
    );
    assert!(tokens.len() <= 6, "{tokens:?}");
}

#[tokio::test]
async fn a_grammar_without_any_text_is_an_error_that_leaves_the_session_usable() {
    let mut session = new_session(64);
    let mut generation = session
        .generate(PROMPT, drawn(&json!({"$ref": "#"}), 1, 30))
        .unwrap();
    let error = generation.next().await.unwrap().unwrap_err();
    assert!(matches!(error, SessionError::BadInput(_)), "{error}");
    assert!(generation.next().await.is_none());
    assert_eq!(generation.finish().reason, FinishReason::Error);
    let free = answer(&mut session, Vec::new(), GenerateConfig::new(3)).await;
    assert_eq!(free.ids.len(), 3);
}
