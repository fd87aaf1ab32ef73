//! One inference session as a state machine: position, step identities, lengths and deadlines. Pure.
//!
//! A step that is admitted moves the position at once: it either succeeds or ends the session, so no later step
//! can see a position that was not reached.
//!
//! Matches petals 22afba6, `server/handler.py` and `server/block_functions.py`: a repeated `step_id` is dropped without an
//! answer, `start_from_position` sets the length before the step, zero tokens are a legal step.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::request_error::RequestError;

/// Step identities remembered per session: more than any two servers can be apart, and below 1 MiB.
const MAX_REMEMBERED_STEPS: usize = 4096;

/// Longest step identity, in bytes; the reference sends UUID text of 36.
const MAX_STEP_ID_BYTES: usize = 128;

/// What was agreed when the session was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionTerms {
    /// Sequences processed side by side; fixed by the first step.
    pub batch: usize,
    /// Tokens per sequence that the session may ever hold.
    pub max_length: usize,
    /// Most `batch x seq` tokens in one step.
    pub max_step_tokens: usize,
    /// Longest pause between two steps.
    pub step_timeout: Duration,
    /// Longest life of the session.
    pub session_timeout: Duration,
}

/// The parts of a step that decide what is done with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepHead<'a> {
    /// The step's one identity, whoever delivered it.
    pub step_id: Option<&'a str>,
    /// Sequences in this step.
    pub batch: usize,
    /// New tokens per sequence; zero is legal.
    pub seq: usize,
    /// Length to roll the cache back to before the step.
    pub start_from_position: Option<usize>,
}

/// What to do with a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Compute it with its first new token at this position.
    Run {
        /// Tokens in the cache when the step starts.
        position: usize,
    },
    /// It was seen before: drop it, no answer.
    Duplicate,
}

/// Why a session's time is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    /// No step came for too long; the stream is closed without a word.
    Idle,
    /// The session is too old; the caller is told.
    TooOld,
}

/// One session's state.
#[derive(Debug)]
pub struct Session {
    terms: SessionTerms,
    position: usize,
    seen: SeenSteps,
    opened_at: Instant,
    last_step_at: Instant,
    tokens: u64,
}

impl Session {
    /// A session of which no token has been processed.
    #[must_use]
    pub fn new(terms: SessionTerms, now: Instant) -> Self {
        Self {
            terms,
            position: 0,
            seen: SeenSteps::default(),
            opened_at: now,
            last_step_at: now,
            tokens: 0,
        }
    }

    /// Judges a step and, if it is to run, takes it into account.
    ///
    /// # Errors
    /// `Invalid` for another batch, an overlong step id or a rollback to the future; `TooLong` past `max_length` or
    /// past the tokens of one step. The session's state is unchanged then.
    pub fn on_step(&mut self, step: StepHead<'_>, now: Instant) -> Result<Verdict, RequestError> {
        if self.has_seen(step.step_id) {
            return Ok(Verdict::Duplicate);
        }
        let position = self.position_for(step)?;
        if let Some(id) = step.step_id {
            self.seen.insert(id);
        }
        self.position = position + step.seq;
        self.tokens += (step.batch * step.seq) as u64;
        self.last_step_at = now;
        Ok(Verdict::Run { position })
    }

    /// Whether a step of that identity was taken before; one without identity never was.
    #[must_use]
    pub fn has_seen(&self, step_id: Option<&str>) -> bool {
        step_id.is_some_and(|id| self.seen.contains(id))
    }

    fn position_for(&self, step: StepHead<'_>) -> Result<usize, RequestError> {
        let SessionTerms {
            batch,
            max_length,
            max_step_tokens,
            ..
        } = self.terms;
        if step.step_id.is_some_and(|id| id.len() > MAX_STEP_ID_BYTES) {
            return Err(RequestError::Invalid(format!(
                "step_id is longer than {MAX_STEP_ID_BYTES} bytes"
            )));
        }
        if step.batch != batch {
            return Err(RequestError::Invalid(format!(
                "this session was opened for a batch of {batch}, a step with {} came",
                step.batch
            )));
        }
        let position = match step.start_from_position {
            Some(start) if start > self.position => {
                return Err(RequestError::Invalid(format!(
                    "start_from_position is {start}, but only {} tokens are in the cache",
                    self.position
                )));
            }
            Some(start) => start,
            None => self.position,
        };
        if step.seq > max_length - position {
            return Err(RequestError::TooLong(format!(
                "{position} tokens are in the cache and {} new ones came, but the session was opened with \
                 max_length {max_length}",
                step.seq
            )));
        }
        let tokens = step.batch.saturating_mul(step.seq);
        if tokens > max_step_tokens {
            return Err(RequestError::TooLong(format!(
                "a step of {tokens} tokens (batch x length) came, this server takes {max_step_tokens} at once"
            )));
        }
        Ok(position)
    }

    /// Starts the idle clock anew: an answer has just been sent.
    pub fn on_answered(&mut self, now: Instant) {
        self.last_step_at = now;
    }

    /// Tokens in the cache.
    #[must_use]
    pub fn position(&self) -> usize {
        self.position
    }

    /// Tokens processed over the session's life, `batch x seq` summed.
    #[must_use]
    pub fn tokens(&self) -> u64 {
        self.tokens
    }

    /// When `expiry` changes its answer if no further step comes.
    #[must_use]
    pub fn next_deadline(&self) -> Instant {
        (self.last_step_at + self.terms.step_timeout)
            .min(self.opened_at + self.terms.session_timeout)
    }

    /// When the session ends whatever happens.
    #[must_use]
    pub fn end_of_life(&self) -> Instant {
        self.opened_at + self.terms.session_timeout
    }

    /// Whether the session's time is over, and why.
    #[must_use]
    pub fn expiry(&self, now: Instant) -> Option<Expiry> {
        if now >= self.end_of_life() {
            Some(Expiry::TooOld)
        } else if now >= self.last_step_at + self.terms.step_timeout {
            Some(Expiry::Idle)
        } else {
            None
        }
    }
}

/// The latest step identities, oldest forgotten first.
#[derive(Debug, Default)]
struct SeenSteps {
    order: VecDeque<Arc<str>>,
    ids: HashSet<Arc<str>>,
}

impl SeenSteps {
    fn contains(&self, id: &str) -> bool {
        self.ids.contains(id)
    }

    fn insert(&mut self, id: &str) {
        if self.order.len() == MAX_REMEMBERED_STEPS
            && let Some(oldest) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
        }
        let id: Arc<str> = id.into();
        self.order.push_back(Arc::clone(&id));
        self.ids.insert(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms() -> SessionTerms {
        SessionTerms {
            batch: 2,
            max_length: 10,
            max_step_tokens: 12,
            step_timeout: Duration::from_secs(300),
            session_timeout: Duration::from_secs(1800),
        }
    }

    fn step(step_id: &str, seq: usize) -> StepHead<'_> {
        StepHead {
            step_id: Some(step_id),
            batch: 2,
            seq,
            start_from_position: None,
        }
    }

    #[test]
    fn position_grows_and_a_repeated_step_is_dropped() {
        let now = Instant::now();
        let mut session = Session::new(terms(), now);
        assert_eq!(
            session.on_step(step("a", 3), now),
            Ok(Verdict::Run { position: 0 })
        );
        assert_eq!(session.on_step(step("a", 3), now), Ok(Verdict::Duplicate));
        assert_eq!(
            session.on_step(step("b", 0), now),
            Ok(Verdict::Run { position: 3 })
        );
        assert_eq!(
            session.on_step(step("c", 1), now),
            Ok(Verdict::Run { position: 3 })
        );
        let nameless = StepHead {
            step_id: None,
            ..step("", 1)
        };
        assert_eq!(
            session.on_step(nameless, now),
            Ok(Verdict::Run { position: 4 })
        );
        assert_eq!(
            session.on_step(nameless, now),
            Ok(Verdict::Run { position: 5 })
        );
        assert_eq!(session.tokens(), 2 * 6);
    }

    #[test]
    fn rollback_goes_back_only() {
        let now = Instant::now();
        let mut session = Session::new(terms(), now);
        session.on_step(step("a", 5), now).unwrap();
        let back = StepHead {
            start_from_position: Some(2),
            ..step("b", 4)
        };
        assert_eq!(session.on_step(back, now), Ok(Verdict::Run { position: 2 }));
        assert_eq!(session.position(), 6);
        let ahead = StepHead {
            start_from_position: Some(7),
            ..step("c", 1)
        };
        assert!(matches!(
            session.on_step(ahead, now),
            Err(RequestError::Invalid(_))
        ));
        assert_eq!(session.position(), 6);
    }

    #[test]
    fn lengths_are_held_and_a_refused_step_leaves_no_trace() {
        let now = Instant::now();
        let mut session = Session::new(terms(), now);
        assert!(matches!(
            session.on_step(step("a", 7), now),
            Err(RequestError::TooLong(_))
        ));
        assert!(matches!(
            session.on_step(step("a", usize::MAX), now),
            Err(RequestError::TooLong(_))
        ));
        session.on_step(step("a", 6), now).unwrap();
        assert!(matches!(
            session.on_step(step("b", 5), now),
            Err(RequestError::TooLong(_))
        ));
        session.on_step(step("b", 4), now).unwrap();
        assert_eq!(session.position(), 10);
        let wide = StepHead {
            batch: 3,
            ..step("c", 0)
        };
        assert!(matches!(
            session.on_step(wide, now),
            Err(RequestError::Invalid(_))
        ));
        let long_id = "x".repeat(MAX_STEP_ID_BYTES + 1);
        assert!(matches!(
            session.on_step(step(&long_id, 0), now),
            Err(RequestError::Invalid(_))
        ));
    }

    #[test]
    fn remembered_steps_are_bounded() {
        let now = Instant::now();
        let mut session = Session::new(terms(), now);
        for number in 0..MAX_REMEMBERED_STEPS + 10 {
            session.on_step(step(&number.to_string(), 0), now).unwrap();
        }
        assert_eq!(session.seen.ids.len(), MAX_REMEMBERED_STEPS);
        assert_eq!(session.on_step(step("10", 0), now), Ok(Verdict::Duplicate));
        assert_eq!(
            session.on_step(step("9", 0), now),
            Ok(Verdict::Run { position: 0 })
        );
    }

    #[test]
    fn idle_and_old_sessions_expire() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut session = Session::new(terms(), start);
        assert_eq!(session.next_deadline(), at(300));
        assert_eq!(session.expiry(at(299)), None);
        assert_eq!(session.expiry(at(300)), Some(Expiry::Idle));
        for seconds in (0..1700).step_by(100) {
            session
                .on_step(step(&seconds.to_string(), 0), at(seconds))
                .unwrap();
        }
        assert_eq!(session.next_deadline(), at(1800));
        assert_eq!(session.expiry(at(1799)), None);
        assert_eq!(session.expiry(at(1800)), Some(Expiry::TooOld));
    }
}
