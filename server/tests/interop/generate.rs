//! A Petals client generates through our servers and gets the ids that transformers alone computes.

use serde_json::{Value, json};

use crate::chains::Chain;
use crate::swarm::{SWARM, Swarm};

/// New tokens of a short run: several steps after the prompt, in every position parity.
const NEW_TOKENS: usize = 12;

/// Longer than any chunk of a prompt and any packet, within the models' 512 positions.
const LONG_PROMPT_TOKENS: u32 = 300;

/// float32 on both sides with different orders of summation; measured below 1e-6 of the largest value.
const MAX_RELATIVE_DIFFERENCE: f64 = 1e-4;

/// 8 bits of precision, rounded between blocks: the ceiling that the model's golden tensors have too.
const MAX_BF16_RELATIVE_RMS: f64 = 1e-2;

#[test]
fn fable_through_one_server() {
    generates(&SWARM, "fable-one");
}

#[test]
fn fable_through_two_servers() {
    generates(&SWARM, "fable-two");
}

#[test]
fn fable_through_three_servers() {
    generates(&SWARM, "fable-three");
}

#[test]
fn random_model_through_one_server() {
    generates(&SWARM, "random-one");
}

#[test]
fn random_model_through_two_servers() {
    generates(&SWARM, "random-two");
}

#[test]
fn random_model_through_three_servers() {
    generates(&SWARM, "random-three");
}

#[test]
fn bloom_through_two_servers() {
    generates(&SWARM, "bloom");
}

#[test]
fn falcon_in_each_of_its_layouts_through_two_servers() {
    for prefix in ["falcon-40b", "falcon-7b", "falcon-rw"] {
        generates(&SWARM, prefix);
    }
}

#[test]
fn stories_are_those_that_the_model_was_published_with() {
    let swarm = &*SWARM;
    let chain = swarm.chain("fable-three");
    let golden = std::fs::read_to_string(chain.model.join("golden.json")).unwrap();
    let golden: Value = serde_json::from_str(&golden).unwrap();
    for story in golden["prompts"].as_array().unwrap() {
        let expected: Vec<u32> = serde_json::from_value(story["greedy_ids"].clone()).unwrap();
        let answer: Vec<Vec<u32>> = swarm.client.call(
            "generate",
            json!({
                "prefix": chain.prefix,
                "ids": [story["prompt_ids"]],
                "max_new_tokens": golden["max_new_tokens"],
            }),
        );
        assert_eq!(answer, [expected], "{}", story["prompt"]);
    }
}

#[test]
fn two_clients_at_once() {
    let swarm = &*SWARM;
    let chain = swarm.chain("fable-two");
    let (first, second) = (prompt(chain, 9, 3), prompt(chain, 23, 4));
    let expected = [
        reference(swarm, chain, &first),
        reference(swarm, chain, &second),
    ];
    let request =
        |ids: &[u32]| json!({ "prefix": chain.prefix, "ids": [ids], "max_new_tokens": NEW_TOKENS });
    let replies = [
        swarm.client.begin("generate", request(&first)),
        swarm.second_client.begin("generate", request(&second)),
    ];
    assert_eq!(replies.map(|reply| reply.wait::<Vec<Vec<u32>>>()), expected);
}

#[test]
fn sessions_of_one_client_take_turns() {
    let swarm = &*SWARM;
    let chain = swarm.chain("fable-three");
    let prompts = [
        prompt(chain, 5, 1),
        prompt(chain, 11, 2),
        prompt(chain, 2, 5),
    ];
    let answers: Vec<Vec<u32>> = swarm.client.call(
        "alternate",
        json!({ "prefix": chain.prefix, "prompts": prompts, "max_new_tokens": NEW_TOKENS }),
    );
    for (answer, prompt) in answers.into_iter().zip(&prompts) {
        assert_eq!(vec![answer], reference(swarm, chain, prompt));
    }
}

#[test]
fn a_session_rolls_on_over_several_calls() {
    rolls_on(&SWARM, "fable-one");
    rolls_on(&SWARM, "fable-three");
}

#[test]
fn a_prompt_of_300_tokens() {
    for prefix in ["fable-one", "fable-three", "random-two"] {
        continues_long_prompt(&SWARM, prefix);
    }
}

#[test]
fn a_batch_of_rows() {
    let swarm = &*SWARM;
    let chain = swarm.chain("fable-two");
    let rows = json!([
        prompt(chain, 7, 1),
        prompt(chain, 7, 2),
        prompt(chain, 7, 3)
    ]);
    assert_equal_answers(swarm, chain, &rows, &Value::Null);
}

#[test]
fn beams_are_reordered() {
    let swarm = &*SWARM;
    let chain = swarm.chain("fable-two");
    assert_equal_answers(
        swarm,
        chain,
        &json!([prompt(chain, 5, 2)]),
        &json!({ "num_beams": 4 }),
    );
}

#[test]
fn forward_through_every_chain() {
    for prefix in [
        "fable-one",
        "fable-two",
        "fable-three",
        "random-one",
        "random-two",
        "random-three",
    ] {
        forwards(&SWARM, prefix);
    }
}

#[test]
fn servers_in_bf16_stay_close_to_float32() {
    let swarm = &*SWARM;
    let chain = swarm.chain("fable-bf16");
    let shape = json!({ "prefix": chain.prefix, "model": chain.model, "batch": 2, "seq": 6 });
    let cuts =
        json!({ "prefix": chain.prefix, "model": chain.model, "batch": 2, "cuts": [4, 1, 1] });
    for (action, arguments) in [("forward", shape), ("step", cuts)] {
        let comparison: Value = swarm.client.call(action, arguments);
        let relative_rms = comparison["relative_rms"].as_f64().unwrap();
        assert!(relative_rms > 0.0, "not computed in bf16: {comparison}");
        assert!(
            relative_rms <= MAX_BF16_RELATIVE_RMS,
            "{action}: {comparison}"
        );
    }
}

#[test]
fn a_session_of_uneven_steps_equals_one_forward() {
    for prefix in ["fable-two", "random-three"] {
        steps(&SWARM, prefix, &json!([1, 4, 2, 1]), 0);
    }
}

#[test]
fn deep_prompts_are_added_to_each_block() {
    for prefix in ["fable-two", "random-three"] {
        steps(&SWARM, prefix, &json!([5, 1, 1]), 3);
    }
}

/// Asserts that the ids generated through `prefix` are those of transformers.
pub(crate) fn generates(swarm: &Swarm, prefix: &str) {
    let chain = swarm.chain(prefix);
    assert_equal_answers(swarm, chain, &json!([prompt(chain, 5, 2)]), &Value::Null);
    assert_equal_answers(swarm, chain, &json!([prompt(chain, 1, 7)]), &Value::Null);
}

/// Asserts that a prompt far longer than one step of generation gives the ids of transformers.
pub(crate) fn continues_long_prompt(swarm: &Swarm, prefix: &str) {
    let chain = swarm.chain(prefix);
    assert_equal_answers(
        swarm,
        chain,
        &json!([prompt(chain, LONG_PROMPT_TOKENS, 1)]),
        &Value::Null,
    );
}

/// Asserts that several `generate` calls in one session, with and without new ids, continue as one text.
pub(crate) fn rolls_on(swarm: &Swarm, prefix: &str) {
    let chain = swarm.chain(prefix);
    let turns = [
        (Some(prompt(chain, 6, 1)), 4),
        (None, 1),
        (Some(prompt(chain, 3, 9)), 5),
        (None, 3),
    ];
    let request: Vec<_> = turns
        .iter()
        .map(|(ids, count)| json!({ "ids": ids, "max_new_tokens": count }))
        .collect();
    let answers: Vec<Vec<u32>> = swarm
        .client
        .call("roll", json!({ "prefix": prefix, "turns": request }));

    let mut text = Vec::new();
    for ((ids, count), answer) in turns.iter().zip(answers) {
        text.extend(ids.iter().flatten());
        let expected: Vec<Vec<u32>> = swarm.client.call(
            "reference",
            json!({ "model": chain.model, "ids": [text], "max_new_tokens": count }),
        );
        assert_eq!(
            vec![answer.clone()],
            expected,
            "after {} tokens through {prefix}",
            text.len()
        );
        text.extend(answer);
    }
}

/// Asserts that raw hidden states, with and without deep prompts, come out as from the blocks alone.
pub(crate) fn forwards(swarm: &Swarm, prefix: &str) {
    let model = &swarm.chain(prefix).model;
    for prompt_length in [0, 2] {
        let arguments = json!({ "prefix": prefix, "model": model, "batch": 2, "seq": 6, "prompt_length": prompt_length });
        assert_close(&swarm.client.call("forward", arguments), prefix);
    }
}

fn steps(swarm: &Swarm, prefix: &str, cuts: &Value, prompt_length: usize) {
    let arguments = json!({
        "prefix": prefix,
        "model": swarm.chain(prefix).model,
        "cuts": cuts,
        "batch": 2,
        "prompt_length": prompt_length,
    });
    assert_close(&swarm.client.call("step", arguments), prefix);
}

fn assert_close(comparison: &Value, prefix: &str) {
    let [difference, value] =
        ["max_difference", "max_value"].map(|key| comparison[key].as_f64().unwrap());
    assert!(
        difference <= MAX_RELATIVE_DIFFERENCE * value,
        "{prefix}: {comparison}"
    );
}

fn assert_equal_answers(swarm: &Swarm, chain: &Chain, rows: &Value, options: &Value) {
    let ask = |action: &str, subject: Value| -> Vec<Vec<u32>> {
        let mut arguments =
            json!({ "ids": rows, "max_new_tokens": NEW_TOKENS, "options": options });
        arguments
            .as_object_mut()
            .unwrap()
            .extend(subject.as_object().unwrap().clone());
        swarm.client.call(action, arguments)
    };
    let answer = ask("generate", json!({ "prefix": chain.prefix }));
    assert_eq!(
        answer,
        ask("reference", json!({ "model": chain.model })),
        "through {}",
        chain.prefix
    );
    assert!(
        answer.iter().all(|row| !row.is_empty()),
        "nothing was generated through {}",
        chain.prefix
    );
}

fn reference(swarm: &Swarm, chain: &Chain, ids: &[u32]) -> Vec<Vec<u32>> {
    let arguments = json!({ "model": chain.model, "ids": [ids], "max_new_tokens": NEW_TOKENS });
    swarm.client.call("reference", arguments)
}

/// `length` ids without special ones, another text for every `seed`.
fn prompt(chain: &Chain, length: u32, seed: u32) -> Vec<u32> {
    const FIRST_ORDINARY_ID: u32 = 3;
    (0..length)
        .map(|i| {
            FIRST_ORDINARY_ID + (i * 7919 + seed * 104_729) % (chain.vocabulary - FIRST_ORDINARY_ID)
        })
        .collect()
}
