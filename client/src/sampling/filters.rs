//! Which tokens remain to draw from.

use super::config::SamplingConfig;

/// A token that may be drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Candidate {
    pub(super) id: u32,
    /// Probability over that of the likeliest token, in (0, 1].
    pub(super) weight: f64,
}

/// The tokens that remain, by id; at least the likeliest one. `logits` must be finite and not empty.
pub(super) fn candidates(logits: &[f32], config: &SamplingConfig) -> Vec<Candidate> {
    let highest = logits.iter().copied().fold(f32::MIN, f32::max);
    let temperature = f64::from(config.temperature);
    let min_p = f64::from(config.min_p);
    let mut candidates: Vec<Candidate> = (0_u32..)
        .zip(logits)
        .map(|(id, logit)| Candidate {
            id,
            weight: ((f64::from(*logit) - f64::from(highest)) / temperature).exp(),
        })
        .filter(|candidate| candidate.weight > 0.0 && candidate.weight >= min_p)
        .collect();
    keep_top_k(&mut candidates, config.top_k);
    keep_top_p(&mut candidates, f64::from(config.top_p));
    candidates
}

/// Keeps the `top_k` heaviest and those as heavy as the last of them; all if it is 0.
fn keep_top_k(candidates: &mut Vec<Candidate>, top_k: usize) {
    if top_k == 0 || top_k >= candidates.len() {
        return;
    }
    let mut weights: Vec<f64> = candidates
        .iter()
        .map(|candidate| candidate.weight)
        .collect();
    let (_, lightest, _) = weights.select_nth_unstable_by(top_k - 1, |a, b| b.total_cmp(a));
    let lightest = *lightest;
    candidates.retain(|candidate| candidate.weight >= lightest);
}

/// Keeps a candidate if those heavier than it have less than `top_p` of the weight; of equal ones the lower id counts
/// as heavier.
fn keep_top_p(candidates: &mut Vec<Candidate>, top_p: f64) {
    if top_p >= 1.0 {
        return;
    }
    let wanted = top_p
        * candidates
            .iter()
            .map(|candidate| candidate.weight)
            .sum::<f64>();
    let mut ranked = candidates.clone();
    let mut size = FIRST_NUCLEUS;
    let kept = loop {
        let size_now = size.min(ranked.len());
        if size_now < ranked.len() {
            ranked.select_nth_unstable_by(size_now - 1, heavier_first);
        }
        ranked[..size_now].sort_unstable_by(heavier_first);
        let mut mass = 0.0;
        let kept = ranked[..size_now].iter().take_while(|candidate| {
            let heavier = mass;
            mass += candidate.weight;
            heavier < wanted
        });
        let kept = kept.count();
        if kept < size_now || size_now == ranked.len() {
            break kept;
        }
        size *= NUCLEUS_GROWTH;
    };
    ranked.truncate(kept.max(1));
    ranked.sort_unstable_by_key(|candidate| candidate.id);
    *candidates = ranked;
}

fn heavier_first(one: &Candidate, other: &Candidate) -> std::cmp::Ordering {
    let by_weight = other.weight.total_cmp(&one.weight);
    by_weight.then(one.id.cmp(&other.id))
}

/// Tokens sorted at first to find the nucleus: most nuclei are smaller, and sorting a vocabulary of 128 000 is slow.
const FIRST_NUCLEUS: usize = 64;

/// How much larger the next try is.
const NUCLEUS_GROWTH: usize = 8;

#[cfg(test)]
mod tests;
