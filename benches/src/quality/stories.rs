//! What the model says in float32, and with which scores.

use anyhow::Result;

use super::reader::Reader;
use super::scores::Scores;

/// Told side by side.
pub(super) const STORIES: usize = 6;

/// Within the model's 512 positions; 2,400 positions in all.
pub(super) const STORY_TOKENS: usize = 400;

/// `<s>Once upon a time`, `<s>One day, Tom and his dog` and the like, in the model's own tokens.
const OPENINGS: [&[u32]; STORIES] = [
    &[0, 514, 486, 260, 423],
    &[0, 456, 368, 13, 537, 269, 328],
    &[0, 435, 743, 346, 962, 2928],
    &[0, 514, 486, 260, 423, 13, 409, 291, 260],
    &[0, 456, 368, 13],
    &[0, 435, 743],
];

/// Texts that the model wrote.
pub(super) struct Stories {
    /// `[tokens + 1]`.
    ids: Vec<[u32; STORIES]>,
    /// Scores in float32 after every token but the last: `[tokens]`, each `[stories, vocab]`.
    logits: Vec<Vec<f32>>,
    vocab: usize,
}

impl Stories {
    /// Tells every story token by token, each drawn with the model's own probabilities.
    pub(super) fn tell(reader: &mut Reader) -> Result<Self> {
        let vocab = reader.head.vocab();
        let mut reading = reader.begin()?;
        let mut dice = Dice(0x5eed);
        let mut said = OPENINGS.map(|opening| opening[0]);
        let (mut ids, mut logits) = (vec![said], Vec::new());
        for token in 1..=STORY_TOKENS {
            let scores = reading.step(&said)?;
            for ((id, opening), scores) in said.iter_mut().zip(OPENINGS).zip(scores.chunks(vocab)) {
                let given = opening.get(token).copied();
                *id = given.unwrap_or_else(|| dice.draw(scores));
            }
            ids.push(said);
            logits.push(scores);
        }
        Ok(Self { ids, logits, vocab })
    }

    /// Has `reader` read the same texts, and compares what it would have said after every token.
    pub(super) fn scores(&self, reader: &mut Reader) -> Result<Scores> {
        let mut scores = Scores::default();
        let mut reading = reader.begin()?;
        for ((ids, next), expected) in self.ids.iter().zip(&self.ids[1..]).zip(&self.logits) {
            let found = reading.step(ids)?;
            let pairs = expected.chunks(self.vocab).zip(found.chunks(self.vocab));
            for ((expected, found), next) in pairs.zip(next) {
                scores.add(expected, found, *next);
            }
        }
        Ok(scores)
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
        let chosen = scores.iter().zip(0..).find(|(score, _)| {
            left -= weight(score);
            left <= 0.0
        });
        chosen.map_or(0, |(_, id)| id)
    }
}
