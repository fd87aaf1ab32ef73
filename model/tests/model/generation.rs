//! Greedy generation from ids to ids, against transformers'.

use std::path::Path;

use block_model::{BlockSpan, ClientHead, ModelSource, SpanDType};

use crate::engine::Span;
use serde_json::Value;

use crate::support::{Golden, States, fable_path, forward, load, row, step, tiny_path};

struct Generator {
    head: ClientHead,
    span: Span,
    num_blocks: usize,
}

impl Generator {
    fn load(model: &Path) -> Self {
        let source = ModelSource::directory(model).unwrap();
        let num_blocks = source.config().num_blocks;
        Self {
            head: ClientHead::load(&source).unwrap(),
            span: load(model, 0..num_blocks, SpanDType::F32),
            num_blocks,
        }
    }

    fn embed(&self, ids: &[u32]) -> States {
        States {
            values: self.head.embed(ids).unwrap(),
            shape: [1, ids.len(), self.head.hidden()],
        }
    }

    fn best(&self, output: &States) -> u32 {
        let last = output.tokens(output.shape[1] - 1..output.shape[1]);
        let logits = self.head.logits(&last.values).unwrap();
        let best = logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
        u32::try_from(best.unwrap().0).unwrap()
    }

    /// Runs the prompt once and each new token alone.
    fn cached(&mut self, prompt: &[u32], count: usize) -> Vec<u32> {
        let blocks = 0..self.num_blocks;
        let max_length = prompt.len() + count;
        let cache = self.span.open_cache(blocks.clone(), 1, max_length).unwrap();
        let input = self.embed(prompt);
        let mut output = step(&mut self.span, row(cache, blocks.clone(), 0, &input));
        let mut ids = vec![self.best(&output)];
        while ids.len() < count {
            let position = prompt.len() + ids.len() - 1;
            let input = self.embed(&ids[ids.len() - 1..]);
            output = step(&mut self.span, row(cache, blocks.clone(), position, &input));
            ids.push(self.best(&output));
        }
        self.span.close_cache(cache);
        ids
    }

    /// Runs everything again for each new token.
    fn uncached(&mut self, prompt: &[u32], count: usize) -> Vec<u32> {
        let mut ids = prompt.to_vec();
        while ids.len() < prompt.len() + count {
            let input = self.embed(&ids);
            let output = forward(&mut self.span, 0..self.num_blocks, &input);
            ids.push(self.best(&output));
        }
        ids.split_off(prompt.len())
    }
}

fn golden_json(model: &Path) -> Value {
    let text = std::fs::read_to_string(model.join("golden.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn ids(value: &Value) -> Vec<u32> {
    let ids = value.as_array().unwrap().iter();
    ids.map(|id| u32::try_from(id.as_u64().unwrap()).unwrap())
        .collect()
}

/// Both rows of a fixture's `golden.json`, token by token with a cache and as a whole without.
pub(crate) fn assert_greedy_ids(model: &Path) {
    let golden = golden_json(model);
    let mut generator = Generator::load(model);
    let inputs = golden["input_ids"].as_array().unwrap();
    let outputs = golden["greedy_ids"].as_array().unwrap();
    for (prompt, expected) in inputs.iter().zip(outputs) {
        let (prompt, expected) = (ids(prompt), ids(expected));
        let what = model.display();
        assert_eq!(
            generator.cached(&prompt, expected.len()),
            expected,
            "{what}"
        );
        assert_eq!(
            generator.uncached(&prompt, expected.len()),
            expected,
            "{what}"
        );
    }
}

#[test]
fn tiny_generates_the_golden_ids() {
    assert_greedy_ids(&tiny_path());
}

#[test]
fn fable_generates_the_golden_ids() {
    let golden = golden_json(&fable_path());
    let mut generator = Generator::load(&fable_path());
    for (number, case) in golden["prompts"].as_array().unwrap().iter().enumerate() {
        let (prompt, expected) = (ids(&case["prompt_ids"]), ids(&case["greedy_ids"]));
        assert_eq!(generator.cached(&prompt, expected.len()), expected);
        if number == 0 {
            assert_eq!(generator.uncached(&prompt, expected.len()), expected);
        }
    }
}

/// Embeddings and logits of a fixture's `golden_hidden.safetensors`.
pub(crate) fn assert_head(model: &Path) {
    let golden = Golden::read(model);
    let source = ModelSource::directory(model).unwrap();
    let head = ClientHead::load(&source).unwrap();
    let input = golden.input_of(0);
    let embedded = States {
        values: head.embed(&golden.ids()).unwrap(),
        shape: input.shape,
    };
    let distance = embedded.max_distance(&input);
    let what = model.display();
    assert!(distance <= 1e-6 * input.largest(), "{what}: {distance}");
    let last = golden.output_of(source.config().num_blocks - 1);
    let expected = golden.states("logits");
    let logits = States {
        values: head.logits(&last.values).unwrap(),
        shape: expected.shape,
    };
    let distance = logits.max_distance(&expected);
    assert!(distance <= 1e-4 * expected.largest(), "{what}: {distance}");
}

#[test]
fn the_head_matches_the_golden_tensors() {
    for model in [tiny_path(), fable_path()] {
        assert_head(&model);
    }
}

#[test]
fn the_head_refuses_what_it_does_not_know() {
    let source = ModelSource::directory(tiny_path()).unwrap();
    let head = ClientHead::load(&source).unwrap();
    let message = head.embed(&[0, 260]).unwrap_err().to_string();
    assert!(message.contains("260"), "{message}");
    assert!(head.logits(&[0.0; 65]).is_err());
    assert!(head.embed(&[]).unwrap().is_empty() && head.logits(&[]).unwrap().is_empty());
}
