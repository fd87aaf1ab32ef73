//! `/v1/chat/completions`.

use serde_json::{Value, json};

use crate::events::{chat_text, chunks};
use crate::world::{chat, served};

const CHAT: &str = "/v1/chat/completions";
const START: &str = "Once upon a time";

fn keys(value: &Value) -> Vec<&str> {
    let keys = value.as_object().unwrap().keys();
    let mut keys: Vec<_> = keys.map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

#[test]
fn a_plain_answer_has_every_key_and_true_counts() {
    let answer = served().ok(CHAT, &chat(START, &json!({})));
    assert_eq!(
        keys(&answer),
        [
            "choices",
            "created",
            "id",
            "model",
            "object",
            "swarm",
            "system_fingerprint",
            "usage"
        ]
    );
    assert!(answer["id"].as_str().unwrap().starts_with("chatcmpl-"));
    assert_eq!(answer["object"], "chat.completion");
    assert_eq!(answer["model"], "org/fable");
    assert!(answer["created"].as_u64().unwrap() > 1_700_000_000);
    assert_eq!(answer["system_fingerprint"], "bs-0.1.0-local-bfloat16");
    let choice = &answer["choices"][0];
    assert_eq!(
        keys(choice),
        ["finish_reason", "index", "logprobs", "message"]
    );
    assert_eq!(choice["finish_reason"], "length");
    assert_eq!(choice["logprobs"], Value::Null);
    assert_eq!(choice["message"]["role"], "assistant");
    assert_eq!(choice["message"]["refusal"], Value::Null);
    assert!(choice["message"]["content"].as_str().unwrap().len() > 20);
    let usage = &answer["usage"];
    assert_eq!(usage["completion_tokens"], 24);
    let total = usage["prompt_tokens"].as_u64().unwrap() + 24;
    assert_eq!(usage["total_tokens"], total);
    let account = &answer["swarm"];
    assert_eq!(account["route"][0]["blocks"], "0:4");
    assert_eq!(account["route"][1]["blocks"], "4:8");
    assert_eq!(account["failovers"], 0);
    assert!(account["ttft_ms"].as_f64().unwrap() > 0.0);
    assert!(account["tokens_per_second"].as_f64().unwrap() > 0.0);
}

#[test]
fn a_stream_says_the_same_in_openais_order() {
    let plain = served().ok(CHAT, &chat(START, &json!({})));
    let plain = plain["choices"][0]["message"]["content"].as_str().unwrap();
    let chunks = chunks(served().stream(CHAT, &chat(START, &json!({}))).all());
    let (first, last) = (&chunks[0], chunks.last().unwrap());
    assert_eq!(
        first["choices"][0]["delta"],
        json!({ "role": "assistant", "content": "" })
    );
    for chunk in &chunks {
        assert_eq!(chunk["object"], "chat.completion.chunk");
        for key in ["id", "created", "model", "system_fingerprint"] {
            assert_eq!(chunk[key], first[key], "{key}");
        }
        assert!(chunk.get("usage").is_none(), "nobody asked for it");
    }
    assert_eq!(chat_text(&chunks, 0), plain);
    assert!(chunks.len() > 10, "token by token");
    assert_eq!(last["choices"][0]["delta"], json!({}));
    assert_eq!(last["choices"][0]["finish_reason"], "length");
    assert_eq!(last["swarm"]["route"][1]["blocks"], "4:8");
    for chunk in &chunks[..chunks.len() - 1] {
        assert_eq!(chunk["choices"][0]["finish_reason"], Value::Null);
    }
}

#[test]
fn usage_comes_last_if_asked_for_and_never_otherwise() {
    let with = |options: Value| {
        let body = chat(
            START,
            &json!({ "stream_options": options, "max_tokens": 3 }),
        );
        chunks(served().stream(CHAT, &body).all())
    };
    let asked = with(json!({ "include_usage": true, "include_obfuscation": false }));
    let (last, others) = asked.split_last().unwrap();
    assert_eq!(last["choices"], json!([]));
    assert_eq!(last["usage"]["completion_tokens"], 3);
    for chunk in others {
        assert_eq!(chunk.get("usage"), Some(&Value::Null));
    }
    for options in [json!({}), json!({ "include_usage": false }), Value::Null] {
        assert!(
            with(options)
                .iter()
                .all(|chunk| chunk.get("usage").is_none())
        );
    }
}

#[test]
fn a_stop_string_is_found_across_chunks_and_is_not_told() {
    let free = served().ok(CHAT, &chat(START, &json!({})));
    let free = free["choices"][0]["message"]["content"]
        .as_str()
        .unwrap()
        .to_owned();
    // From within one word to within the third, so that no token ends where it does.
    let words: Vec<(usize, &str)> = free.match_indices(' ').collect();
    let stop = &free[words[1].0 - 2..words[3].0 + 2];
    let expected = &free[..free.find(stop).unwrap()];
    for stop in [json!(stop), json!(["never said", stop])] {
        let body = chat(START, &json!({ "stop": stop, "logprobs": true }));
        let plain = served().ok(CHAT, &body);
        let choice = &plain["choices"][0];
        assert_eq!(choice["message"]["content"], expected);
        assert_eq!(choice["finish_reason"], "stop");
        let told = choice["logprobs"]["content"].as_array().unwrap().iter();
        let told: String = told.map(|token| token["token"].as_str().unwrap()).collect();
        assert!(told.starts_with(expected), "{told:?}");
        let chunks = chunks(served().stream(CHAT, &body).all());
        assert_eq!(chat_text(&chunks, 0), expected);
        assert_eq!(
            chunks.last().unwrap()["choices"][0]["finish_reason"],
            "stop"
        );
    }
}

#[test]
fn logarithms_come_with_their_tokens_in_both_ways() {
    let more = json!({ "logprobs": true, "top_logprobs": 3, "max_tokens": 8 });
    let plain = served().ok(CHAT, &chat(START, &more));
    let content = plain["choices"][0]["logprobs"]["content"]
        .as_array()
        .unwrap();
    assert_eq!(plain["choices"][0]["logprobs"]["refusal"], Value::Null);
    assert_eq!(content.len(), 8);
    let mut text = String::new();
    for token in content {
        text += token["token"].as_str().unwrap();
        assert_eq!(
            token["bytes"],
            json!(token["token"].as_str().unwrap().as_bytes())
        );
        let top = token["top_logprobs"].as_array().unwrap();
        assert_eq!(top.len(), 3);
        assert_eq!(top[0]["token"], token["token"], "the likeliest was taken");
        assert_eq!(top[0]["logprob"], token["logprob"]);
        assert!(top[0]["logprob"].as_f64() >= top[1]["logprob"].as_f64());
    }
    assert_eq!(plain["choices"][0]["message"]["content"], text.as_str());
    let streamed = chunks(served().stream(CHAT, &chat(START, &more)).all());
    let streamed: Vec<Value> = streamed
        .iter()
        .filter_map(|chunk| chunk["choices"][0]["logprobs"]["content"].as_array())
        .flatten()
        .map(|token| token["token"].clone())
        .collect();
    let expected: Vec<Value> = content.iter().map(|token| token["token"].clone()).collect();
    assert_eq!(streamed, expected);
}

#[test]
fn several_choices_are_told_side_by_side_and_a_seed_repeats_them() {
    let more = json!({ "n": 3, "temperature": 1, "seed": 7, "max_tokens": 12 });
    let texts = |answer: &Value| -> Vec<String> {
        let choices = answer["choices"].as_array().unwrap().iter();
        choices
            .map(|choice| choice["message"]["content"].as_str().unwrap().to_owned())
            .collect()
    };
    let first = served().ok(CHAT, &chat(START, &more));
    let said = texts(&first);
    assert_eq!(said.len(), 3);
    assert!(said[0] != said[1] && said[1] != said[2], "{said:?}");
    assert_eq!(first["usage"]["completion_tokens"], 36);
    assert_eq!(texts(&served().ok(CHAT, &chat(START, &more))), said);
    let other = json!({ "n": 3, "temperature": 1, "seed": 8, "max_tokens": 12 });
    assert_ne!(texts(&served().ok(CHAT, &chat(START, &other))), said);
    let streamed = chunks(served().stream(CHAT, &chat(START, &more)).all());
    for (index, text) in said.iter().enumerate() {
        assert_eq!(&chat_text(&streamed, index), text);
    }
}

#[test]
fn penalties_and_cuts_change_what_is_said() {
    let say = |more: Value| {
        let answer = served().ok(CHAT, &chat(START, &more));
        answer["choices"][0]["message"]["content"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let greedy = say(json!({}));
    assert_ne!(
        say(json!({ "frequency_penalty": 2, "presence_penalty": 2 })),
        greedy
    );
    assert_ne!(say(json!({ "repetition_penalty": 1.8 })), greedy);
    // One candidate is left, whatever the temperature.
    assert_eq!(say(json!({ "temperature": 2, "top_k": 1 })), greedy);
    assert_eq!(
        say(json!({ "temperature": 2, "min_p": 1, "top_k": -1 })),
        greedy
    );
    assert_eq!(
        say(json!({ "temperature": 2, "top_p": 0.0001, "top_k": 0 })),
        greedy
    );
    assert_eq!(
        say(json!({ "max_completion_tokens": 24, "max_tokens": 5 })),
        greedy
    );
}

#[test]
fn without_a_number_an_answer_is_as_long_as_the_makers_advise() {
    let mut body = chat(START, &json!({ "ignore_eos": true }));
    body.as_object_mut().unwrap().remove("max_tokens");
    let answer = served().ok(CHAT, &body);
    // `max_new_tokens` of its generation_config.json.
    assert_eq!(answer["usage"]["completion_tokens"], 200);
}

#[test]
fn messages_become_a_text_and_the_last_may_be_continued() {
    let content = |parts: Value| {
        let mut body = chat("", &json!({ "max_tokens": 8 }));
        body["messages"] = parts;
        let answer = served().ok(CHAT, &body);
        answer["choices"][0]["message"]["content"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let plain = content(json!([{ "role": "user", "content": START }]));
    let parts = json!([{ "role": "developer", "content": [{ "type": "text", "text": START }] }]);
    assert_eq!(content(parts), plain);
    let mut body = chat(
        "",
        &json!({ "max_tokens": 8, "continue_final_message": true, "add_generation_prompt": false }),
    );
    body["messages"] = json!([
        { "role": "user", "content": "Once upon" },
        { "role": "assistant", "content": " a time" },
    ]);
    let answer = served().ok(CHAT, &body);
    assert_eq!(answer["choices"][0]["message"]["content"], plain.as_str());
}

#[test]
fn an_answer_of_a_schema_is_valid_and_ends_by_itself() {
    let schema = json!({
        "type": "object",
        "properties": {
            "kind": { "enum": ["fox", "bear"] },
            "legs": { "type": "integer", "minimum": 2, "maximum": 8 },
        },
        "required": ["kind", "legs"],
        "additionalProperties": false,
    });
    let format = json!({
        "type": "json_schema", "json_schema": { "name": "animal", "strict": true, "schema": schema },
    });
    for more in [json!({}), json!({ "temperature": 1.0, "seed": 5 })] {
        let mut body = chat(START, &more);
        body["response_format"] = format.clone();
        // A small model likes blanks.
        body["max_tokens"] = json!(200);
        body["logprobs"] = json!(true);
        let answer = served().ok(CHAT, &body);
        let choice = &answer["choices"][0];
        assert_eq!(choice["finish_reason"], "stop", "{answer}");
        let told = choice["message"]["content"].as_str().unwrap();
        let tokens = choice["logprobs"]["content"].as_array().unwrap();
        let said: String = tokens
            .iter()
            .map(|token| token["token"].as_str().unwrap())
            .collect();
        assert_eq!(said, told);
        let told: Value = serde_json::from_str(told).unwrap();
        assert_eq!(told.as_object().unwrap().len(), 2, "{told}");
        assert!(["fox", "bear"].contains(&told["kind"].as_str().unwrap()));
        assert!((2..=8).contains(&told["legs"].as_u64().unwrap()), "{told}");
    }
}

#[test]
fn a_bias_forces_a_token_and_min_tokens_a_length() {
    let usual = served().ok(CHAT, &chat(START, &json!({ "max_tokens": 1 })));
    let body = chat(
        START,
        &json!({ "max_tokens": 3, "logit_bias": { "300": 100 } }),
    );
    let forced = served().ok(CHAT, &body);
    let text = |answer: &Value| answer["choices"][0]["message"]["content"].clone();
    let three = text(&forced).as_str().unwrap().to_owned();
    assert!(!three.is_empty() && three.len() % 3 == 0, "{three}");
    assert_ne!(three[..three.len() / 3], text(&usual));
    let body = chat(
        START,
        &json!({ "max_tokens": 40, "min_tokens": 30, "stop": ["a", "e"] }),
    );
    let answer = served().ok(CHAT, &body);
    assert!(answer["usage"]["completion_tokens"].as_u64().unwrap() >= 30);
}

#[test]
fn what_changes_nothing_is_taken() {
    let more = json!({
        "user": "somebody", "metadata": {}, "store": false, "service_tier": "auto",
        "parallel_tool_calls": true, "reasoning_effort": "low", "verbosity": "low",
        "prompt_cache_key": "x", "safety_identifier": "y", "tools": [], "tool_choice": "none",
        "response_format": { "type": "text" }, "logit_bias": {}, "min_tokens": 0,
        "modalities": ["text"], "n": null, "stop": null, "something_new": [1], "max_tokens": 1,
        "chat_template_kwargs": { "enable_thinking": false },
    });
    served().ok(CHAT, &chat(START, &more));
}
