//! What stands around completions: models, tokens, health.

use serde_json::{Value, json};

use crate::world::served;

#[test]
fn models_are_listed_and_found_with_a_slash_in_either_spelling() {
    let list = served().get("/v1/models").json();
    assert_eq!(list["object"], "list");
    let model = &list["data"][0];
    assert_eq!(model["id"], "org/fable");
    assert_eq!(model["object"], "model");
    assert_eq!(model["owned_by"], "swarm");
    assert_eq!(model["swarm"]["blocks"], 8);
    assert_eq!(model["swarm"]["covered"], 8);
    assert_eq!(model["swarm"]["servers"], 2);
    assert_eq!(model["swarm"]["max_model_len"], 512);
    assert_eq!(model["swarm"]["chat"], "plain");
    for path in ["/v1/models/org/fable", "/v1/models/org%2Ffable"] {
        assert_eq!(&served().get(path).json(), model);
    }
    let missing = served().get("/v1/models/other");
    assert_eq!(missing.status, 404);
    assert_eq!(missing.json()["error"]["code"], "model_not_found");
}

#[test]
fn text_becomes_ids_and_text_again() {
    let text = "Once upon a time, été.";
    let ids = served().ok(
        "/tokenize",
        &json!({ "model": "org/fable", "prompt": text }),
    );
    let tokens = ids["tokens"].as_array().unwrap();
    assert_eq!(ids["count"], tokens.len());
    assert_eq!(ids["max_model_len"], 512);
    assert_eq!(tokens[0], 0, "a sequence begins with the model's own token");
    let bare = served().ok(
        "/tokenize",
        &json!({ "content": text, "add_special_tokens": false }),
    );
    assert_eq!(bare["tokens"].as_array().unwrap().as_slice(), &tokens[1..]);
    let back = served().ok("/detokenize", &json!({ "tokens": tokens }));
    assert_eq!(
        (&back["prompt"], &back["content"]),
        (&text.into(), &text.into())
    );
    let messages = json!([{ "role": "user", "content": text }]);
    let chat = served().ok("/tokenize", &json!({ "messages": messages }));
    assert_eq!(chat["tokens"], ids["tokens"]);
    let prompt = served().ok("/apply-template", &json!({ "messages": messages }));
    assert_eq!(prompt, json!({ "prompt": text }));
    for (path, body, param) in [
        ("/tokenize", json!({}), "prompt"),
        ("/detokenize", json!({ "tokens": ["a"] }), "tokens"),
        ("/detokenize", json!({ "tokens": [4096] }), "tokens"),
        ("/apply-template", json!({ "messages": [] }), "messages"),
        ("/tokenize", json!({ "model": "x", "prompt": "" }), "model"),
    ] {
        assert_eq!(
            served().error(path, &body).1["param"],
            param,
            "{path} {body}"
        );
    }
}

#[test]
fn the_gateway_says_what_it_is_and_that_it_is_well() {
    for path in ["/health", "/ping"] {
        assert_eq!(served().get(path).json(), json!({ "status": "ok" }));
    }
    let ready = served().get("/health/ready");
    assert_eq!((ready.status, &ready.json()["status"]), (200, &"ok".into()));
    let info = served().get("/info").json();
    assert_eq!(info["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(info["models"][0]["max_model_len"], 512);
    assert_eq!(info["limits"]["body_bytes"], 2 * 1024 * 1024);
    let head = crate::wire::Wire::read(crate::wire::send(
        served().address,
        ("HEAD", "/health"),
        None,
    ));
    assert_eq!(head.status, 200);
    let schema: Value = served().get("/openapi.json").json();
    assert_eq!(schema["openapi"], "3.1.0");
}
