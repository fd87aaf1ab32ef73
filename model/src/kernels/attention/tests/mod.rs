//! The kernels against a plain oracle, and what must hold to the last bit.

mod exactness;
mod oracle;
mod setting;

use std::sync::Arc;

use proptest::prelude::*;

use super::KvFormat;
use crate::kernels::level::Level;
use setting::Setting;

const FORMATS: [KvFormat; 3] = [KvFormat::F32, KvFormat::Bf16, KvFormat::Int8];

/// Largest error as a share of the largest value: rounding of single precision, of probabilities to bf16, and of
/// keys and values to 8 bits.
fn tolerance(format: KvFormat) -> f64 {
    match format {
        KvFormat::F32 => 5e-6,
        KvFormat::Bf16 => 4e-3,
        KvFormat::Int8 => 4e-2,
    }
}

fn check_all_levels(setting: &Setting, cuts: &[usize]) {
    let expected = setting.oracle();
    for level in Level::available() {
        let got = setting.run(level, cuts);
        let worst = oracle::largest_error(&got, &expected);
        assert!(
            worst < tolerance(setting.shape.layout.format),
            "{level} {:?}, {} tokens: {worst}",
            setting.shape,
            setting.tokens
        );
    }
}

#[test]
fn every_head_size_group_and_format_agrees_with_the_oracle() {
    for format in FORMATS {
        for (heads, kv_heads, head_dim) in [
            (4, 1, 4),
            (2, 2, 6),
            (3, 1, 16),
            (6, 2, 32),
            (8, 8, 64),
            (8, 1, 64),
            (5, 1, 80),
            (14, 2, 96),
            (8, 2, 128),
            (2, 1, 256),
        ] {
            let setting = Setting::new(format, heads, kv_heads, head_dim, 70);
            check_all_levels(&setting, &[70]);
        }
    }
}

#[test]
fn contexts_around_page_borders_agree_with_the_oracle() {
    for format in FORMATS {
        for tokens in [
            1, 2, 15, 16, 17, 31, 33, 63, 64, 65, 127, 128, 129, 200, 321,
        ] {
            let setting = Setting::new(format, 4, 2, 16, tokens);
            check_all_levels(&setting, &[tokens]);
        }
    }
}

#[test]
fn windows_caps_and_slopes_agree_with_the_oracle() {
    for format in FORMATS {
        for window in [1, 2, 63, 64, 65, 100, 1000] {
            let mut setting = Setting::new(format, 4, 2, 16, 210);
            setting.shape.window = Some(window);
            check_all_levels(&setting, &[210]);
        }
        let mut setting = Setting::new(format, 4, 2, 16, 140);
        setting.shape.soft_cap = Some(3.0);
        check_all_levels(&setting, &[140]);
        setting.shape.alibi = Some(Arc::from([0.5, 0.25, 0.125, 0.01]));
        check_all_levels(&setting, &[140]);
        setting.shape.soft_cap = None;
        check_all_levels(&setting, &[140]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_setting_agrees_with_the_oracle(
        format in prop::sample::select(FORMATS.to_vec()),
        kv_heads in 1usize..4,
        group in 1usize..10,
        half_dim in 2usize..40,
        cuts in prop::collection::vec(1usize..90, 1..4),
        window in prop::option::of(1usize..150),
        scale in 0.01f32..2.0,
    ) {
        let mut setting = Setting::new(format, kv_heads * group, kv_heads, 2 * half_dim, cuts.iter().sum());
        setting.shape.window = window;
        // Steeper scores show errors of scores in the output.
        setting.shape.scale *= if format == KvFormat::F32 { scale } else { scale.min(1.0) };
        check_all_levels(&setting, &cuts);
    }
}
