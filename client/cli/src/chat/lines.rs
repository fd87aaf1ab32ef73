//! What a person types, or what a pipe brings, line by line.
//!
//! The reader is a thread of its own, owned by nobody: it ends with the program, or when [`Lines`] is dropped and the
//! line that it waits for has come. Inbox: one request at a time.

use std::io::{BufRead, IsTerminal, Read};
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use block_program::{Exit, Failure};
use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{Config, Editor};
use tokio::sync::oneshot;

use super::command;

/// The source of lines.
#[derive(Debug)]
pub(super) struct Lines {
    requests: SyncSender<Request>,
    /// Whether a person sits there.
    pub(super) is_terminal: bool,
}

/// What has come.
#[derive(Debug)]
pub(super) enum Typed {
    /// A line without its end, or several of a block.
    Text(String),
    /// Ctrl-C at the prompt.
    Interrupted,
    /// Ctrl-D, or the end of the pipe.
    End,
}

type Answer = Result<Typed, Failure>;
type Request = oneshot::Sender<Answer>;

impl Lines {
    /// Reads from standard input; with a `history` if that is a terminal.
    ///
    /// # Errors
    /// The terminal cannot be used (exit 71).
    pub(super) fn of_stdin(history: Option<&Path>) -> Result<Self, Failure> {
        let is_terminal = std::io::stdin().is_terminal();
        let (requests, inbox) = sync_channel(1);
        if is_terminal {
            let mut typist = Typist::new(history)?;
            spawn(inbox, move || typist.read())?;
        } else {
            spawn(inbox, || from_pipe(&mut std::io::stdin().lock()))?;
        }
        Ok(Self {
            requests,
            is_terminal,
        })
    }

    /// The next text. Not cancel-safe: a line that comes after the future was dropped is lost.
    ///
    /// # Errors
    /// Standard input cannot be read (exit 71), or is no text (65).
    pub(super) async fn next(&self) -> Answer {
        let (reply, answer) = oneshot::channel();
        if self.requests.send(reply).is_err() {
            return Ok(Typed::End);
        }
        answer.await.unwrap_or(Ok(Typed::End))
    }
}

fn spawn(
    inbox: Receiver<Request>,
    mut read: impl FnMut() -> Answer + Send + 'static,
) -> Result<(), Failure> {
    let thread = std::thread::Builder::new().name("lines".to_owned());
    let spawned = thread.spawn(move || {
        while let Ok(reply) = inbox.recv() {
            // Nobody waits any more: the program ends.
            if reply.send(read()).is_err() {
                return;
            }
        }
    });
    match spawned {
        Ok(_) => Ok(()),
        Err(error) => {
            Err(Failure::new(Exit::OsError, "no thread for standard input").caused_by(&error))
        }
    }
}

/// A person at a terminal.
struct Typist {
    editor: Editor<(), FileHistory>,
    history: Option<std::path::PathBuf>,
}

impl Typist {
    fn new(history: Option<&Path>) -> Result<Self, Failure> {
        let config = Config::builder()
            .max_history_size(MAX_HISTORY_LINES)
            .and_then(|config| config.history_ignore_dups(true))
            .map(|config| config.auto_add_history(true).build());
        let mut editor = config
            .and_then(Editor::with_config)
            .map_err(|error| terminal_failure(&error))?;
        if let Some(history) = history {
            editor.load_history(history).map_err(|error| {
                Failure::new(Exit::OsError, format!("cannot read {}", history.display()))
                    .caused_by(&error)
                    .hint("--no-history")
            })?;
        }
        Ok(Self {
            editor,
            history: history.map(Path::to_owned),
        })
    }

    fn read(&mut self) -> Answer {
        let mut typed = String::new();
        loop {
            let prompt = if typed.is_empty() { PROMPT } else { MORE };
            match self.editor.readline(prompt) {
                Ok(line) => typed.push_str(&line),
                Err(ReadlineError::Signal(_)) => continue,
                Err(ReadlineError::Interrupted) => return Ok(Typed::Interrupted),
                Err(ReadlineError::Eof) => return Ok(Typed::End),
                Err(error) => return Err(terminal_failure(&error)),
            }
            if !command::is_open(&typed) {
                break;
            }
            typed.push('\n');
        }
        if let Some(history) = &self.history
            && let Err(error) = self.editor.append_history(history)
        {
            tracing::warn!(%error, "the history cannot be written");
        }
        Ok(Typed::Text(typed))
    }
}

/// Reads a line, or the lines of a block.
fn from_pipe(pipe: &mut impl BufRead) -> Answer {
    let mut typed = String::new();
    loop {
        let left = MAX_TEXT_BYTES.saturating_sub(typed.len() as u64);
        let count = pipe.take(left).read_line(&mut typed).map_err(|error| {
            let exit = match error.kind() {
                std::io::ErrorKind::InvalidData => Exit::BadData,
                _ => Exit::OsError,
            };
            Failure::new(exit, "cannot read standard input").caused_by(&error)
        })?;
        let is_whole = typed.ends_with('\n');
        if count > 0 && !is_whole && typed.len() as u64 >= MAX_TEXT_BYTES {
            return Err(
                Failure::new(Exit::BadData, "a line of standard input is too long")
                    .cause(format!("it has more than {MAX_TEXT_BYTES} bytes")),
            );
        }
        if is_whole && command::is_open(&typed) {
            continue;
        }
        if typed.is_empty() {
            return Ok(Typed::End);
        }
        let line = typed.strip_suffix('\n').unwrap_or(&typed);
        let line = line.strip_suffix('\r').unwrap_or(line);
        return Ok(Typed::Text(line.to_owned()));
    }
}

fn terminal_failure(error: &ReadlineError) -> Failure {
    Failure::new(Exit::OsError, "the terminal cannot be used")
        .caused_by(error)
        .hint("text can also be piped in")
}

/// What a person sees before a line.
const PROMPT: &str = ">>> ";
/// Before the next line of a block.
const MORE: &str = "... ";
/// Lines that the history keeps.
const MAX_HISTORY_LINES: usize = 1000;
/// Longest text read from a pipe: far above any context length.
const MAX_TEXT_BYTES: u64 = 16 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(pipe: &str) -> Vec<String> {
        let mut pipe = pipe.as_bytes();
        let mut texts = Vec::new();
        loop {
            match from_pipe(&mut pipe).unwrap() {
                Typed::Text(text) => texts.push(text),
                Typed::End => return texts,
                Typed::Interrupted => panic!("a pipe has no Ctrl-C"),
            }
        }
    }

    #[test]
    fn a_pipe_brings_lines_and_blocks() {
        assert_eq!(texts("a\r\n\nb"), ["a", "", "b"]);
        assert_eq!(
            texts("\"\"\"a\nb\n\"\"\"\nc\n"),
            ["\"\"\"a\nb\n\"\"\"", "c"]
        );
        assert_eq!(texts("\"\"\"a\nb"), ["\"\"\"a\nb"]);
    }

    #[test]
    fn what_is_no_text_is_refused() {
        let wrong = from_pipe(&mut &b"\xff\n"[..]).unwrap_err();
        assert_eq!(wrong.exit(), Exit::BadData);
        let endless = std::io::repeat(b'a');
        let long = from_pipe(&mut std::io::BufReader::new(endless)).unwrap_err();
        assert_eq!(long.exit(), Exit::BadData);
    }
}
