//! Expected values: the functions of transformers 5.23.0, `modeling_rope_utils.py`, run in double
//! precision with the configuration of each test.

use candle_core::{DType, Device, Tensor};

use super::RopeTable;
use crate::config::{RopeConfig, RopeScaling};

fn config(scaling: RopeScaling) -> RopeConfig {
    RopeConfig {
        theta: 10_000.0,
        scaling,
    }
}

fn assert_frequencies(config: &RopeConfig, position: usize, expected: &[f32]) {
    let found = config.frequencies(expected.len(), position);
    for (found, expected) in found.iter().zip(expected) {
        let relative = (found - expected).abs() / expected;
        assert!(
            relative < 1e-6,
            "{config:?} at {position}: {found} is not {expected}"
        );
    }
}

#[test]
fn default_and_linear() {
    let plain = config(RopeScaling::Default);
    assert_frequencies(&plain, 5000, &[1.0, 0.1, 0.01, 0.001]);
    let linear = config(RopeScaling::Linear { factor: 4.0 });
    assert_frequencies(&linear, 0, &[0.25, 0.025, 0.0025, 0.00025]);
}

#[test]
fn dynamic_grows_beyond_the_context() {
    let dynamic = config(RopeScaling::DynamicNtk {
        factor: 4.0,
        original_positions: 4096,
    });
    assert_frequencies(&dynamic, 4095, &[1.0, 0.1, 0.01, 0.001]);
    assert_frequencies(&dynamic, 8191, &[1.0, 0.058_480_355, 0.003_419_952, 0.0002]);
}

#[test]
fn yarn_keeps_fast_waves() {
    let yarn = |beta_fast, beta_slow, truncate| {
        config(RopeScaling::Yarn {
            factor: 4.0,
            original_positions: 1024,
            beta_fast,
            beta_slow,
            attention_factor: 1.138_629_4,
            truncate,
        })
    };
    let expected = [
        1.0,
        0.316_227_77,
        0.08125,
        0.019_764_235,
        0.004_375,
        0.000_790_569_4,
        0.00025,
        0.000_079_056_94,
    ];
    assert_frequencies(&yarn(32.0, 1.0, true), 0, &expected);
    let expected = [
        1.0,
        0.316_227_77,
        0.1,
        0.018_701_803,
        0.0025,
        0.000_790_569_4,
        0.00025,
        0.000_079_056_94,
    ];
    assert_frequencies(&yarn(16.0, 2.0, false), 0, &expected);
}

#[test]
fn llama3_keeps_short_waves() {
    let llama3 = config(RopeScaling::Llama3 {
        factor: 8.0,
        low_freq_factor: 1.0,
        high_freq_factor: 4.0,
        original_positions: 64,
    });
    let expected = [
        1.0,
        0.244_384_6,
        0.013_042_256,
        0.003_952_847,
        0.00125,
        0.000_395_284_7,
        0.000_125,
        0.000_039_528_47,
    ];
    assert_frequencies(&llama3, 0, &expected);
}

#[test]
fn longrope_changes_lists_after_the_original_context() {
    let longrope = config(RopeScaling::LongRope {
        short_factor: vec![1.0, 1.25, 1.5, 2.0],
        long_factor: vec![1.0, 2.0, 4.0, 8.0],
        original_positions: 1024,
        attention_factor: 1.095_445_1,
    });
    assert_frequencies(&longrope, 1023, &[1.0, 0.08, 0.006_666_667, 0.0005]);
    assert_frequencies(&longrope, 1024, &[1.0, 0.05, 0.0025, 0.000_125]);
    assert!(longrope.changes_at(1024) && !longrope.changes_at(1023));
}

#[test]
fn a_table_does_not_depend_on_how_it_grew() {
    let dynamic = config(RopeScaling::DynamicNtk {
        factor: 4.0,
        original_positions: 600,
    });
    let table = || RopeTable::new(dynamic.clone(), 8, DType::F32, &Device::Cpu).unwrap();
    let (mut once, mut slowly) = (table(), table());
    for position in [0, 511, 512, 1023, 1500] {
        slowly.rotation(position, 1).unwrap();
    }
    let values = |table: &mut RopeTable| {
        let rotation = table.rotation(590, 20).unwrap();
        rotation
            .cos
            .flatten_all()
            .unwrap()
            .to_vec1::<f32>()
            .unwrap()
    };
    assert_eq!(values(&mut once), values(&mut slowly));
}

#[test]
fn a_head_turns_by_its_position_and_scale() {
    let scaling = RopeScaling::LongRope {
        short_factor: vec![1.0, 1.0],
        long_factor: vec![1.0, 1.0],
        original_positions: 1024,
        attention_factor: 2.0,
    };
    let mut table = RopeTable::new(config(scaling), 4, DType::F32, &Device::Cpu).unwrap();
    let head = Tensor::new(&[[[[1f32, 0.0, 0.0, 1.0]]]], &Device::Cpu).unwrap();
    let turned = table.rotation(3, 1).unwrap().apply(&head).unwrap();
    let turned = turned.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    // Pairs are (0, 2) and (1, 3), at 1 and 0.01 radians per position.
    let expected = [3f32.cos(), -(0.03f32.sin()), 3f32.sin(), 0.03f32.cos()];
    for (turned, expected) in turned.iter().zip(expected) {
        assert!((turned - 2.0 * expected).abs() < 1e-6);
    }
}
