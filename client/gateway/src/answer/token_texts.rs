//! What each token says, for those who ask for logarithms of probabilities.

use block_client::{FinishReason, Finished, SessionError, TextCodec, TextError, Token};

/// A token with the logarithm of its probability.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TokenLogprob {
    /// What it says where it stands.
    pub(crate) text: String,
    /// `None` for the first token of a prompt, which nothing comes before.
    pub(crate) logprob: Option<f32>,
    /// The likeliest tokens in its place.
    pub(crate) top: Vec<(String, f32)>,
    /// Where its text begins, in characters from the choice's beginning.
    pub(crate) offset: usize,
}

/// Texts of tokens by the one before: decoders drop a blank before the first.
#[derive(Debug, Clone)]
pub(crate) struct TokenTexts {
    codec: TextCodec,
}

/// Logarithms of tokens whose text is not certain yet.
#[derive(Debug)]
pub(crate) struct Held {
    texts: Option<TokenTexts>,
    before: Option<u32>,
    tokens: Vec<TokenLogprob>,
    /// Where the next token's text begins.
    offset: usize,
    /// Characters that are out.
    out: usize,
}

impl TokenTexts {
    pub(crate) fn new(codec: TextCodec) -> Self {
        Self { codec }
    }

    /// What `id` says behind `before`; a part of a character says U+FFFD.
    ///
    /// # Errors
    /// [`TextError`].
    pub(crate) fn text(&self, before: Option<u32>, id: u32) -> Result<String, TextError> {
        if let Some(before) = before {
            let context = self.codec.decode(&[before])?;
            let both = self.codec.decode(&[before, id])?;
            if let Some(text) = both.strip_prefix(&context) {
                return Ok(text.to_owned());
            }
        }
        self.codec.decode(&[id])
    }

    /// A token with its logarithms, `offset` characters from the beginning.
    ///
    /// # Errors
    /// [`TextError`].
    pub(crate) fn token(
        &self,
        (before, id): (Option<u32>, u32),
        logprob: Option<f32>,
        top: &[(u32, f32)],
        offset: usize,
    ) -> Result<TokenLogprob, TextError> {
        let top = top
            .iter()
            .map(|(id, logprob)| Ok((self.text(before, *id)?, *logprob)));
        Ok(TokenLogprob {
            text: self.text(before, id)?,
            logprob,
            top: top.collect::<Result<_, TextError>>()?,
            offset,
        })
    }
}

impl Held {
    /// `texts`: `None` if nobody asks. `before`: the last token of the prompt.
    pub(crate) fn new(texts: Option<TokenTexts>, before: Option<u32>) -> Self {
        Self {
            texts,
            before,
            tokens: Vec::new(),
            offset: 0,
            out: 0,
        }
    }

    /// The same behind the tokens of a prompt.
    pub(crate) fn after_echo(self, tokens: Vec<TokenLogprob>) -> Self {
        let offset = tokens.last().map_or(0, end);
        Self {
            tokens,
            offset,
            ..self
        }
    }

    /// Takes the next token.
    ///
    /// # Errors
    /// The tokenizer cannot say what it means.
    pub(crate) fn push(&mut self, token: &Token) -> Result<(), SessionError> {
        let Some(texts) = &self.texts else {
            return Ok(());
        };
        let places = (self.before, token.id);
        let token_logprob = texts.token(places, token.logprob, &token.top_logprobs, self.offset)?;
        self.offset = end(&token_logprob);
        self.before = Some(token.id);
        self.tokens.push(token_logprob);
        Ok(())
    }

    /// The answer is over: one of the tokens `eos` that ended it says nothing, and a stop string is not part of it. JSON
    /// of a schema may end with a token that says something.
    pub(crate) fn finish(&mut self, finished: &Finished, eos: &[u32]) {
        let is_silent = finished.ids.last().is_some_and(|id| eos.contains(id));
        match (finished.reason, &finished.stop) {
            (FinishReason::Stop, Some(_)) => self.tokens.clear(),
            (FinishReason::Stop, None) if is_silent => drop(self.tokens.pop()),
            (FinishReason::Stop, None) => {}
            (FinishReason::Length | FinishReason::Cancelled | FinishReason::Error, _) => {}
        }
    }

    /// Those that begin within the text that is out, once `text` is.
    pub(crate) fn take_with(&mut self, text: &str) -> Vec<TokenLogprob> {
        self.out += text.chars().count();
        let within = self.tokens.partition_point(|token| token.offset < self.out);
        let rest = self.tokens.split_off(within);
        let taken = std::mem::replace(&mut self.tokens, rest);
        if self.tokens.is_empty() {
            // Parts of one character counted for more than it.
            self.offset = self.out;
        }
        taken
    }

    /// All of them.
    pub(crate) fn take_rest(&mut self) -> Vec<TokenLogprob> {
        std::mem::take(&mut self.tokens)
    }
}

fn end(token: &TokenLogprob) -> usize {
    token.offset + token.text.chars().count()
}
