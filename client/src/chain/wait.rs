//! Waiting for one server's answer, never for ever: a server that is silent for too long is asked whether it lives.

use std::time::Duration;

use block_network::{Node, PeerId};
use tokio::time::{Instant, sleep_until, timeout};

use super::patience::{PROBE_PERIOD, PROBE_TIME, Patience};
use crate::error::HopError;
use crate::hop::{Answer, Hop, HopReceiver, HopStep, session_ended};
use crate::request::info;

/// What a server says of a stream that broke while we wrote to it comes within this, if at all.
pub(super) const LAST_WORDS: Duration = Duration::from_millis(200);

/// Whom to wait for, since when, and how long.
#[derive(Debug, Clone, Copy)]
pub(super) struct Watch<'a> {
    pub(super) node: &'a Node,
    pub(super) peer: PeerId,
    pub(super) patience: Patience,
    /// When the input left.
    pub(super) since: Instant,
}

/// What came of waiting for a pushed step.
#[derive(Debug)]
pub(super) enum Pushed {
    /// The answer.
    Answer(Answer),
    /// Nothing yet: time for our own copy.
    Late,
}

impl Watch<'_> {
    /// Waits for the next answer. Dropping it loses nothing.
    ///
    /// # Errors
    /// `Timeout` if the server does not live, or is busy for too long; otherwise what ended the stream.
    pub(super) async fn answer(&self, receiver: &mut HopReceiver) -> Result<Answer, HopError> {
        let give_up = self.since + self.patience.hard;
        let mut ask_at = self.since + self.patience.soft;
        loop {
            tokio::select! {
                biased;
                answer = receiver.answer() => return answer?.ok_or_else(session_ended),
                () = sleep_until(ask_at.min(give_up)) => {}
            }
            if Instant::now() >= give_up {
                return Err(HopError::Timeout);
            }
            tokio::select! {
                biased;
                answer = receiver.answer() => return answer?.ok_or_else(session_ended),
                alive = self.lives() => if !alive {
                    tracing::debug!(peer = %self.peer, "silent, and does not answer when asked");
                    return Err(HopError::Timeout);
                },
            }
            ask_at = Instant::now() + self.patience.soft.max(PROBE_PERIOD);
        }
    }

    /// Waits for the answer to a step that another server hands over, until it is time for our own copy.
    ///
    /// # Errors
    /// What ended the stream.
    pub(super) async fn pushed(&self, receiver: &mut HopReceiver) -> Result<Pushed, HopError> {
        tokio::select! {
            biased;
            answer = receiver.answer() => Ok(Pushed::Answer(answer?.ok_or_else(session_ended)?)),
            () = sleep_until(self.since + self.patience.hedge) => Ok(Pushed::Late),
        }
    }

    /// Sends a step and waits for its answer, both at once: a server that takes no bytes is found out, too. `promised`:
    /// another server may have handed it the same step. Dropping it may leave half a message: drop the hop, too.
    ///
    /// # Errors
    /// As [`Watch::answer`].
    pub(super) async fn exchange(
        &self,
        hop: &mut Hop,
        step: HopStep,
        promised: bool,
    ) -> Result<Answer, HopError> {
        let (sender, receiver) = hop.halves();
        let mut sending = std::pin::pin!(sender.send(step));
        tokio::select! {
            biased;
            sent = &mut sending => {
                if let Err(error) = sent {
                    return Err(last_words(receiver, error).await);
                }
            }
            answer = self.answer(receiver) => {
                let answer = answer?;
                if !promised {
                    return Err(HopError::Nonsense("an answer came before its step".to_owned()));
                }
                // The rest of the message is in the way of the next one.
                let sent = timeout(self.patience.soft, sending).await;
                sent.map_err(|_| HopError::Timeout)??;
                return Ok(answer);
            }
        }
        self.answer(receiver).await
    }

    async fn lives(&self) -> bool {
        match info(self.node, self.peer, "", PROBE_TIME).await {
            // A refusal is a sign of life.
            Ok(_) | Err(HopError::Refused(_)) => true,
            Err(
                HopError::Unreachable(_)
                | HopError::Timeout
                | HopError::Broken(_)
                | HopError::Nonsense(_)
                | HopError::Unsendable(_),
            ) => false,
        }
    }
}

/// Why a stream broke that could not be written to: the server's own words, if it sent some.
async fn last_words(receiver: &mut HopReceiver, error: HopError) -> HopError {
    match timeout(LAST_WORDS, receiver.answer()).await {
        Ok(Err(words)) => words,
        Ok(Ok(None)) => session_ended(),
        Ok(Ok(Some(_))) | Err(_) => error,
    }
}
