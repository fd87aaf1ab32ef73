//! How far other probabilities are from those of float32.

use std::fmt::{self, Display, Formatter};

/// Sums over positions.
#[derive(Debug, Default)]
pub(crate) struct Distance {
    positions: usize,
    same_next_token: usize,
    /// Kullback-Leibler divergence from float32, nats, of each position.
    divergences: Vec<f64>,
}

/// What is allowed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bound {
    /// Share of positions with the same most likely token.
    pub(crate) min_agreement: f64,
    /// Mean divergence, nats per token.
    pub(crate) max_kl: f64,
}

/// Fewer would say little.
const MIN_POSITIONS: usize = 2000;

impl Distance {
    /// Adds one position: the scores in float32 and those compared, both `[vocab]`.
    pub(crate) fn add(&mut self, expected: &[f32], found: &[f32]) {
        assert_eq!(expected.len(), found.len());
        self.positions += 1;
        self.same_next_token += usize::from(largest(expected) == largest(found));
        let (p, q) = (log_probabilities(expected), log_probabilities(found));
        let divergence = p.iter().zip(&q).map(|(p, q)| p.exp() * (p - q)).sum();
        self.divergences.push(divergence);
    }

    pub(crate) fn is_within(&self, bound: &Bound) -> bool {
        assert!(
            self.positions >= MIN_POSITIONS,
            "{} positions",
            self.positions
        );
        self.agreement() >= bound.min_agreement && self.mean_kl() <= bound.max_kl
    }

    fn agreement(&self) -> f64 {
        self.same_next_token as f64 / self.positions as f64
    }

    fn mean_kl(&self) -> f64 {
        self.divergences.iter().sum::<f64>() / self.positions as f64
    }

    /// The divergence that 99 of 100 positions do not pass.
    fn p99_kl(&self) -> f64 {
        let mut sorted = self.divergences.clone();
        sorted.sort_by(f64::total_cmp);
        sorted[sorted.len() * 99 / 100]
    }
}

impl Display for Distance {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "next token agrees at {:.2} % of {} positions, KL mean {:.6} p99 {:.6} nats",
            self.agreement() * 100.0,
            self.positions,
            self.mean_kl(),
            self.p99_kl()
        )
    }
}

/// The most likely token; the lowest id among equals.
fn largest(scores: &[f32]) -> usize {
    let start = (0, f32::NEG_INFINITY);
    let best =
        scores.iter().enumerate().fold(
            start,
            |best, (id, score)| {
                if *score > best.1 { (id, *score) } else { best }
            },
        );
    best.0
}

fn log_probabilities(scores: &[f32]) -> Vec<f64> {
    let largest = f64::from(scores.iter().copied().fold(f32::MIN, f32::max));
    let sum: f64 = scores
        .iter()
        .map(|score| (f64::from(*score) - largest).exp())
        .sum();
    let log_sum = largest + sum.ln();
    scores
        .iter()
        .map(|score| f64::from(*score) - log_sum)
        .collect()
}
