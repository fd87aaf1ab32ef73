//! Deep prompts against a straightforward oracle: one block at a time, added by hand.

use block_model::{BlockSpan, ForwardRow, Prompts, SpanDType, SpanError};

use crate::engine::Span;

use crate::support::{States, forward, load, row, step, tiny_path, try_step};

const SAME: f32 = 1e-5;

struct DeepPrompts {
    values: Vec<f32>,
    shape: [usize; 4],
}

impl DeepPrompts {
    fn noise(shape: [usize; 4]) -> Self {
        let [blocks, batch, prefix, hidden] = shape;
        Self {
            values: States::noise([blocks * batch, prefix, hidden], 5).values,
            shape,
        }
    }

    fn view(&self) -> Prompts<'_> {
        Prompts {
            values: &self.values,
            shape: self.shape,
        }
    }

    /// The prompts of the blocks from `start` to `end` of the call.
    fn blocks(&self, start: usize, end: usize) -> Self {
        let [blocks, batch, prefix, hidden] = self.shape;
        let size = self.values.len() / blocks;
        Self {
            values: self.values[start * size..end * size].to_vec(),
            shape: [end - start, batch, prefix, hidden],
        }
    }

    /// Adds the prompt of one block and rounds, by definition.
    fn add(&self, block: usize, input: &States, round: fn(f32) -> f32) -> States {
        let [_, prompt_batch, prefix, hidden] = self.shape;
        let [batch, seq, _] = input.shape;
        let mut sum = input.clone();
        for sequence in 0..batch {
            for token in 0..prefix {
                for i in 0..hidden {
                    let of_prompt = if prompt_batch == 1 { 0 } else { sequence };
                    let place = (block * prompt_batch + of_prompt) * prefix + token;
                    let value = &mut sum.values[(sequence * seq + token) * hidden + i];
                    *value = round(*value + self.values[place * hidden + i]);
                }
            }
        }
        sum
    }
}

fn with_prompts(span: &mut Span, input: &States, prompts: &DeepPrompts) -> States {
    let end = prompts.shape[0];
    let values = span.forward(&ForwardRow {
        blocks: 0..end,
        hidden_states: input.view(),
        prompts: Some(prompts.view()),
    });
    States {
        values: values.unwrap(),
        shape: input.shape,
    }
}

#[test]
fn prompts_are_added_to_the_input_of_each_block() {
    for (dtype, round) in [
        (SpanDType::F32, (|value| value) as fn(f32) -> f32),
        (SpanDType::BF16, |value| {
            half::bf16::from_f32(value).to_f32()
        }),
    ] {
        let mut span = load(&tiny_path(), 0..4, dtype);
        let input = States::noise([2, 5, 64], 0);
        for (prompt_batch, prefix) in [(1, 3), (2, 3), (2, 5), (1, 0)] {
            let prompts = DeepPrompts::noise([4, prompt_batch, prefix, 64]);
            let mut expected = input.clone();
            for block in 0..4 {
                expected = prompts.add(block, &expected, round);
                expected = forward(&mut span, block..block + 1, &expected);
            }
            let found = with_prompts(&mut span, &input, &prompts);
            assert_eq!(
                found, expected,
                "{dtype} batch {prompt_batch} prefix {prefix}"
            );
        }
    }
}

#[test]
fn in_a_step_prompts_are_added_to_the_tokens_of_the_step() {
    let mut span = load(&tiny_path(), 0..4, SpanDType::F32);
    let input = States::noise([2, 6, 64], 0);
    let prompts = DeepPrompts::noise([4, 2, 2, 64]);
    let (together, apart) = (
        span.open_cache(0..4, 2, 6).unwrap(),
        span.open_cache(0..4, 2, 6).unwrap(),
    );
    for chunk in [0..4, 4..6] {
        let part = input.tokens(chunk.clone());
        let mut prompted = row(together, 0..4, chunk.start, &part);
        prompted.prompts = Some(prompts.view());
        let found = step(&mut span, prompted);
        let mut expected = part;
        for block in 0..4 {
            expected = prompts.add(block, &expected, |value| value);
            expected = step(
                &mut span,
                row(apart, block..block + 1, chunk.start, &expected),
            );
        }
        assert!(
            found.max_distance(&expected) <= SAME * expected.largest(),
            "{chunk:?}"
        );
    }
}

#[test]
fn prompts_do_not_care_where_the_blocks_are_cut() {
    let mut span = load(&tiny_path(), 0..4, SpanDType::BF16);
    let input = States::noise([1, 5, 64], 0);
    let prompts = DeepPrompts::noise([4, 1, 2, 64]);
    let whole = with_prompts(&mut span, &input, &prompts);
    let middle = with_prompts(&mut span, &input, &prompts.blocks(0, 2));
    let rest = prompts.blocks(2, 4);
    let split = span.forward(&ForwardRow {
        blocks: 2..4,
        hidden_states: middle.view(),
        prompts: Some(rest.view()),
    });
    assert_eq!(split.unwrap(), whole.values);
}

#[test]
fn prompts_that_do_not_fit_are_refused() {
    let mut span = load(&tiny_path(), 0..4, SpanDType::F32);
    let input = States::noise([2, 3, 64], 0);
    let cache = span.open_cache(0..4, 2, 8).unwrap();
    for shape in [
        [3, 1, 2, 64],
        [4, 3, 2, 64],
        [4, 1, 4, 64],
        [4, 1, 2, 32],
        [4, 0, 2, 64],
    ] {
        let prompts = DeepPrompts::noise(shape);
        let mut prompted = row(cache, 0..4, 0, &input);
        prompted.prompts = Some(prompts.view());
        let error = try_step(&mut span, prompted).unwrap_err();
        assert!(
            matches!(error, SpanError::Shape { .. }),
            "{shape:?}: {error}"
        );
        assert!(error.to_string().contains("prompts"), "{error}");
    }
    let mut short = DeepPrompts::noise([4, 1, 2, 64]);
    short.values.pop();
    let refused = span.forward(&ForwardRow {
        blocks: 0..4,
        hidden_states: input.view(),
        prompts: Some(short.view()),
    });
    assert!(refused.is_err());
}
