//! Hidden states after each block against transformers' (see the README beside each fixture).
//!
//! Ceilings, each named once here:
//! - single precision: 1e-4 of the golden tensor's largest value, a few hundred roundings
//! - bf16: relative RMS of 1 %, about two roundings of 2^-8 that add up over the blocks
//! - always at most a tenth of what forgetting a feature would change (`when_wrong`)

use std::path::Path;

use block_model::{BlockSpan, SpanDType};

use crate::support::{Golden, States, cuts, fable_path, forward, load, row, step, tiny_path};

const F32_OF_LARGEST: f32 = 1e-4;
const BF16_RELATIVE_RMS: f32 = 0.01;

/// The smallest change that `golden.json` records for a forgotten feature.
pub(crate) fn change_when_wrong(model: &Path) -> Option<f32> {
    let text = std::fs::read_to_string(model.join("golden.json")).unwrap();
    let golden: serde_json::Value = serde_json::from_str(&text).unwrap();
    let changes = golden.get("max_abs_change_of_block_03_when_wrong")?;
    let changes = changes.as_object().unwrap().values();
    changes
        .map(|change| change.as_f64().unwrap() as f32)
        .reduce(f32::min)
}

pub(crate) fn assert_f32(found: &States, expected: &States, when_wrong: Option<f32>, what: &str) {
    let distance = found.max_distance(expected);
    let ceiling = F32_OF_LARGEST * expected.largest();
    assert!(distance <= ceiling, "{what}: {distance} is above {ceiling}");
    assert!(
        when_wrong.is_none_or(|change| distance <= change / 10.0),
        "{what}"
    );
}

#[test]
fn each_block_matches_on_its_own() {
    for model in [tiny_path(), fable_path()] {
        let golden = Golden::read(&model);
        let blocks = if model == tiny_path() { 4 } else { 8 };
        let mut exact = load(&model, 0..blocks, SpanDType::F32);
        let mut rounded = load(&model, 0..blocks, SpanDType::BF16);
        for block in 0..blocks {
            let (input, expected) = (golden.input_of(block), golden.output_of(block));
            let what = format!("{} block {block}", model.display());
            let found = forward(&mut exact, block..block + 1, &input);
            assert_f32(&found, &expected, change_when_wrong(&model), &what);
            let found = forward(&mut rounded, block..block + 1, &input);
            let error = found.relative_rms(&expected);
            assert!(error <= BF16_RELATIVE_RMS, "{what}: relative RMS {error}");
        }
    }
}

/// Runs a prompt through spans that meet at the cuts, with a cache each, and compares each span's
/// output with the golden one.
pub(crate) fn assert_every_cut_of_blocks(model: &Path, num_blocks: usize) {
    let golden = Golden::read(model);
    let when_wrong = change_when_wrong(model);
    let input = golden.input_of(0);
    let mut span = load(model, 0..num_blocks, SpanDType::F32);
    let ways = cuts(num_blocks);
    assert_eq!(ways.len(), 1 << (num_blocks - 1));
    for spans in ways {
        let mut hidden_states = input.clone();
        for blocks in &spans {
            let [batch, seq, _] = hidden_states.shape;
            let cache = span.open_cache(blocks.clone(), batch, seq).unwrap();
            hidden_states = step(&mut span, row(cache, blocks.clone(), 0, &hidden_states));
            span.close_cache(cache);
            let expected = golden.output_of(blocks.end - 1);
            assert_f32(
                &hidden_states,
                &expected,
                when_wrong,
                &format!("{spans:?} at {blocks:?}"),
            );
        }
    }
}

#[test]
fn every_cut_of_the_blocks_matches_tiny() {
    assert_every_cut_of_blocks(&tiny_path(), 4);
}

#[test]
fn every_cut_of_the_blocks_matches_fable() {
    assert_every_cut_of_blocks(&fable_path(), 8);
}

/// Runs every cut of the prompt through the whole model with one cache.
pub(crate) fn assert_every_cut_of_the_prompt(model: &Path, num_blocks: usize, tokens: usize) {
    let golden = Golden::read(model);
    let when_wrong = change_when_wrong(model);
    let input = golden.input_of(0).tokens(0..tokens);
    let expected = golden.output_of(num_blocks - 1).tokens(0..tokens);
    let batch = input.shape[0];
    let mut span = load(model, 0..num_blocks, SpanDType::F32);
    let cache = span.open_cache(0..num_blocks, batch, tokens).unwrap();
    for chunks in cuts(tokens) {
        // Position 0 rolls the one cache back, so that each cut starts anew.
        let parts = chunks.iter().map(|chunk| {
            let part = input.tokens(chunk.clone());
            step(&mut span, row(cache, 0..num_blocks, chunk.start, &part))
        });
        let found = States::join(&parts.collect::<Vec<_>>());
        assert_f32(&found, &expected, when_wrong, &format!("{chunks:?}"));
    }
}

#[test]
fn every_cut_of_the_prompt_matches_tiny() {
    assert_every_cut_of_the_prompt(&tiny_path(), 4, 7);
}

#[test]
fn every_cut_of_the_prompt_matches_fable() {
    assert_every_cut_of_the_prompt(&fable_path(), 8, 7);
}

#[test]
fn both_cuts_at_once_match() {
    let golden = Golden::read(&tiny_path());
    let input = golden.input_of(0);
    let expected = golden.output_of(3);
    let mut span = load(&tiny_path(), 0..4, SpanDType::F32);
    for spans in cuts(4) {
        let mut open =
            |blocks: &std::ops::Range<usize>| span.open_cache(blocks.clone(), 2, 7).unwrap();
        let caches: Vec<_> = spans.iter().map(&mut open).collect();
        for chunks in cuts(7) {
            let mut parts = Vec::new();
            for chunk in &chunks {
                let mut part = input.tokens(chunk.clone());
                for (blocks, cache) in spans.iter().zip(&caches) {
                    part = step(&mut span, row(*cache, blocks.clone(), chunk.start, &part));
                }
                parts.push(part);
            }
            let found = States::join(&parts);
            assert_f32(&found, &expected, None, &format!("{spans:?} {chunks:?}"));
        }
        caches.into_iter().for_each(|cache| span.close_cache(cache));
    }
}

#[test]
fn separately_loaded_spans_match() {
    for (model, num_blocks, split) in [
        (tiny_path(), 4, 1),
        (tiny_path(), 4, 2),
        (fable_path(), 8, 5),
    ] {
        let golden = Golden::read(&model);
        let mut first = load(&model, 0..split, SpanDType::F32);
        let mut second = load(&model, split..num_blocks, SpanDType::F32);
        let middle = forward(&mut first, 0..split, &golden.input_of(0));
        let found = forward(&mut second, split..num_blocks, &middle);
        let expected = golden.output_of(num_blocks - 1);
        assert_f32(
            &found,
            &expected,
            change_when_wrong(&model),
            &format!("split at {split}"),
        );
    }
}

/// In half types the residual stream is rounded between blocks, so a boundary loses nothing.
#[test]
fn splits_in_half_types_are_bit_equal() {
    for (model, num_blocks) in [(tiny_path(), 4), (fable_path(), 8)] {
        let golden = Golden::read(&model);
        for dtype in [SpanDType::BF16, SpanDType::F16] {
            let mut span = load(&model, 0..num_blocks, dtype);
            let input = golden.input_of(0);
            let whole = forward(&mut span, 0..num_blocks, &input);
            let expected = golden.output_of(num_blocks - 1);
            let error = whole.relative_rms(&expected);
            assert!(error <= BF16_RELATIVE_RMS, "{dtype}: relative RMS {error}");
            assert!(
                change_when_wrong(&model)
                    .is_none_or(|change| whole.max_distance(&expected) <= change / 10.0)
            );
            for spans in cuts(num_blocks) {
                let mut split = input.clone();
                for blocks in &spans {
                    split = forward(&mut span, blocks.clone(), &split);
                }
                assert_eq!(whole, split, "{dtype} {spans:?}");
            }
            let mut second = load(&model, num_blocks / 2..num_blocks, dtype);
            let middle = forward(&mut span, 0..num_blocks / 2, &input);
            let split = forward(&mut second, num_blocks / 2..num_blocks, &middle);
            assert_eq!(whole, split, "{dtype} in two loads");
        }
    }
}

/// What leaves a span can be sent in the span's dtype without loss.
#[test]
fn outputs_are_representable_in_the_dtype_of_the_span() {
    let golden = Golden::read(&tiny_path());
    let mut span = load(&tiny_path(), 0..4, SpanDType::BF16);
    let output = forward(&mut span, 0..4, &golden.input_of(0));
    assert!(
        output
            .values
            .iter()
            .all(|value| value.to_bits() & 0xffff == 0)
    );
}
