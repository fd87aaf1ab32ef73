//! What is asked, and what must come out.

use block_testing::Maker::{Ours, Petals};
use block_testing::fable;
use serde_json::{Value, json};

use crate::chains::Stop;
use crate::swarm::{SWARM, Which};

/// New tokens of the random model: several steps after the prompt, in every position parity.
const NEW_TOKENS: usize = 24;

#[test]
fn through_python_servers() {
    continues_as_transformers_does(|cuts| {
        vec![
            cuts.one(Petals),
            cuts.two([Petals; 2]),
            cuts.three([Petals; 3]),
        ]
    });
}

#[test]
fn through_our_servers() {
    continues_as_transformers_does(|cuts| {
        vec![cuts.one(Ours), cuts.two([Ours; 2]), cuts.three([Ours; 3])]
    });
}

#[test]
fn through_chains_of_both() {
    continues_as_transformers_does(|cuts| {
        vec![
            cuts.two([Petals, Ours]),
            cuts.two([Ours, Petals]),
            cuts.three([Ours, Petals, Ours]),
            cuts.three([Petals, Ours, Petals]),
        ]
    });
}

#[test]
fn the_python_client_says_the_same() {
    for which in [Which::Fable, Which::Random] {
        for (prompt, expected) in questions(which) {
            let arguments = json!({
                "prefix": SWARM.model(which).prefix,
                "ids": [prompt],
                "max_new_tokens": max_tokens(which),
            });
            let answer: Vec<Vec<u32>> = SWARM.client.call("generate", arguments);
            assert_eq!(answer, [expected], "{which:?} after {prompt:?}");
        }
    }
}

fn continues_as_transformers_does(chains: impl Fn(&crate::chains::Cuts) -> Vec<Vec<Stop>>) {
    for which in [Which::Fable, Which::Random] {
        let model = SWARM.model(which);
        for chain in chains(model.cuts) {
            let planned: Vec<_> = chain
                .iter()
                .map(|stop| (model.peer(stop.server), stop.blocks.0, stop.blocks.1))
                .collect();
            // All prompts of a chain at once: its servers take turns.
            let running: Vec<_> = questions(which)
                .into_iter()
                .map(|(prompt, expected)| {
                    let run = SWARM.ask(which, &chain, &prompt, max_tokens(which));
                    (run, prompt, expected)
                })
                .collect();
            for (run, prompt, expected) in running {
                let ending = run.finish();
                let what = format!("{which:?} through {chain:?} after {prompt:?}");
                assert_eq!(ending.ids(), expected, "{what}");
                assert_eq!(ending.route(), planned, "{what}");
                let printed = ending.tokens.iter().map(|line| line.value["id"].clone());
                assert_eq!(Value::Array(printed.collect()), json!(expected), "{what}");
                assert_eq!(ending.count("failovers"), 0, "{what}");
                assert_eq!(ending.summary["activation_codec"], "none", "{what}");
            }
        }
    }
}

fn max_tokens(which: Which) -> usize {
    match which {
        Which::Fable => {
            let tokens = golden()["max_new_tokens"].as_u64().unwrap();
            usize::try_from(tokens).unwrap()
        }
        Which::Random => NEW_TOKENS,
    }
}

/// Prompts, and how transformers continues them in float32.
fn questions(which: Which) -> Vec<(Vec<u32>, Vec<u32>)> {
    match which {
        // As published with the model.
        Which::Fable => {
            let golden = golden();
            let ids = |story: &Value, key: &str| -> Vec<u32> {
                serde_json::from_value(story[key].clone()).unwrap()
            };
            let stories = golden["prompts"].as_array().unwrap().iter();
            stories
                .map(|story| (ids(story, "prompt_ids"), ids(story, "greedy_ids")))
                .collect()
        }
        // As transformers says now.
        Which::Random => [(5, 2), (1, 7), (90, 3)]
            .map(|(length, seed)| {
                let prompt = ordinary_ids(length, seed);
                let arguments = json!({
                    "model": SWARM.model(which).folder,
                    "ids": [prompt],
                    "max_new_tokens": NEW_TOKENS,
                });
                let mut answer: Vec<Vec<u32>> = SWARM.client.call("reference", arguments);
                (prompt, answer.remove(0))
            })
            .into(),
    }
}

/// `length` ids of the random model without special ones, another text for every `seed`.
fn ordinary_ids(length: u32, seed: u32) -> Vec<u32> {
    const FIRST_ORDINARY_ID: u32 = 3;
    const VOCABULARY: u32 = 256;
    let id =
        |i: u32| FIRST_ORDINARY_ID + (i * 7919 + seed * 104_729) % (VOCABULARY - FIRST_ORDINARY_ID);
    (0..length).map(id).collect()
}

fn golden() -> Value {
    let golden = std::fs::read_to_string(fable().join("golden.json")).unwrap();
    serde_json::from_str(&golden).unwrap()
}
