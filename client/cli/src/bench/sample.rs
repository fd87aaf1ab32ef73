//! One answer as its reader saw it. Pure but for the clock.

use std::time::{Duration, Instant};

/// What one request took.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Sample {
    /// From the request to the first text; `None` if there was none.
    pub(super) first: Option<Duration>,
    /// Between one piece of text and the next.
    pub(super) gaps: Vec<Duration>,
    pub(super) took: Duration,
    /// As counted by who answers; `None` if it does not say.
    pub(super) prompt_tokens: Option<u64>,
    pub(super) tokens: u64,
}

/// A sample under way.
#[derive(Debug)]
pub(super) struct Clock {
    asked_at: Instant,
    last_at: Option<Instant>,
    sample: Sample,
}

impl Clock {
    /// The request goes out now.
    pub(super) fn start() -> Self {
        Self {
            asked_at: Instant::now(),
            last_at: None,
            sample: Sample::default(),
        }
    }

    /// A piece of text has come, a token unless told otherwise later.
    pub(super) fn piece(&mut self) {
        let now = Instant::now();
        match self.last_at.replace(now) {
            Some(last) => self.sample.gaps.push(now - last),
            None => self.sample.first = Some(now - self.asked_at),
        }
        self.sample.tokens += 1;
    }

    /// Who answers has counted.
    pub(super) fn counted(&mut self, prompt_tokens: u64, tokens: u64) {
        self.sample.prompt_tokens = Some(prompt_tokens);
        self.sample.tokens = tokens;
    }

    /// The answer is over.
    pub(super) fn end(mut self) -> Sample {
        self.sample.took = self.asked_at.elapsed();
        self.sample
    }
}
