//! Logits changed by what was said before.

use std::collections::{HashMap, HashSet};

use super::config::SamplingConfig;

/// Tokens of the prompt and of the answer so far, counted only if a penalty asks for them.
#[derive(Debug, Clone)]
pub(super) struct Penalties {
    repetition: f32,
    frequency: f32,
    presence: f32,
    prompt: HashSet<u32>,
    answer: HashMap<u32, u32>,
}

impl Penalties {
    pub(super) fn new(config: &SamplingConfig, prompt: &[u32]) -> Self {
        let mut penalties = Self {
            repetition: config.repetition_penalty,
            frequency: config.frequency_penalty,
            presence: config.presence_penalty,
            prompt: HashSet::new(),
            answer: HashMap::new(),
        };
        if penalties.repeats() {
            penalties.prompt.extend(prompt);
        }
        penalties
    }

    /// Counts a token of the answer.
    pub(super) fn record(&mut self, id: u32) {
        if self.repeats() || self.frequency != 0.0 || self.presence != 0.0 {
            *self.answer.entry(id).or_default() += 1;
        }
    }

    /// Changes logits of tokens seen; ids outside are ignored.
    ///
    /// Repetition (prompt and answer): positive logits are divided by it, others multiplied. Then frequency times the
    /// token's count and presence are taken off (answer only).
    pub(super) fn apply(&self, logits: &mut [f32]) {
        let only_in_prompt = |id: &&u32| !self.answer.contains_key(id);
        for id in self.prompt.iter().filter(only_in_prompt) {
            if let Some(logit) = logits.get_mut(*id as usize) {
                *logit = self.repeated(*logit);
            }
        }
        for (id, count) in &self.answer {
            if let Some(logit) = logits.get_mut(*id as usize) {
                let repeated = self.repeated(*logit);
                // A count is exact in f32 up to 16 million tokens.
                let penalty = self.frequency * (*count as f32) + self.presence;
                *logit = (repeated - penalty).clamp(f32::MIN, f32::MAX);
            }
        }
    }

    fn repeats(&self) -> bool {
        self.repetition != 1.0
    }

    fn repeated(&self, logit: f32) -> f32 {
        let repeated = if logit > 0.0 {
            logit / self.repetition
        } else {
            logit * self.repetition
        };
        repeated.clamp(f32::MIN, f32::MAX)
    }
}

#[cfg(test)]
mod tests;
