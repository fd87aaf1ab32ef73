//! How far probabilities are from those of float32, and from the text.

/// Sums over positions.
#[derive(Debug, Default)]
pub(super) struct Scores {
    positions: usize,
    same_next_token: usize,
    /// Sum of Kullback-Leibler divergences from float32, nats.
    divergence: f64,
    /// Sum of the negative logarithms of the probabilities that the text's own next tokens had, nats.
    surprise: f64,
}

/// Over all positions.
#[derive(Clone, Copy, Debug)]
pub(super) struct Summary {
    /// Share of positions with the same most likely token as in float32.
    pub(super) agreement: f64,
    /// Mean divergence from float32, nats.
    pub(super) divergence: f64,
    /// Of the text.
    pub(super) perplexity: f64,
}

impl Scores {
    /// Adds one position: the scores in float32 and those compared, both `[vocab]`, and the text's next token.
    pub(super) fn add(&mut self, expected: &[f32], found: &[f32], next: u32) {
        let (p, q) = (log_probabilities(expected), log_probabilities(found));
        self.positions += 1;
        self.same_next_token += usize::from(largest(expected) == largest(found));
        self.divergence += p
            .iter()
            .zip(&q)
            .map(|(p, q)| p.exp() * (p - q))
            .sum::<f64>();
        self.surprise -= q[next as usize];
    }

    /// `None` without a position.
    pub(super) fn summary(&self) -> Option<Summary> {
        let positions = self.positions as f64;
        (self.positions > 0).then(|| Summary {
            agreement: self.same_next_token as f64 / positions,
            divergence: self.divergence / positions,
            perplexity: (self.surprise / positions).exp(),
        })
    }
}

/// The most likely token; the lowest id among equals.
fn largest(scores: &[f32]) -> usize {
    let mut best = 0;
    for (id, score) in scores.iter().enumerate() {
        if *score > scores[best] {
            best = id;
        }
    }
    best
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
