//! Openings of stories, in the ids of the embedded model.

use block_testing::fable;
use serde_json::Value;

/// New tokens after the fault, where the model's positions allow it. Generations that start together run apart until
/// the last one has the tokens for the fault, and none may be over by then.
const MORE_TOKENS: usize = 150;

/// New tokens of the longest case.
pub(crate) const MOST_TOKENS: usize = 400 + 50;

/// New tokens of a generation that loses a server when it has `token`.
pub(crate) fn asked(token: usize) -> usize {
    (token + MORE_TOKENS).min(MOST_TOKENS)
}

/// Tokens of the first four openings, and of the next four: with [`MOST_TOKENS`] within the model's 512 positions.
const LENGTHS: [usize; 2] = [40, 56];

/// The beginning of one of the stories that the model was published with; every `number` up to 8 has another.
///
/// Long enough to tell the replay of one hop's cache from that of all three.
pub(crate) fn prompt(number: usize) -> Vec<u32> {
    let stories = stories();
    let mut ids = stories[number % stories.len()].clone();
    ids.truncate(LENGTHS[number / stories.len() % LENGTHS.len()]);
    ids
}

/// Prompts with transformers' float32 continuations.
fn stories() -> Vec<Vec<u32>> {
    let golden = std::fs::read_to_string(fable().join("golden.json")).unwrap();
    let golden: Value = serde_json::from_str(&golden).unwrap();
    let ids = |story: &Value| {
        let ids = |key: &str| -> Vec<u32> { serde_json::from_value(story[key].clone()).unwrap() };
        [ids("prompt_ids"), ids("greedy_ids")].concat()
    };
    golden["prompts"]
        .as_array()
        .unwrap()
        .iter()
        .map(ids)
        .collect()
}
