//! A conversation, and the session that holds its tokens.
//!
//! One session serves all turns: a turn sends what comes after the tokens that the session shares with the conversation
//! as it is put to the model now. Where a template words earlier turns otherwise than before, the session is rolled back
//! to there. A session that is lost is replaced by the next turn, which then sends everything.

use std::time::{Duration, Instant};

use block_client::{
    ChainStats, ChatMessage, Finished, GenerateConfig, MessageContent, Session, SessionError,
};
use block_program::{Exit, Failure};

use super::interrupts::{Asked, Interrupts};
use super::settings::Settings;
use crate::cli::WayFlags;
use crate::ending::Ending;
use crate::model_session::Ready;
use crate::output;
use crate::progress::Waiting;
use crate::session_failure::session_failure;
use crate::wording::{self, Wording};

/// A conversation.
#[derive(Debug)]
pub(super) struct Conversation {
    ready: Ready,
    way: WayFlags,
    wording: Wording,
    /// Tokens that a session may hold.
    max_length: usize,
    messages: Vec<ChatMessage>,
    /// All tokens so far.
    ids: Vec<u32>,
    session: Option<Session>,
}

/// What an answer was.
#[derive(Debug)]
pub(super) struct Turn {
    pub(super) finished: Finished,
    pub(super) stats: ChainStats,
    /// From the question to the first token, opening of the session included.
    pub(super) first_after: Option<Duration>,
    /// Tokens that were new to the servers.
    pub(super) sent: usize,
    /// What else happened to it.
    pub(super) ended: Result<(), Ending>,
}

impl Conversation {
    /// One with nothing in it; `max_length` tokens fit.
    pub(super) fn new(ready: Ready, way: WayFlags, wording: Wording, max_length: usize) -> Self {
        Self {
            ready,
            way,
            wording,
            max_length,
            messages: Vec::new(),
            ids: Vec::new(),
            session: None,
        }
    }

    pub(super) fn ready(&self) -> &Ready {
        &self.ready
    }

    pub(super) fn wording(&self) -> Wording {
        self.wording
    }

    pub(super) fn max_length(&self) -> usize {
        self.max_length
    }

    /// Tokens so far.
    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }

    /// What the open session has done; `None` without one.
    pub(super) fn stats(&self) -> Option<ChainStats> {
        self.session.as_ref().map(Session::stats)
    }

    /// The system message.
    pub(super) fn system(&self) -> Option<&str> {
        match self.messages.first()? {
            ChatMessage {
                role,
                content: Some(MessageContent::Text(text)),
                ..
            } if role == SYSTEM => Some(text),
            _ => None,
        }
    }

    /// Replaces the system message; an empty text takes it away.
    ///
    /// # Errors
    /// The model's text goes on without messages (exit 2).
    pub(super) fn set_system(&mut self, text: &str) -> Result<(), Failure> {
        if self.wording == Wording::Plain {
            return Err(Failure::usage("there is no place for a system message")
                .cause("the model has no chat template, or --raw was given"));
        }
        if self.system().is_some() {
            self.messages.remove(0);
        }
        if !text.is_empty() {
            self.messages.insert(0, ChatMessage::new(SYSTEM, text));
        }
        Ok(())
    }

    /// Forgets all but the system message, and ends the session.
    pub(super) async fn clear(&mut self) {
        self.messages.retain(|message| message.role == SYSTEM);
        self.ids.clear();
        self.close().await;
    }

    /// Ends the session.
    pub(super) async fn close(&mut self) {
        if let Some(session) = self.session.take() {
            session.close().await;
        }
    }

    /// Answers `text`, and prints the answer while it comes. Ctrl-C ends the answer, not the conversation; `None` if
    /// it came before there was anything to end.
    ///
    /// # Errors
    /// Nothing was answered; the conversation is as before.
    pub(super) async fn answer(
        &mut self,
        text: &str,
        settings: &Settings,
        interrupts: &mut Interrupts,
    ) -> Result<Option<Turn>, Ending> {
        self.messages.push(ChatMessage::new("user", text));
        let turn = self.take_turn(text, settings, interrupts).await;
        match &turn {
            Ok(Some(turn)) if !turn.finished.ids.is_empty() => {
                let answer = ChatMessage::new("assistant", turn.finished.text.clone());
                self.messages.push(answer);
            }
            _ => {
                self.messages.pop();
            }
        }
        turn
    }

    async fn take_turn(
        &mut self,
        text: &str,
        settings: &Settings,
        interrupts: &mut Interrupts,
    ) -> Result<Option<Turn>, Ending> {
        let wanted = self.wanted(text)?;
        let room = self.max_length.saturating_sub(wanted.len());
        if room == 0 {
            return Err(full(wanted.len(), self.max_length).into());
        }
        let asked_at = Instant::now();
        let mut session = match self.session.take() {
            Some(session) => session,
            None => {
                let _waiting = Waiting::new("looking for a route");
                tokio::select! {
                    opened = self.ready.open(&self.way, self.max_length) => opened?,
                    asked = interrupts.next() => return match asked {
                        Asked::ToStop => Ok(None),
                        Asked::ToLeave => Err(Ending::Interrupted),
                    },
                }
            }
        };
        let map = &self.ready.map;
        let shared = shared(session.ids(), &wanted);
        session
            .roll_back(shared)
            .map_err(|error| session_failure(&error, map))?;
        let config = GenerateConfig {
            sampling: settings.sampling(self.ready.local.generation_defaults()),
            stop: settings.stop.clone(),
            ignore_eos: settings.ignore_eos,
            ..GenerateConfig::new(settings.max_tokens.min(room))
        };
        let told = tell(
            &mut session,
            &wanted[shared..],
            config,
            interrupts,
            asked_at,
        )
        .await;
        let Told {
            finished,
            first_after,
            error,
            ended,
        } = match told {
            Ok(told) => told,
            Err(error) => {
                let failure = session_failure(&error, map);
                self.session = Some(session);
                return Err(failure.into());
            }
        };
        if !finished.ids.is_empty() {
            self.ids = session.ids().to_vec();
        }
        let stats = session.stats();
        let ended = match &error {
            Some(error) => Err(session_failure(error, map).into()),
            None => ended,
        };
        if error.is_none_or(|error| error.leaves_session_usable()) {
            self.session = Some(session);
        }
        Ok(Some(Turn {
            sent: wanted.len() - shared,
            finished,
            stats,
            first_after,
            ended,
        }))
    }

    /// All tokens that the model is to continue.
    fn wanted(&self, text: &str) -> Result<Vec<u32>, Failure> {
        let model = &self.ready.local;
        if self.wording == Wording::Template {
            return wording::rendered(model, &self.messages);
        }
        let more = if self.ids.is_empty() {
            model.tokenizer.encode(text)
        } else {
            model.tokenizer.encode_continuation(text)
        };
        let more = more.map_err(|error| {
            Failure::new(Exit::BadData, "the text cannot be turned into tokens").caused_by(&error)
        })?;
        Ok([&self.ids[..], &more].concat())
    }
}

/// An answer as far as it was told.
struct Told {
    finished: Finished,
    first_after: Option<Duration>,
    error: Option<SessionError>,
    ended: Result<(), Ending>,
}

async fn tell(
    session: &mut Session,
    prompt: &[u32],
    config: GenerateConfig,
    interrupts: &mut Interrupts,
    asked_at: Instant,
) -> Result<Told, SessionError> {
    let mut generation = session.generate(prompt, config)?;
    let mut first_after = None;
    let mut error = None;
    let mut ended = loop {
        let token = tokio::select! {
            token = generation.next() => token,
            asked = interrupts.next() => break match asked {
                Asked::ToStop => Ok(()),
                Asked::ToLeave => Err(Ending::Interrupted),
            },
        };
        match token {
            None => break Ok(()),
            Some(Err(failed)) => {
                error = Some(failed);
                break Ok(());
            }
            Some(Ok(token)) => {
                first_after.get_or_insert_with(|| asked_at.elapsed());
                if let Err(ending) = output::text(&token.text) {
                    break Err(ending);
                }
            }
        }
    };
    let finished = generation.finish();
    if ended.is_ok() && !finished.ids.is_empty() {
        ended = output::text("\n");
    }
    Ok(Told {
        finished,
        first_after,
        error,
        ended,
    })
}

/// How many tokens at the beginning are the same.
fn shared(left: &[u32], right: &[u32]) -> usize {
    left.iter()
        .zip(right)
        .take_while(|(left, right)| left == right)
        .count()
}

fn full(length: usize, max_length: usize) -> Failure {
    Failure::usage("the conversation is full")
        .cause(format!(
            "it has {length} tokens with this text, and {max_length} fit"
        ))
        .hint("/clear forgets it; --max-length asks servers for more")
}

const SYSTEM: &str = "system";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_two_wordings_share_is_their_beginning() {
        assert_eq!(shared(&[1, 2, 3], &[1, 2, 4, 5]), 2);
        assert_eq!(shared(&[1, 2], &[1, 2, 3]), 2);
        assert_eq!(shared(&[], &[1]), 0);
        assert_eq!(shared(&[2], &[1]), 0);
    }
}
