//! Token ids → text, one id at a time, never half a character.
//!
//! Decoding id by id is wrong: a character may be spread over several tokens, and what a token says can depend on the
//! one before it (a leading space). So a window of ids is decoded together: some `context` whose text is out already,
//! then the `pending` ones. Text leaves when it no longer ends in U+FFFD, which is what decoders make of a character
//! that is not yet whole. The window then moves on, so a step costs the decoding of a few tokens, however long the text.
//!
//! What has left is never taken back, and together it is the decoding of all ids. Two exceptions: a character that is
//! still not whole at the end is left out; and a byte-fallback decoder (Llama 2), which turns a whole run of bytes into
//! U+FFFD for one that does not fit, may keep more of the run here than it does at once.

use crate::text_codec::{TextCodec, TextError};

/// An incremental detokenizer.
#[derive(Debug, Clone)]
pub struct TextStream {
    codec: TextCodec,
    context: Vec<u32>,
    /// The decoding of `context`, as far as its characters are whole.
    context_text: String,
    pending: Vec<u32>,
}

impl TextStream {
    /// A stream whose text continues that of `before`, for example a prompt.
    ///
    /// # Errors
    /// [`TextError`].
    pub fn after(codec: TextCodec, before: &[u32]) -> Result<Self, TextError> {
        let mut stream = Self {
            codec,
            context: Vec::new(),
            context_text: String::new(),
            pending: Vec::new(),
        };
        let mut tokens = CONTEXT_TOKENS;
        loop {
            let context = &before[before.len().saturating_sub(tokens)..];
            stream.move_past(context.to_vec())?;
            let whole = stream.context_text.trim_end_matches(REPLACEMENT).len();
            let is_all = context.len() == before.len() || tokens >= MAX_PENDING_TOKENS;
            // Without a whole character, what is broken at the beginning cannot be told from what is at the end.
            if whole > 0 || is_all {
                stream.context_text.truncate(whole);
                return Ok(stream);
            }
            tokens *= 2;
        }
    }

    /// Takes the next id and returns the text that is certain now; often empty.
    ///
    /// # Errors
    /// [`TextError`]; the stream is then of no more use.
    pub fn push(&mut self, id: u32) -> Result<String, TextError> {
        self.pending.push(id);
        let new = self.pending_text()?;
        if !new.ends_with(REPLACEMENT) {
            let context = std::mem::take(&mut self.pending);
            self.move_past(context)?;
            return Ok(new);
        }
        if self.pending.len() > MAX_HALF_TOKENS {
            return self.cut(&new);
        }
        Ok(String::new())
    }

    /// The text ends here: what was held back, less a character that never became whole.
    ///
    /// # Errors
    /// [`TextError`].
    pub fn finish(&mut self) -> Result<String, TextError> {
        let text = self.pending_text()?;
        Ok(text.trim_end_matches(REPLACEMENT).to_owned())
    }

    /// Text of the pending ids in their context.
    ///
    /// The context is dropped if its text is no longer there: a byte that fits to nothing took its whole run with it.
    /// While that may be a half character, nothing is certain.
    fn pending_text(&mut self) -> Result<String, TextError> {
        let text = self.decode_with_context(&self.pending)?;
        if let Some(new) = text.strip_prefix(&self.context_text) {
            return Ok(new.to_owned());
        }
        if text.ends_with(REPLACEMENT) && self.pending.len() <= MAX_HALF_TOKENS {
            return Ok(REPLACEMENT.to_string());
        }
        self.context.clear();
        self.context_text.clear();
        self.codec.decode(&self.pending)
    }

    fn decode_with_context(&self, ids: &[u32]) -> Result<String, TextError> {
        let window: Vec<u32> = self.context.iter().chain(ids).copied().collect();
        self.codec.decode(&window)
    }

    /// Lets go of what cannot belong to the half character at the end. `text` is that of all pending ids.
    ///
    /// A place between two tokens is one between two characters if the text is the same decoded in two parts there.
    fn cut(&mut self, text: &str) -> Result<String, TextError> {
        for at in (1..self.pending.len()).rev() {
            let (head, tail) = self.pending.split_at(at);
            let head = self.decode_with_context(head)?;
            let Some(head) = head.strip_prefix(&self.context_text) else {
                continue;
            };
            let tail = self.codec.decode(tail)?;
            // Tokens without text at the end (special ones) would say nothing of the place before them.
            let is_between = !tail.is_empty()
                && text.len() == head.len() + tail.len()
                && text.starts_with(head)
                && text.ends_with(&tail);
            if is_between {
                let head = head.to_owned();
                let tail = self.pending.split_off(at);
                let context = std::mem::replace(&mut self.pending, tail);
                self.move_past(context)?;
                return Ok(head);
            }
        }
        if self.pending.len() < MAX_PENDING_TOKENS {
            return Ok(String::new());
        }
        let context = std::mem::take(&mut self.pending);
        self.move_past(context)?;
        Ok(text.to_owned())
    }

    /// Makes ids the context: all their text is out, whatever it is.
    fn move_past(&mut self, context: Vec<u32>) -> Result<(), TextError> {
        self.context_text = self.codec.decode(&context)?;
        self.context = context;
        Ok(())
    }
}

/// What decoders put in the place of bytes that are no character.
const REPLACEMENT: char = char::REPLACEMENT_CHARACTER;

/// Tokens of a prompt that the first new one is decoded with: enough for a character that was cut, and a word before it.
const CONTEXT_TOKENS: usize = 6;

/// Tokens over which one character can be spread: UTF-8 takes four bytes at most, a token has at least one.
const MAX_HALF_TOKENS: usize = 4;

/// Tokens held back at most, should no place to cut be found: keeps a step's cost bounded.
const MAX_PENDING_TOKENS: usize = 32;

#[cfg(test)]
mod tests;
