//! `/v1/completions`.

use serde_json::{Value, json};

use crate::events::chunks;
use crate::world::{served, text};

const TEXT: &str = "/v1/completions";
const START: &str = "Once upon a time";

fn said(answer: &Value, index: usize) -> &str {
    answer["choices"][index]["text"].as_str().unwrap()
}

#[test]
fn a_text_is_completed_in_its_own_shape() {
    let answer = served().ok(TEXT, &text(START, &json!({})));
    assert!(answer["id"].as_str().unwrap().starts_with("cmpl-"));
    assert_eq!(answer["object"], "text_completion");
    let choice = &answer["choices"][0];
    assert_eq!(choice["finish_reason"], "length");
    assert_eq!(choice["index"], 0);
    assert_eq!(choice["logprobs"], Value::Null);
    let streamed = chunks(served().stream(TEXT, &text(START, &json!({}))).all());
    let mut told = String::new();
    for chunk in &streamed {
        assert_eq!(chunk["object"], "text_completion");
        told += said(chunk, 0);
    }
    assert_eq!(told, said(&answer, 0));
    let mut body = text(START, &json!({}));
    body.as_object_mut().unwrap().remove("max_tokens");
    let answer = served().ok(TEXT, &body);
    assert_eq!(answer["usage"]["completion_tokens"], 16, "OpenAI's default");
}

#[test]
fn prompts_may_be_texts_ids_or_lists_of_them() {
    let ids = served().ok("/tokenize", &json!({ "prompt": START }))["tokens"].clone();
    let one = served().ok(TEXT, &text(START, &json!({ "max_tokens": 6 })));
    let answer = |prompt: Value| {
        served().ok(
            TEXT,
            &text("", &json!({ "prompt": prompt, "max_tokens": 6 })),
        )
    };
    assert_eq!(said(&answer(ids.clone()), 0), said(&one, 0));
    let two = answer(json!([START, "The"]));
    assert_eq!(said(&two, 0), said(&one, 0));
    assert_eq!(said(&two, 1), said(&answer(json!("The")), 0));
    assert_eq!(two["usage"]["completion_tokens"], 12);
    let lists = answer(json!([ids, ids]));
    assert_eq!(
        (said(&lists, 0), said(&lists, 1)),
        (said(&one, 0), said(&one, 0))
    );
    let body = text(
        "",
        &json!({ "prompt": [START, "The"], "n": 2, "max_tokens": 2 }),
    );
    let answers = served().ok(TEXT, &body);
    let numbers: Vec<_> = answers["choices"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["index"].clone())
        .collect();
    assert_eq!(numbers, [0, 1, 2, 3]);
    assert_eq!(
        said(&answers, 0),
        said(&answers, 1),
        "the first prompt's come first"
    );
}

#[test]
fn an_echo_begins_with_the_prompt_and_may_be_all() {
    let plain = served().ok(TEXT, &text(START, &json!({})));
    let echoed = served().ok(TEXT, &text(START, &json!({ "echo": true })));
    assert_eq!(said(&echoed, 0), format!("{START}{}", said(&plain, 0)));
    let alone = served().ok(
        TEXT,
        &text(START, &json!({ "echo": true, "max_tokens": 0 })),
    );
    assert_eq!(said(&alone, 0), START);
    assert_eq!(alone["usage"]["completion_tokens"], 0);
    assert_eq!(alone["choices"][0]["finish_reason"], "length");
}

#[test]
fn logarithms_are_four_lists_and_an_echo_has_the_prompts() {
    let answer = served().ok(
        TEXT,
        &text(START, &json!({ "logprobs": 2, "max_tokens": 6 })),
    );
    let lists = &answer["choices"][0]["logprobs"];
    let tokens = lists["tokens"].as_array().unwrap();
    let text_of: String = tokens.iter().map(|token| token.as_str().unwrap()).collect();
    assert_eq!(text_of, said(&answer, 0));
    assert_eq!(tokens.len(), 6);
    let mut offset = 0;
    for (index, token) in tokens.iter().enumerate() {
        assert_eq!(lists["text_offset"][index], offset);
        offset += token.as_str().unwrap().chars().count();
        let top = lists["top_logprobs"][index].as_object().unwrap();
        assert_eq!(top.len(), 2);
        assert_eq!(top[token.as_str().unwrap()], lists["token_logprobs"][index]);
    }

    // What the model said is as likely when it is read as when it was said.
    let whole = format!("{START}{}", said(&answer, 0));
    let read = served().ok(
        TEXT,
        &text(
            &whole,
            &json!({ "echo": true, "max_tokens": 0, "logprobs": 2 }),
        ),
    );
    assert_eq!(said(&read, 0), whole);
    let read = &read["choices"][0]["logprobs"];
    let count = read["tokens"].as_array().unwrap().len();
    assert_eq!(read["token_logprobs"][0], Value::Null);
    assert_eq!(read["top_logprobs"][0], Value::Null);
    for (index, token) in tokens.iter().enumerate() {
        let place = count - tokens.len() + index;
        assert_eq!(&read["tokens"][place], token);
        let (one, other) = (
            &read["token_logprobs"][place],
            &lists["token_logprobs"][index],
        );
        let difference = one.as_f64().unwrap() - other.as_f64().unwrap();
        // Hidden states travel in 8 bits, and in other cuts.
        assert!(difference.abs() < 0.1, "{one} {other}");
    }
}
