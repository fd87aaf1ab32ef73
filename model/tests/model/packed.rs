//! Checkpoints that are packed as the hub has them, against transformers on the weights that they stand for.

use block_model::{BlockSpan, CpuOptions, CpuSpan, Level, ModelSource, SpanDType};

use crate::families::fixture;
use crate::generation::assert_greedy_ids;
use crate::golden::assert_f32;
use crate::support::{Golden, forward};

/// Those whose integers are kept, which are multiplied with activations of 8 bits.
const OF_INTEGERS: [&str; 2] = ["tiny-gptq", "tiny-awq"];
const OF_FLOATS: &str = "tiny-fp8";
const BLOCKS: usize = 4;

/// Relative RMS that the 8 bits of activations cost a block, with weights of pure noise on 64 inputs.
const OF_ACTIVATIONS: f32 = 0.02;

fn load(name: &str, kernels: Level) -> CpuSpan {
    let source = ModelSource::directory(fixture(name)).unwrap();
    let options = CpuOptions {
        kernels: Some(kernels),
        ..CpuOptions::new(SpanDType::F32)
    };
    CpuSpan::load(&source, 0..BLOCKS, &options).unwrap()
}

#[test]
fn blocks_of_gptq_and_awq_match_but_for_the_bits_of_activations() {
    for name in OF_INTEGERS {
        let golden = Golden::read(&fixture(name));
        for level in Level::available() {
            let mut span = load(name, level);
            for block in 0..BLOCKS {
                let found = forward(&mut span, block..block + 1, &golden.input_of(block));
                let error = found.relative_rms(&golden.output_of(block));
                assert!(error <= OF_ACTIVATIONS, "{name} {level} {block}: {error}");
            }
        }
    }
}

#[test]
fn blocks_of_fp8_match_in_the_type_that_it_is_unpacked_to() {
    let golden = Golden::read(&fixture(OF_FLOATS));
    for level in Level::available() {
        let mut span = load(OF_FLOATS, level);
        for block in 0..BLOCKS {
            let found = forward(&mut span, block..block + 1, &golden.input_of(block));
            let expected = golden.output_of(block);
            assert_f32(&found, &expected, None, &format!("{level} {block}"));
        }
    }
}

#[test]
fn packed_checkpoints_continue_as_transformers_does() {
    for name in OF_INTEGERS.into_iter().chain([OF_FLOATS]) {
        assert_greedy_ids(&fixture(name));
    }
}

#[test]
fn four_bits_stay_four_bits_and_eight_become_sixteen() {
    // The 96 inputs of one matrix are padded to 128.
    let bytes_per_weight = |name: &str| {
        let span = load(name, Level::available()[0]);
        let source = ModelSource::directory(fixture(name)).unwrap();
        let weights = source.config().values_per_block() * BLOCKS as u64;
        span.description().weight_bytes as f64 / weights as f64
    };
    for name in OF_INTEGERS {
        let bytes = bytes_per_weight(name);
        assert!((0.62..0.75).contains(&bytes), "{name}: {bytes}");
    }
    let bytes = bytes_per_weight(OF_FLOATS);
    assert!((1.99..2.2).contains(&bytes), "{bytes}");
}
