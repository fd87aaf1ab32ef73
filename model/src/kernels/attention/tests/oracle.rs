//! Attention as in the textbook, in double precision.

use half::bf16;

use super::setting::Setting;
use crate::kernels::attention::KvFormat;

/// `[tokens, heads * head_dim]`; operands are rounded to bf16 first where the format does so.
pub(super) fn attention(setting: &Setting) -> Vec<f64> {
    let shape = &setting.shape;
    let layout = &shape.layout;
    let head_dim = layout.head_dim;
    let number = |value: &f32| match layout.format {
        KvFormat::F32 => f64::from(*value),
        KvFormat::Bf16 | KvFormat::Int8 => bf16::from_f32(*value).to_f64(),
    };
    let mut out = Vec::new();
    for token in 0..setting.tokens {
        for head in 0..shape.heads {
            let kv_head = head / (shape.heads / layout.kv_heads);
            let query = setting.queries().part(token, head * head_dim, head_dim);
            let first = shape
                .window
                .map_or(0, |window| (token + 1).saturating_sub(window));
            let scores: Vec<f64> = (first..=token)
                .map(|position| {
                    let key = setting.keys().part(position, kv_head * head_dim, head_dim);
                    let product: f64 = query
                        .iter()
                        .zip(key)
                        .map(|(q, k)| number(q) * number(k))
                        .sum();
                    let mut score = product * f64::from(shape.scale);
                    if let Some(cap) = shape.soft_cap {
                        score = f64::from(cap) * (score / f64::from(cap)).tanh();
                    }
                    let slope = shape
                        .alibi
                        .as_ref()
                        .map_or(0.0, |slopes| f64::from(slopes[head]));
                    score + slope * (position as f64 - token as f64)
                })
                .collect();
            let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let powers: Vec<f64> = scores.iter().map(|score| (score - largest).exp()).collect();
            let sum: f64 = powers.iter().sum();
            for element in 0..head_dim {
                let value = |position| {
                    number(
                        &setting
                            .values()
                            .part(position, kv_head * head_dim, head_dim)[element],
                    )
                };
                let weighted: f64 = powers
                    .iter()
                    .zip(first..)
                    .map(|(power, position)| power * value(position))
                    .sum();
                out.push(weighted / sum);
            }
        }
    }
    out
}

/// The largest difference as a share of the largest value.
pub(super) fn largest_error(got: &[f32], expected: &[f64]) -> f64 {
    assert_eq!(got.len(), expected.len());
    let largest = expected
        .iter()
        .fold(0.0, |largest: f64, value| largest.max(value.abs()));
    got.iter()
        .zip(expected)
        .fold(0.0, |worst: f64, (got, expected)| {
            let error = (f64::from(*got) - expected).abs() / largest;
            if error.is_nan() {
                f64::INFINITY
            } else {
                worst.max(error)
            }
        })
}
