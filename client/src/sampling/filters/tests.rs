use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn kept(logits: &[f32], config: &SamplingConfig) -> Vec<u32> {
    candidates(logits, config)
        .iter()
        .map(|candidate| candidate.id)
        .collect()
}

/// Logits are logarithms of 0.1, 0.4, 0.2, 0.3.
fn four() -> Vec<f32> {
    [0.1_f32, 0.4, 0.2, 0.3].iter().map(|p| p.ln()).collect()
}

fn top_k(top_k: usize) -> SamplingConfig {
    SamplingConfig {
        top_k,
        ..SamplingConfig::default()
    }
}

fn top_p(top_p: f32) -> SamplingConfig {
    SamplingConfig {
        top_p,
        ..SamplingConfig::default()
    }
}

fn min_p(min_p: f32) -> SamplingConfig {
    SamplingConfig {
        min_p,
        ..SamplingConfig::default()
    }
}

#[test]
fn weights_are_probabilities_over_the_highest() {
    let config = SamplingConfig {
        temperature: 2.0,
        ..SamplingConfig::default()
    };
    let weights: Vec<f64> = candidates(&[0.0, 2.0], &config)
        .iter()
        .map(|c| c.weight)
        .collect();
    assert_eq!(weights, [(-1.0_f64).exp(), 1.0]);
}

#[test]
fn top_k_keeps_the_likeliest_and_ties_with_the_last() {
    assert_eq!(kept(&four(), &top_k(0)), [0, 1, 2, 3]);
    assert_eq!(kept(&four(), &top_k(1)), [1]);
    assert_eq!(kept(&four(), &top_k(3)), [1, 2, 3]);
    assert_eq!(kept(&four(), &top_k(99)), [0, 1, 2, 3]);
    assert_eq!(kept(&[1.0, 2.0, 1.0, 0.0], &top_k(2)), [0, 1, 2]);
}

#[test]
fn top_p_keeps_tokens_until_the_sum_is_reached() {
    assert_eq!(kept(&four(), &top_p(1.0)), [0, 1, 2, 3]);
    assert_eq!(kept(&four(), &top_p(0.95)), [0, 1, 2, 3]);
    assert_eq!(kept(&four(), &top_p(0.85)), [1, 2, 3]);
    assert_eq!(kept(&four(), &top_p(0.41)), [1, 3]);
    assert_eq!(kept(&four(), &top_p(0.39)), [1]);
    assert_eq!(kept(&four(), &top_p(f32::MIN_POSITIVE)), [1]);
    // Equal ones: as many as are needed, lower ids first.
    assert_eq!(kept(&[0.0; 4], &top_p(0.5)), [0, 1]);
}

#[test]
fn min_p_keeps_tokens_relative_to_the_likeliest() {
    assert_eq!(kept(&four(), &min_p(0.2)), [0, 1, 2, 3]);
    assert_eq!(kept(&four(), &min_p(0.6)), [1, 3]);
    assert_eq!(kept(&four(), &min_p(1.0)), [1]);
}

#[test]
fn top_p_counts_what_top_k_left() {
    // Of 0.4 and 0.3 the first is 0.57: enough for 0.55 of them, not of all.
    let config = SamplingConfig {
        top_k: 2,
        ..top_p(0.55)
    };
    assert_eq!(kept(&four(), &config), [1]);
    assert_eq!(kept(&four(), &top_p(0.55)), [1, 3]);
}

#[test]
fn tokens_too_unlikely_for_a_number_are_dropped() {
    assert_eq!(
        kept(&[f32::MIN, 0.0, f32::MAX], &SamplingConfig::default()),
        [2]
    );
    let cold = SamplingConfig {
        temperature: 1e-5,
        ..SamplingConfig::default()
    };
    assert_eq!(kept(&[1.0, 0.9], &cold), [0]);
}

/// Tokens that remain, by sorting everything.
fn oracle(logits: &[f32], config: &SamplingConfig) -> Vec<u32> {
    let all = SamplingConfig {
        temperature: config.temperature,
        ..SamplingConfig::default()
    };
    let mut ranked = candidates(logits, &all);
    ranked.sort_by(heavier_first);
    ranked.retain(|candidate| candidate.weight >= f64::from(config.min_p));
    if (1..ranked.len()).contains(&config.top_k) {
        let last = ranked[config.top_k - 1].weight;
        ranked.retain(|candidate| candidate.weight >= last);
    }
    let by_id = |ranked: &[Candidate]| {
        let mut ids: Vec<u32> = ranked.iter().map(|candidate| candidate.id).collect();
        ids.sort_unstable();
        ids
    };
    if config.top_p >= 1.0 {
        return by_id(&ranked);
    }
    let mut in_order = ranked.clone();
    in_order.sort_unstable_by_key(|candidate| candidate.id);
    let total: f64 = in_order.iter().map(|candidate| candidate.weight).sum();
    let mut mass = 0.0;
    let mut count = 0;
    while count < ranked.len() && mass < f64::from(config.top_p) * total {
        mass += ranked[count].weight;
        count += 1;
    }
    by_id(&ranked[..count.max(1)])
}

proptest! {
    #[test]
    fn what_remains_is_what_sorting_everything_leaves(
        logits in vec(-6_i8..6, 1..900),
        temperature in 0.1_f32..3.0,
        top_k in 0_usize..300,
        top_p in 0.001_f32..=1.0,
        min_p in 0.0_f32..0.5,
    ) {
        let logits: Vec<f32> = logits.iter().map(|logit| f32::from(*logit) / 2.0).collect();
        let config = SamplingConfig { temperature, top_k, top_p, min_p, ..SamplingConfig::default() };
        let kept = kept(&logits, &config);
        prop_assert!(!kept.is_empty());
        prop_assert_eq!(kept, oracle(&logits, &config));
    }

    #[test]
    fn one_token_always_remains(logits in vec(any::<f32>().prop_filter("finite", |x| x.is_finite()), 1..50)) {
        for temperature in [1e-5, 1.0, f32::MAX] {
            let config = SamplingConfig { temperature, top_k: 1, top_p: f32::MIN_POSITIVE, min_p: 1.0, ..SamplingConfig::default() };
            prop_assert!(!kept(&logits, &config).is_empty());
        }
    }
}
