//! What the model says in float32, and with which probabilities.

use block_protocol::Compression;

use crate::chain::{Chain, Model, Pace};
use crate::distance::Distance;

/// Told side by side.
pub(crate) const STORIES: usize = 6;

/// Within the model's 512 positions; 2,400 positions in all.
pub(crate) const STORY_TOKENS: usize = 400;

/// `<s>Once upon a time`, `<s>One day, Tom and his dog` and the like, in the model's own tokens.
const OPENINGS: [&[u32]; STORIES] = [
    &[0, 514, 486, 260, 423],
    &[0, 456, 368, 13, 537, 269, 328],
    &[0, 435, 743, 346, 962, 2928],
    &[0, 514, 486, 260, 423, 13, 409, 291, 260],
    &[0, 456, 368, 13],
    &[0, 435, 743],
];

/// Texts that the model wrote, with its float32 logits after every token.
pub(crate) struct Stories {
    /// `[tokens][stories]`.
    ids: Vec<[u32; STORIES]>,
    /// `[tokens]`, each `[stories, vocab]`.
    logits: Vec<Vec<f32>>,
    vocab: usize,
}

impl Stories {
    /// Tells every story, token by token, each drawn with the model's own probabilities.
    pub(crate) fn tell(model: &mut Model) -> Self {
        let vocab = model.head.vocab();
        let mut chain = Chain::open(model, 1, Compression::None);
        let mut dice = Dice(0x5eed);
        let mut ids = vec![OPENINGS.map(|opening| opening[0])];
        let mut logits: Vec<Vec<f32>> = Vec::new();
        for token in 0..STORY_TOKENS {
            let said = chain.step(&ids[token]);
            let mut next = [0; STORIES];
            for (story, id) in next.iter_mut().enumerate() {
                let scores = &said[story * vocab..(story + 1) * vocab];
                let opening = OPENINGS[story].get(token + 1);
                *id = opening.copied().unwrap_or_else(|| dice.draw(scores));
            }
            logits.push(said);
            ids.push(next);
        }
        Self { ids, logits, vocab }
    }

    /// Has `chain` read the same texts, and compares what it would have said after every token.
    pub(crate) fn distance(&self, chain: &mut Chain<'_>, pace: Pace) -> Distance {
        let mut distance = Distance::default();
        let tokens = self.logits.len();
        let step = match pace {
            Pace::Token => 1,
            Pace::Prompt => tokens,
        };
        for first in (0..tokens).step_by(step) {
            let of_story = |story: usize| {
                self.ids[first..first + step]
                    .iter()
                    .map(move |ids| ids[story])
            };
            let ids: Vec<u32> = (0..STORIES).flat_map(of_story).collect();
            let said = chain.step(&ids);
            for (row, scores) in said.chunks_exact(self.vocab).enumerate() {
                let (story, token) = (row / step, first + row % step);
                let expected = &self.logits[token][story * self.vocab..(story + 1) * self.vocab];
                distance.add(expected, scores);
            }
        }
        distance
    }
}

/// A multiplicative generator (Lehmer's, as in MINSTD): the same stories in every run.
struct Dice(u64);

impl Dice {
    /// An id with the probability that its score gives it.
    fn draw(&mut self, scores: &[f32]) -> u32 {
        const MODULUS: u64 = (1 << 31) - 1;
        self.0 = self.0 * 48_271 % MODULUS;
        let largest = scores.iter().copied().fold(f32::MIN, f32::max);
        let weight = |score: &f32| f64::from(score - largest).exp();
        let mut left = self.0 as f64 / MODULUS as f64 * scores.iter().map(weight).sum::<f64>();
        let chosen = scores.iter().position(|score| {
            left -= weight(score);
            left <= 0.0
        });
        u32::try_from(chosen.unwrap_or(0)).unwrap()
    }
}
