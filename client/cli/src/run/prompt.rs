//! The prompt: words or ids, from the command line or from standard input.

use std::io::Read;

use block_client::{ChatMessage, LocalModel};
use block_program::{Exit, Failure};

use crate::cli::RunFlags;
use crate::wording::{self, Wording};

/// What the model is asked to continue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Question {
    /// Words; the tokenizer adds the special tokens that the model expects.
    Text(String),
    /// Words for the model's chat template, if it has one, after those of the system.
    Message {
        /// What the model is told before; it must have a template then.
        system: Option<String>,
        /// What it is asked.
        text: String,
    },
    /// Ids as they are.
    Ids(Vec<u32>),
}

/// Reads the prompt.
///
/// # Errors
/// There is none (exit 2); standard input is no text, or too long (65), or cannot be read (71).
pub(crate) fn read(flags: &RunFlags) -> Result<Question, Failure> {
    if let Some(ids) = &flags.prompt_ids {
        return Ok(Question::Ids(ids.clone()));
    }
    let text = match &flags.prompt {
        Some(text) => text.clone(),
        None => from_pipe(std::io::stdin().lock())?,
    };
    if flags.raw {
        return Ok(Question::Text(text));
    }
    let system = flags.system.clone();
    Ok(Question::Message { system, text })
}

fn from_pipe(pipe: impl Read) -> Result<String, Failure> {
    let mut bytes = Vec::new();
    pipe.take(MAX_PROMPT_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| {
            Failure::new(Exit::OsError, "cannot read the prompt from standard input")
                .caused_by(&error)
        })?;
    if bytes.len() as u64 > MAX_PROMPT_BYTES {
        return Err(
            Failure::new(Exit::BadData, "the prompt is too long").cause(format!(
                "standard input has more than {MAX_PROMPT_BYTES} bytes"
            )),
        );
    }
    let mut text = String::from_utf8(bytes).map_err(|error| {
        Failure::new(
            Exit::BadData,
            "the prompt on standard input is no UTF-8 text",
        )
        .caused_by(&error)
    })?;
    // `echo` ends a line that nobody meant to end.
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    if text.is_empty() {
        return Err(Failure::usage("no prompt given")
            .cause("standard input is empty")
            .hint("swarm run MODEL \"Once upon a time\" --initial-peers ADDR"));
    }
    Ok(text)
}

impl Question {
    /// Its tokens.
    ///
    /// # Errors
    /// The model has no such token (exit 2), or its tokenizer fails (65).
    pub(crate) fn ids(self, model: &LocalModel) -> Result<Vec<u32>, Failure> {
        let ids = match self {
            Self::Ids(ids) => ids,
            Self::Text(text) => encoded(model, &text)?,
            Self::Message { system, text } => match Wording::of(model, false)? {
                Wording::Template => {
                    let system = system.map(|text| ChatMessage::new("system", text));
                    let user = ChatMessage::new("user", text);
                    let messages: Vec<_> = system.into_iter().chain([user]).collect();
                    wording::rendered(model, &messages)?
                }
                Wording::Plain if system.is_some() => {
                    return Err(Failure::usage("there is no place for --system")
                        .cause("the model has no chat template")
                        .hint("write it into the prompt"));
                }
                Wording::Plain => encoded(model, &text)?,
            },
        };
        let vocab = model.config.vocab;
        if let Some(id) = ids.iter().find(|id| **id as usize >= vocab) {
            return Err(
                Failure::usage(format!("--prompt-ids: the model has no token {id}"))
                    .cause(format!("its vocabulary has {vocab} tokens, from 0")),
            );
        }
        if ids.is_empty() {
            return Err(Failure::usage("the prompt has no tokens"));
        }
        Ok(ids)
    }
}

fn encoded(model: &LocalModel, text: &str) -> Result<Vec<u32>, Failure> {
    model.tokenizer.encode(text).map_err(|error| {
        Failure::new(Exit::BadData, "the prompt cannot be turned into tokens").caused_by(&error)
    })
}

/// Longest prompt read from a pipe: far above any context length.
const MAX_PROMPT_BYTES: u64 = 16 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_break_at_the_end_is_taken_off() {
        for (piped, prompt) in [("a\n", "a"), ("a\r\n", "a"), ("a\n\n", "a\n"), ("a", "a")] {
            assert_eq!(from_pipe(piped.as_bytes()).unwrap(), prompt);
        }
    }

    #[test]
    fn what_is_no_prompt_is_refused() {
        assert_eq!(from_pipe(&b"\n"[..]).unwrap_err().exit(), Exit::Usage);
        assert_eq!(from_pipe(&b"\xff"[..]).unwrap_err().exit(), Exit::BadData);
        let endless = std::io::repeat(b'a');
        assert_eq!(from_pipe(endless).unwrap_err().exit(), Exit::BadData);
    }
}
