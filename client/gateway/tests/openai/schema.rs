//! `/openapi.json` says what the answers are.

use serde_json::{Value, json};

use crate::events::chunks;
use crate::world::{chat, served, text};

/// Whether a value is what a schema says, in the words of the schema that the file uses; every key must be in it.
fn check(document: &Value, schema: &Value, value: &Value, place: &str) {
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.rsplit('/').next().unwrap();
        let named = &document["components"]["schemas"][name];
        assert!(named.is_object(), "{name}");
        return check(document, named, value, place);
    }
    if let Some(options) = schema["oneOf"].as_array() {
        let fits = |option: &Value| option["type"] != "null" || value.is_null();
        let option = options.iter().filter(|option| fits(option));
        let option = option.min_by_key(|option| (option["type"] == "null") != value.is_null());
        return check(document, option.unwrap(), value, place);
    }
    let kinds = match &schema["type"] {
        Value::Array(kinds) => kinds.clone(),
        kind => vec![kind.clone()],
    };
    let is_of = |kind: &Value| match kind.as_str().unwrap() {
        "null" => value.is_null(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64(),
        "number" => value.is_number(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("{other}"),
    };
    assert!(kinds.iter().any(is_of), "{place}: {value} is no {kinds:?}");
    if let Some(values) = schema["enum"].as_array() {
        assert!(
            values.contains(value),
            "{place}: {value} is none of {values:?}"
        );
    }
    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
        check(
            document,
            &schema["items"],
            item,
            &format!("{place}[{index}]"),
        );
    }
    let Some(object) = value.as_object() else {
        return;
    };
    for name in schema["required"].as_array().into_iter().flatten() {
        assert!(
            object.contains_key(name.as_str().unwrap()),
            "{place}: no {name}"
        );
    }
    for (name, value) in object {
        let schema = schema["properties"]
            .get(name)
            .or_else(|| schema.get("additionalProperties"));
        let schema = schema.unwrap_or_else(|| panic!("{place}: {name} is not in the schema"));
        check(document, schema, value, &format!("{place}.{name}"));
    }
}

#[test]
fn every_answer_is_what_the_schema_says() {
    let document = served().get("/openapi.json").json();
    let has = |name: &str, value: &Value| {
        check(
            &document,
            &json!({ "$ref": format!("#/{name}") }),
            value,
            name,
        );
    };
    let logs = json!({ "logprobs": true, "top_logprobs": 2, "max_tokens": 3 });
    let usage = json!({ "stream_options": { "include_usage": true }, "max_tokens": 3, "n": 2 });
    let echo = json!({ "logprobs": 2, "echo": true, "max_tokens": 3 });
    for more in [json!({}), logs] {
        has(
            "ChatAnswer",
            &served().ok("/v1/chat/completions", &chat("Once", &more)),
        );
    }
    for more in [json!({}), echo.clone()] {
        has(
            "TextAnswer",
            &served().ok("/v1/completions", &text("Once", &more)),
        );
    }
    for chunk in chunks(
        served()
            .stream("/v1/chat/completions", &chat("Once", &usage))
            .all(),
    ) {
        has("ChatChunk", &chunk);
    }
    for chunk in chunks(
        served()
            .stream("/v1/completions", &text("Once", &echo))
            .all(),
    ) {
        has("TextChunk", &chunk);
    }
    let messages = json!({ "messages": [{ "role": "user", "content": "Once" }] });
    has("Tokens", &served().ok("/tokenize", &messages));
    has(
        "Text",
        &served().ok("/detokenize", &json!({ "tokens": [5, 6] })),
    );
    has("Prompt", &served().ok("/apply-template", &messages));
    for (name, path) in [
        ("Models", "/v1/models"),
        ("Model", "/v1/models/org/fable"),
        ("Sessions", "/v1/sessions"),
        ("Health", "/health"),
        ("Health", "/health/ready"),
        ("Info", "/info"),
        ("Error", "/nowhere"),
    ] {
        has(name, &served().get(path).json());
    }
}
