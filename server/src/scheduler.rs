//! What the compute thread does next. Pure: jobs go in, turns come out.
//!
//! - A turn takes the ready short steps (at most [`MAX_SHORT_TOKENS`] tokens each) of all sessions as one batch, up to
//!   [`MAX_TURN_ROWS`] rows, plus one chunk of at most one longer step, a prompt.
//! - A prompt beside short steps gives [`CROWD_CHUNK_TOKENS`] to a turn, or [`MATRIX_CROWD_CHUNK_TOKENS`], one alone
//!   [`MAX_CHUNK_TOKENS`]. It advances in every turn, however many short steps come, and then goes to the back of the
//!   line of prompts.
//! - Right after short steps a prompt alone gives [`RETURN_CHUNK_TOKENS`], for [`RETURN_TURNS`]: those users are about
//!   to send their next step, and would find the thread taken.
//! - Round robin over peers, and over a peer's jobs: a peer with eight sessions gets no more turns than one with one.
//! - Inference before forward; but after [`FORWARD_PATIENCE_TURNS`] inference turns a waiting forward gets one.
//! - What is ready makes the turn; whether the thread waits a moment for more is not decided here.
//! - Bounded: a push beyond the caps is handed back to the caller.

mod line;

use std::hash::Hash;
use std::ops::Range;

use line::Line;

/// `batch x seq` tokens of a step that counts as short: a token or a few (several at once when tokens are guessed
/// ahead), for one or a few sequences. So many rows are still read at the speed of the weights.
pub const MAX_SHORT_TOKENS: usize = 16;

/// `batch x seq` tokens that a prompt gives to a turn in which short steps wait.
///
/// A turn of 16 short steps has 16 rows; 24 more about double its time. So running users go on at half their speed while
/// a prompt passes. Each turn of the prompt pays for their rows, too: 2,000 tokens take 84 turns and 1.7 times as long as
/// alone. Fewer tokens a turn would disturb the users less and delay the prompt more, and the other way round.
pub const CROWD_CHUNK_TOKENS: usize = 24;

/// The same where rows are multiplied as matrices: 40 more rows double the time of 16 short steps, and 2,000 tokens take
/// 50 turns.
pub const MATRIX_CROWD_CHUNK_TOKENS: usize = 40;

/// `batch x seq` tokens that a prompt gives to a turn of its own: enough rows that reading the weights does not show. A
/// short step that comes meanwhile waits for no more than this.
pub const MAX_CHUNK_TOKENS: usize = 512;

/// `batch x seq` tokens that a prompt gives to a turn right after one with short steps: so few take hardly longer than
/// one, as the weights are read either way.
pub const RETURN_CHUNK_TOKENS: usize = 8;

/// Turns in a row for which users of short steps are expected back: a few single steps' time, which a client's way there
/// and back rarely exceeds, and a small part of what a prompt takes that comes when nobody returns.
pub const RETURN_TURNS: u32 = 4;

/// Tokens in one turn, except that a batch wider than a chunk gives one token of each sequence.
pub const MAX_TURN_TOKENS: usize = 512;

/// Rows in one turn: as many sessions as a server admits by default.
pub const MAX_TURN_ROWS: usize = 64;

/// Inference turns after which a waiting forward is served.
pub const FORWARD_PATIENCE_TURNS: u32 = 16;

/// Caps of one line of jobs.
#[derive(Debug, Clone, Copy)]
pub struct LineCaps {
    /// Jobs in the line.
    pub jobs: usize,
    /// Jobs of one peer.
    pub jobs_per_peer: usize,
}

impl LineCaps {
    fn admit(self, jobs: usize, jobs_of_peer: usize) -> bool {
        jobs < self.jobs && jobs_of_peer < self.jobs_per_peer
    }
}

/// A step that is run chunk by chunk; a short one is one chunk.
#[derive(Debug)]
pub struct Prompt<S> {
    /// The caller's side of the step.
    pub job: S,
    /// Sequences.
    pub batch: usize,
    /// New tokens per sequence.
    pub seq: usize,
    /// Tokens per sequence that are done.
    pub done: usize,
}

impl<S> Prompt<S> {
    /// Whether it runs in one turn with others of its kind.
    pub(crate) fn is_short(&self) -> bool {
        self.batch.saturating_mul(self.seq) <= MAX_SHORT_TOKENS
    }

    /// The next tokens of each sequence, at most `most` in all sequences together but at least one of each.
    fn chunk(&self, most: usize) -> Range<usize> {
        let most = (most / self.batch.max(1)).max(1);
        self.done..self.seq.min(self.done.saturating_add(most))
    }
}

/// One session's part of a turn.
#[derive(Debug)]
pub struct Picked<P, S> {
    /// Whose step it is.
    pub peer: P,
    /// The step.
    pub prompt: Prompt<S>,
    /// Which of its new tokens to run now.
    pub chunk: Range<usize>,
}

/// What to do next.
#[derive(Debug)]
pub enum Turn<P, F> {
    /// Run the rows that were picked in one call.
    Steps,
    /// Run the next slice of this forward.
    Forward(P, F),
}

/// The lines of waiting jobs. `P` names a peer, `S` is an inference step, `F` a forward.
#[derive(Debug)]
pub struct Scheduler<P, S, F> {
    short: Line<P, Prompt<S>>,
    prompts: Line<P, Prompt<S>>,
    step_caps: LineCaps,
    forwards: Line<P, F>,
    forward_caps: LineCaps,
    /// Tokens that a prompt gives to a turn in which short steps wait.
    crowd_chunk: usize,
    turns_since_forward: u32,
    /// Turns of prompts alone since short steps ran.
    turns_since_short: u32,
}

impl<P: Clone + Eq + Hash, S, F> Scheduler<P, S, F> {
    /// Empty lines with the given caps. Those of steps hold for short ones and prompts together.
    ///
    /// - `crowd_chunk`: tokens that a prompt gives to a turn in which short steps wait; below [`MAX_TURN_TOKENS`]
    #[must_use]
    pub fn new(steps: LineCaps, forwards: LineCaps, crowd_chunk: usize) -> Self {
        Self {
            crowd_chunk,
            short: Line::new(steps.jobs),
            prompts: Line::new(steps.jobs),
            step_caps: steps,
            forwards: Line::new(forwards.jobs),
            forward_caps: forwards,
            turns_since_forward: 0,
            turns_since_short: RETURN_TURNS,
        }
    }

    /// Puts a new step of `batch x seq` tokens in line.
    ///
    /// # Errors
    /// The job itself, if its line is full.
    pub fn push_step(&mut self, peer: P, batch: usize, seq: usize, job: S) -> Result<(), S> {
        let of_peer = self.short.of_peer(&peer) + self.prompts.of_peer(&peer);
        if !self.step_caps.admit(self.steps_waiting(), of_peer) {
            return Err(job);
        }
        let prompt = Prompt {
            job,
            batch,
            seq,
            done: 0,
        };
        self.return_step(peer, prompt);
        Ok(())
    }

    /// Puts a new forward in line.
    ///
    /// # Errors
    /// The job itself, if its line is full.
    pub fn push_forward(&mut self, peer: P, job: F) -> Result<(), F> {
        let of_peer = self.forwards.of_peer(&peer);
        if !self.forward_caps.admit(self.forwards.len(), of_peer) {
            return Err(job);
        }
        self.forwards.put(peer, job);
        Ok(())
    }

    /// Drops jobs whose caller is gone. Turns drop them on the way; whoever finds a line full looks for them first, so that
    /// those who are gone take nobody's place.
    pub fn drop_unwanted(
        &mut self,
        step_is_wanted: impl Fn(&S) -> bool,
        forward_is_wanted: impl Fn(&F) -> bool,
    ) {
        for line in [&mut self.short, &mut self.prompts] {
            line.retain(|prompt| step_is_wanted(&prompt.job));
        }
        self.forwards.retain(forward_is_wanted);
    }

    /// Puts a step with tokens left at the back of its line; it has its place already, so no cap applies.
    pub fn return_step(&mut self, peer: P, prompt: Prompt<S>) {
        if prompt.is_short() {
            self.short.put(peer, prompt);
        } else {
            self.prompts.put(peer, prompt);
        }
    }

    /// Puts a forward with blocks left at the back of the line.
    pub fn return_forward(&mut self, peer: P, job: F) {
        self.forwards.put(peer, job);
    }

    /// The next turn, or `None` if no job waits. Jobs whose caller is gone are dropped on the way.
    ///
    /// The rows of [`Turn::Steps`] are appended to `picked`, which comes in empty: short steps first.
    pub fn next_turn(
        &mut self,
        picked: &mut Vec<Picked<P, S>>,
        step_is_wanted: impl Fn(&S) -> bool,
        forward_is_wanted: impl Fn(&F) -> bool,
    ) -> Option<Turn<P, F>> {
        if self.turns_since_forward >= FORWARD_PATIENCE_TURNS
            && let Some(turn) = self.next_forward(&forward_is_wanted)
        {
            return Some(turn);
        }
        self.pick_steps(picked, step_is_wanted);
        if picked.is_empty() {
            return self.next_forward(&forward_is_wanted);
        }
        self.turns_since_forward = self.turns_since_forward.saturating_add(1);
        Some(Turn::Steps)
    }

    fn next_forward(&mut self, is_wanted: impl Fn(&F) -> bool) -> Option<Turn<P, F>> {
        self.turns_since_forward = 0;
        let (peer, job) = self.forwards.pop_wanted(is_wanted)?;
        Some(Turn::Forward(peer, job))
    }

    fn pick_steps(&mut self, picked: &mut Vec<Picked<P, S>>, is_wanted: impl Fn(&S) -> bool) {
        let is_wanted = |prompt: &Prompt<S>| is_wanted(&prompt.job);
        // The prompt is taken first and has its row for certain: short steps that never end cannot keep it waiting.
        let prompt = self.prompts.pop_wanted(is_wanted);
        let mut rows = MAX_TURN_ROWS;
        let mut tokens = MAX_TURN_TOKENS;
        if prompt.is_some() {
            rows -= 1;
            tokens -= self.crowd_chunk;
        }
        while picked.len() < rows && tokens >= MAX_SHORT_TOKENS {
            let Some((peer, prompt)) = self.short.pop_wanted(is_wanted) else {
                break;
            };
            let chunk = prompt.done..prompt.seq;
            tokens -= chunk.len() * prompt.batch;
            picked.push(Picked {
                peer,
                prompt,
                chunk,
            });
        }
        let has_short = !picked.is_empty();
        if let Some((peer, prompt)) = prompt {
            let most = if has_short {
                self.crowd_chunk
            } else if self.turns_since_short < RETURN_TURNS {
                RETURN_CHUNK_TOKENS
            } else {
                MAX_CHUNK_TOKENS
            };
            self.turns_since_short = self.turns_since_short.saturating_add(1);
            let chunk = prompt.chunk(most);
            picked.push(Picked {
                peer,
                prompt,
                chunk,
            });
        }
        if has_short {
            self.turns_since_short = 0;
        }
    }

    /// Empties the lines, and returns what was in them.
    #[must_use]
    pub fn take(&mut self) -> Self {
        let empty = Self::new(self.step_caps, self.forward_caps, self.crowd_chunk);
        std::mem::replace(self, empty)
    }

    /// Caps of the line of steps.
    #[must_use]
    pub fn step_caps(&self) -> LineCaps {
        self.step_caps
    }

    /// Caps of the line of forwards.
    #[must_use]
    pub fn forward_caps(&self) -> LineCaps {
        self.forward_caps
    }

    /// Steps in line.
    #[must_use]
    pub fn steps_waiting(&self) -> usize {
        self.short.len() + self.prompts.len()
    }

    /// Short steps in line.
    #[must_use]
    pub fn short_waiting(&self) -> usize {
        self.short.len()
    }

    /// Prompts in line.
    #[must_use]
    pub fn prompts_waiting(&self) -> usize {
        self.prompts.len()
    }

    /// Forwards in line.
    #[must_use]
    pub fn forwards_waiting(&self) -> usize {
        self.forwards.len()
    }
}

#[cfg(test)]
mod tests;
