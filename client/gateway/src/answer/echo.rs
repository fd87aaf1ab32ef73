//! What the model makes of a prompt: the probability of each of its tokens.

use block_client::{Session, SessionError};

use super::token_texts::{TokenLogprob, TokenTexts};

/// Runs a prompt, and tells each token's logarithm and the `top` likeliest in its place. The session holds the prompt
/// then.
///
/// # Errors
/// [`SessionError`].
pub(super) async fn logprobs(
    session: &mut Session,
    prompt: &[u32],
    top: usize,
) -> Result<Vec<TokenLogprob>, SessionError> {
    let texts = TokenTexts::new(session.model().tokenizer.clone());
    let vocab = session.model().head.vocab();
    let mut tokens: Vec<TokenLogprob> = Vec::with_capacity(prompt.len());
    let mut before: Option<(u32, Vec<f32>)> = None;
    for part in prompt.chunks(TOKENS_AT_ONCE) {
        let logits = session.feed_all(part).await?;
        for (id, row) in part.iter().zip(logits.chunks_exact(vocab)) {
            let offset = tokens
                .last()
                .map_or(0, |last| last.offset + last.text.chars().count());
            let scores = before.as_ref().map(|(_, logits)| LogSoftmax::new(logits));
            let likeliest = scores
                .as_ref()
                .map_or_else(Vec::new, |scores| scores.top(top));
            let logprob = scores.and_then(|scores| scores.of(*id));
            let place = (before.as_ref().map(|(id, _)| *id), *id);
            tokens.push(texts.token(place, logprob, &likeliest, offset)?);
            before = Some((*id, row.to_vec()));
        }
    }
    Ok(tokens)
}

/// The softmax of some logits, as logarithms.
struct LogSoftmax<'a> {
    logits: &'a [f32],
    log_total: f32,
}

impl<'a> LogSoftmax<'a> {
    fn new(logits: &'a [f32]) -> Self {
        let highest = logits.iter().copied().fold(f32::MIN, f32::max);
        let total: f64 = logits
            .iter()
            .map(|logit| f64::from(logit - highest).exp())
            .sum();
        #[expect(clippy::cast_possible_truncation, reason = "told in single precision")]
        let log_total = total.ln() as f32;
        Self {
            logits,
            log_total: highest + log_total,
        }
    }

    fn of(&self, id: u32) -> Option<f32> {
        let logit = self.logits.get(id as usize)?;
        Some(logit - self.log_total)
    }

    fn top(&self, count: usize) -> Vec<(u32, f32)> {
        let mut ranked: Vec<(u32, f32)> = (0_u32..).zip(self.logits.iter().copied()).collect();
        ranked.sort_unstable_by(|one, other| other.1.total_cmp(&one.1).then(one.0.cmp(&other.0)));
        ranked.truncate(count);
        for (_, value) in &mut ranked {
            *value -= self.log_total;
        }
        ranked
    }
}

/// Tokens whose logits are held at once: 32 MB for the largest vocabularies.
const TOKENS_AT_ONCE: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_add_up_and_the_likeliest_come_first() {
        let logits = [1.0, 3.0, 2.0, 3.0];
        let scores = LogSoftmax::new(&logits);
        let total: f32 = (0..4).filter_map(|id| scores.of(id)).map(f32::exp).sum();
        assert!((total - 1.0).abs() < 1e-6, "{total}");
        let top = scores.top(3);
        let ids: Vec<u32> = top.iter().map(|(id, _)| *id).collect();
        assert_eq!(ids, [1, 3, 2]);
        assert_eq!(Some(top[0].1), scores.of(1));
        assert_eq!(scores.of(4), None);
    }
}
