//! One answer's way through a grammar.

use std::fmt;
use std::sync::Arc;

use llguidance::api::StopReason;
use llguidance::toktrie::SimpleVob;
use llguidance::{CancellationHandle, Matcher};
use tokio::task::{JoinHandle, spawn_blocking};

use super::{Constraint, ConstraintError, first_line};
use crate::local_model::LocalModel;

/// Says which tokens may come next. That is found out on a thread of its own, as a rule while servers work as well.
pub(crate) struct Follower {
    state: State,
    /// Ends the work that is under way.
    cancel: Option<CancellationHandle>,
}

enum State {
    /// The tokens that may come next are being found.
    Busy(JoinHandle<Result<Step, ConstraintError>>),
    Ready(Box<Step>),
    /// Nothing may follow, or the way was lost by an error.
    Over,
}

struct Step {
    matcher: Matcher,
    /// Tokens that may come next.
    mask: SimpleVob,
}

impl Follower {
    /// Begins to prepare the grammar. Must be called in a runtime.
    pub(crate) fn start(constraint: Constraint, model: Arc<LocalModel>) -> Self {
        let prepare = move || next_step(model.vocabulary()?.matcher(&constraint)?);
        Self {
            state: State::Busy(spawn_blocking(prepare)),
            cancel: None,
        }
    }

    /// The tokens that may come next. Cancel-safe.
    ///
    /// # Errors
    /// [`ConstraintError`]; the follower is of no more use then.
    pub(crate) async fn mask(&mut self) -> Result<&SimpleVob, ConstraintError> {
        if let State::Busy(work) = &mut self.state {
            let done = work.await;
            self.state = State::Over;
            let step = done.map_err(|error| ConstraintError::Unusable(error.to_string()))??;
            self.cancel = step.matcher.cancellation_handle();
            self.state = State::Ready(Box::new(step));
        }
        match &self.state {
            State::Ready(step) => Ok(&step.mask),
            State::Busy(_) | State::Over => Err(is_over()),
        }
    }

    /// Goes on with a token of the mask. Returns whether the answer is over: nothing may follow, or it was an end.
    ///
    /// # Errors
    /// [`ConstraintError`]; the follower is of no more use then.
    pub(crate) fn take(&mut self, id: u32) -> Result<bool, ConstraintError> {
        let State::Ready(step) = std::mem::replace(&mut self.state, State::Over) else {
            return Err(is_over());
        };
        let mut matcher = step.matcher;
        let taken = matcher.consume_token(id);
        taken.map_err(|error| ConstraintError::Unusable(first_line(&error)))?;
        if matcher.is_stopped() {
            return Ok(true);
        }
        self.state = State::Busy(spawn_blocking(move || next_step(matcher)));
        Ok(false)
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        if let Some(cancel) = &self.cancel {
            cancel.cancel();
        }
    }
}

impl fmt::Debug for Follower {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Follower")
    }
}

fn next_step(mut matcher: Matcher) -> Result<Step, ConstraintError> {
    match matcher.compute_mask() {
        Ok(mask) => Ok(Step { matcher, mask }),
        Err(error) => match first_line(&error) {
            reason if reason == StopReason::NoExtensionBias.to_string() => Err(is_over()),
            reason => Err(ConstraintError::Unusable(reason)),
        },
    }
}

fn is_over() -> ConstraintError {
    ConstraintError::Unusable("nothing may follow what was answered so far".to_owned())
}
