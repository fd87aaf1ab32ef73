//! Stop strings, wherever the pieces of a text are cut.
//!
//! The string that is complete first wins, and of those complete at the same character the longest. So the outcome
//! depends on the text only, not on how it came in pieces.

/// Looks for stop strings in a text that comes piece by piece.
///
/// Text that may be the beginning of a stop string is held back until that is decided.
#[derive(Debug, Clone)]
pub struct StopMatcher {
    patterns: Vec<Pattern>,
    /// The end of the text: as long as the longest beginning of a pattern that it ends with.
    held: String,
}

/// What one piece brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StopScan {
    /// Text that belongs to no stop string.
    pub text: String,
    /// The stop string that was found, by its number; the rest of the text is void.
    pub stopped_by: Option<usize>,
}

/// A stop string cannot be empty: it would stop before the first character.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("stop string {0} is empty: leave it out")]
pub struct EmptyStop(pub usize);

/// A stop string and how much of it the text ends with (Knuth, Morris and Pratt).
#[derive(Debug, Clone)]
struct Pattern {
    bytes: Vec<u8>,
    /// For each `n > 0`, the longest proper beginning of the pattern that its first `n` bytes end with.
    fallback: Vec<usize>,
    matched: usize,
}

impl StopMatcher {
    /// # Errors
    /// [`EmptyStop`].
    pub fn new<S: AsRef<str>>(stops: &[S]) -> Result<Self, EmptyStop> {
        let patterns = stops
            .iter()
            .enumerate()
            .map(|(number, stop)| Pattern::new(stop.as_ref()).ok_or(EmptyStop(number)))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            patterns,
            held: String::new(),
        })
    }

    /// Takes the next piece of the text.
    pub fn push(&mut self, piece: &str) -> StopScan {
        for (index, byte) in piece.bytes().enumerate() {
            if let Some(number) = self.advance(byte) {
                self.held.push_str(&piece[..=index]);
                let text_len = self.held.len() - self.patterns[number].bytes.len();
                self.held.truncate(text_len);
                return StopScan {
                    text: std::mem::take(&mut self.held),
                    stopped_by: Some(number),
                };
            }
        }
        self.held.push_str(piece);
        let undecided = self.patterns.iter().map(|pattern| pattern.matched).max();
        let held = self
            .held
            .split_off(self.held.len() - undecided.unwrap_or(0));
        StopScan {
            text: std::mem::replace(&mut self.held, held),
            stopped_by: None,
        }
    }

    /// The text is over: what was held back is no stop string.
    #[must_use]
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }

    /// The longest pattern that is complete with this byte.
    fn advance(&mut self, byte: u8) -> Option<usize> {
        let mut found: Option<(usize, usize)> = None;
        for (number, pattern) in self.patterns.iter_mut().enumerate() {
            let length = pattern.bytes.len();
            if pattern.advance(byte) && found.is_none_or(|(longest, _)| length > longest) {
                found = Some((length, number));
            }
        }
        found.map(|(_, number)| number)
    }
}

impl Pattern {
    fn new(stop: &str) -> Option<Self> {
        if stop.is_empty() {
            return None;
        }
        let bytes = stop.as_bytes().to_vec();
        let mut fallback = vec![0; bytes.len() + 1];
        let mut matched = 0;
        for index in 1..bytes.len() {
            while matched > 0 && bytes[index] != bytes[matched] {
                matched = fallback[matched];
            }
            if bytes[index] == bytes[matched] {
                matched += 1;
            }
            fallback[index + 1] = matched;
        }
        Some(Self {
            bytes,
            fallback,
            matched: 0,
        })
    }

    /// Whether the pattern is complete with this byte.
    fn advance(&mut self, byte: u8) -> bool {
        while self.matched > 0 && self.bytes.get(self.matched) != Some(&byte) {
            self.matched = self.fallback[self.matched];
        }
        if self.bytes.get(self.matched) == Some(&byte) {
            self.matched += 1;
        }
        self.matched == self.bytes.len()
    }
}

#[cfg(test)]
mod tests;
