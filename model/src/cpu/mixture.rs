//! Experts: each token goes through those that the router scores highest, and adds what they give by their weights.
//!
//! A token's experts are taken in the order of their numbers, so its sum does not depend on who else is in the batch.

use super::block::{Machine, Operand, Workspace, resize};
use super::weights::{GatedWeights, Norm, Projection};
use crate::kernels::disjoint::{Disjoint, for_each_row};
use crate::kernels::product::product;
use crate::kernels::sinks::{Add, Store, round_to};

/// Who goes where.
#[derive(Debug, Default)]
pub(super) struct Choices {
    /// Weights of all experts for each row, those not chosen zero: `[rows, experts]`.
    weights: Vec<f32>,
    experts: usize,
    /// Of the expert at hand: its rows, the rows' weights, and their rows in the stream.
    rows: Vec<usize>,
    row_weights: Vec<f32>,
    stream_rows: Vec<usize>,
}

impl Choices {
    /// Finds the rows of an expert; says whether there are any.
    fn select(&mut self, expert: usize, stream_rows: &[usize]) -> bool {
        self.rows.clear();
        self.row_weights.clear();
        self.stream_rows.clear();
        for (row, weights) in self.weights.chunks_exact(self.experts).enumerate() {
            // Not `> 0`: a router that gives no numbers must be seen in the output.
            if weights[expert] != 0.0 {
                self.rows.push(row);
                self.row_weights.push(weights[expert]);
                self.stream_rows.push(stream_rows[row]);
            }
        }
        !self.rows.is_empty()
    }
}

impl Machine {
    /// Norms the stream and weighs the experts for each row.
    pub(super) fn choose(
        &self,
        norm: &Norm,
        router: &Projection,
        chosen: usize,
        is_renormalized: bool,
        work: &mut Workspace,
    ) {
        let (hidden, rows) = (self.hidden, work.rows());
        resize(&mut work.normed, rows * hidden);
        let (stream, stream_rows) = (&work.stream, &work.active.stream_rows);
        for_each_row(&self.pool, &mut work.normed, hidden, &|row, normed| {
            let from = stream_rows[row] * hidden;
            let row = &stream[from..from + hidden];
            norm.apply(self.level, row, self.norm_eps, normed);
        });
        self.take_rows(
            router,
            (&work.normed, hidden),
            rows,
            &|row| row,
            &mut work.activations,
        );
        let choices = &mut work.choices;
        choices.experts = router.weights.outputs();
        resize(&mut choices.weights, rows * choices.experts);
        let store = Store {
            out: Disjoint::new(&mut choices.weights),
            width: choices.experts,
            bias: &router.bias,
        };
        product(
            self.level,
            &self.pool,
            &router.weights,
            &work.activations,
            &store,
        );
        for scores in choices.weights.chunks_exact_mut(choices.experts) {
            keep_highest(scores, chosen, is_renormalized);
        }
    }

    /// Adds the experts' weighted outputs to the stream.
    pub(super) fn mix(&self, experts: &[GatedWeights], work: &mut Workspace) {
        let hidden = self.hidden;
        for (number, expert) in experts.iter().enumerate() {
            if !work.choices.select(number, &work.active.stream_rows) {
                continue;
            }
            let chosen = &work.choices.rows;
            let rows = chosen.len();
            self.take_rows(
                &expert.gate_up,
                (&work.normed, hidden),
                rows,
                &|row| chosen[row],
                &mut work.activations,
            );
            self.gate(expert, rows, work);
            self.take_operand(&expert.down, Operand::Gated, rows, work);
            let add = Add {
                level: self.level,
                stream: Disjoint::new(&mut work.stream),
                width: hidden,
                bias: &expert.down.bias,
                stream_rows: &work.choices.stream_rows,
                row_weights: Some(&work.choices.row_weights),
                rounding: None,
            };
            let packed = &expert.down.weights;
            product(self.level, &self.pool, packed, &work.activations, &add);
        }
        for row in &work.active.stream_rows {
            round_to(
                self.level,
                self.residual,
                &mut work.stream[row * hidden..(row + 1) * hidden],
            );
        }
    }
}

/// Softmax over a row's scores, of which only the highest are kept; of equal ones the first.
fn keep_highest(scores: &mut [f32], chosen: usize, is_renormalized: bool) {
    let highest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0;
    for score in scores.iter_mut() {
        *score = (*score - highest).exp();
        sum += *score;
    }
    let mut kept = 0.0;
    // The last that is kept, by size and then by place.
    let mut bound: Option<(f32, usize)> = None;
    for _ in 0..chosen {
        let below = |value: f32, place: usize| match bound {
            None => true,
            Some((last, at)) => value < last || (value == last && place > at),
        };
        let candidates = scores.iter().copied().enumerate();
        let candidates = candidates.filter(|(place, value)| below(*value, *place));
        let next = candidates.fold(
            None,
            |best: Option<(f32, usize)>, (place, value)| match best {
                Some((most, _)) if value <= most => best,
                _ => Some((value, place)),
            },
        );
        let Some((value, place)) = next else { break };
        bound = Some((value, place));
        kept += value;
    }
    let total = if is_renormalized { kept } else { sum };
    for (place, score) in scores.iter_mut().enumerate() {
        let is_kept = match bound {
            Some((last, at)) => *score > last || (*score == last && place <= at),
            None => false,
        };
        // A score that is not a number stays one.
        *score = if is_kept || score.is_nan() {
            *score / total
        } else {
            0.0
        };
    }
}

#[cfg(test)]
mod tests {
    use super::keep_highest;

    fn kept(scores: &[f32], chosen: usize, is_renormalized: bool) -> Vec<f32> {
        let mut scores = scores.to_vec();
        keep_highest(&mut scores, chosen, is_renormalized);
        scores
    }

    #[test]
    fn the_highest_share_the_weight() {
        let ln = f32::ln;
        let scores = [ln(1.0), ln(4.0), ln(3.0), ln(2.0)];
        for (found, expected) in kept(&scores, 2, false).iter().zip([0.0, 0.4, 0.3, 0.0]) {
            assert!((found - expected).abs() < 1e-6);
        }
        for (found, expected) in kept(&scores, 2, true)
            .iter()
            .zip([0.0, 4.0 / 7.0, 3.0 / 7.0, 0.0])
        {
            assert!((found - expected).abs() < 1e-6);
        }
    }

    #[test]
    fn of_equal_scores_the_first_are_kept() {
        assert_eq!(kept(&[1.0; 4], 2, true), [0.5, 0.5, 0.0, 0.0]);
        assert_eq!(kept(&[0.0, 1.0, 1.0], 1, true), [0.0, 1.0, 0.0]);
    }

    #[test]
    fn all_may_be_kept() {
        assert_eq!(kept(&[0.0, 0.0], 2, false), [0.5, 0.5]);
    }

    #[test]
    fn what_is_not_a_number_is_seen() {
        assert!(
            kept(&[1.0, f32::NAN, 0.0], 2, true)
                .iter()
                .any(|weight| weight.is_nan())
        );
    }
}
