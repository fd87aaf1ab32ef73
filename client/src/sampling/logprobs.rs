//! Natural logarithms of probabilities.

/// The softmax of some logits, as logarithms.
#[derive(Debug, Clone, Copy)]
pub(super) struct LogSoftmax<'a> {
    logits: &'a [f32],
    /// Logarithm of the sum of all exponentials.
    log_total: f64,
}

impl<'a> LogSoftmax<'a> {
    /// `logits` must be finite and not empty.
    pub(super) fn new(logits: &'a [f32]) -> Self {
        let highest = f64::from(logits.iter().copied().fold(f32::MIN, f32::max));
        let total: f64 = logits
            .iter()
            .map(|logit| (f64::from(*logit) - highest).exp())
            .sum();
        Self {
            logits,
            log_total: highest + total.ln(),
        }
    }

    /// Logarithm of the probability of a token.
    pub(super) fn of(&self, id: u32) -> Option<f32> {
        self.logits.get(id as usize).map(|logit| self.log(*logit))
    }

    /// The `count` likeliest tokens, likeliest first, the lower id first of equal ones.
    pub(super) fn top(&self, count: usize) -> Vec<(u32, f32)> {
        let mut ranked: Vec<(u32, f32)> = (0_u32..).zip(self.logits.iter().copied()).collect();
        let likelier_first = |one: &(u32, f32), other: &(u32, f32)| {
            other.1.total_cmp(&one.1).then(one.0.cmp(&other.0))
        };
        if count < ranked.len() {
            ranked.select_nth_unstable_by(count, likelier_first);
            ranked.truncate(count);
        }
        ranked.sort_unstable_by(likelier_first);
        for (_, value) in &mut ranked {
            *value = self.log(*value);
        }
        ranked
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "reported in single precision"
    )]
    fn log(&self, logit: f32) -> f32 {
        (f64::from(logit) - self.log_total) as f32
    }
}
