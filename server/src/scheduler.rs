//! What the compute thread does next. Pure: jobs go in, turns come out.
//!
//! - Inference before forward; but after [`FORWARD_PATIENCE_TURNS`] inference turns a waiting forward gets one.
//! - Round robin over peers, and over a peer's jobs: a peer with eight sessions gets no more turns than one with one.
//! - One inference turn takes a row from every ready session until [`MAX_TURN_TOKENS`] or [`MAX_TURN_ROWS`].
//! - A long prompt gives at most [`MAX_CHUNK_TOKENS`] to a turn and then goes to the back of the line.
//! - Bounded: a push beyond the caps is handed back to the caller.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::ops::Range;

/// `batch x seq` tokens that one session gives to one turn: the length up to which the reference runs a whole span
/// in one go, and near where a CPU stops gaining from wider matrices.
pub const MAX_CHUNK_TOKENS: usize = 128;

/// Tokens in one turn. A decode step behind it waits for no more than this.
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

/// A step that is run chunk by chunk.
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
pub enum Turn<P, S, F> {
    /// Run these rows in one call.
    Steps(Vec<Picked<P, S>>),
    /// Run the next slice of this forward.
    Forward(P, F),
}

/// The lines of waiting jobs. `P` names a peer, `S` is an inference step, `F` a forward.
#[derive(Debug)]
pub struct Scheduler<P, S, F> {
    steps: Line<P, Prompt<S>>,
    forwards: Line<P, F>,
    turns_since_forward: u32,
}

impl<P: Clone + Eq + Hash, S, F> Scheduler<P, S, F> {
    /// Empty lines with the given caps.
    #[must_use]
    pub fn new(steps: LineCaps, forwards: LineCaps) -> Self {
        Self {
            steps: Line::new(steps),
            forwards: Line::new(forwards),
            turns_since_forward: 0,
        }
    }

    /// Puts a new step of `batch x seq` tokens in line.
    ///
    /// # Errors
    /// The job itself, if its line is full.
    pub fn push_step(&mut self, peer: P, batch: usize, seq: usize, job: S) -> Result<(), S> {
        let prompt = Prompt {
            job,
            batch,
            seq,
            done: 0,
        };
        self.steps.push(peer, prompt).map_err(|prompt| prompt.job)
    }

    /// Puts a new forward in line.
    ///
    /// # Errors
    /// The job itself, if its line is full.
    pub fn push_forward(&mut self, peer: P, job: F) -> Result<(), F> {
        self.forwards.push(peer, job)
    }

    /// Puts a step with tokens left at the back of the line; it has its place already, so no cap applies.
    pub fn return_step(&mut self, peer: P, prompt: Prompt<S>) {
        self.steps.put(peer, prompt);
    }

    /// Puts a forward with blocks left at the back of the line.
    pub fn return_forward(&mut self, peer: P, job: F) {
        self.forwards.put(peer, job);
    }

    /// The next turn, or `None` if no job waits. Jobs whose caller is gone are dropped on the way.
    pub fn next_turn(
        &mut self,
        step_is_wanted: impl Fn(&S) -> bool,
        forward_is_wanted: impl Fn(&F) -> bool,
    ) -> Option<Turn<P, S, F>> {
        if self.turns_since_forward >= FORWARD_PATIENCE_TURNS
            && let Some(turn) = self.next_forward(&forward_is_wanted)
        {
            return Some(turn);
        }
        let picked = self.pick_steps(step_is_wanted);
        if picked.is_empty() {
            return self.next_forward(&forward_is_wanted);
        }
        self.turns_since_forward = self.turns_since_forward.saturating_add(1);
        Some(Turn::Steps(picked))
    }

    fn next_forward(&mut self, is_wanted: impl Fn(&F) -> bool) -> Option<Turn<P, S, F>> {
        self.turns_since_forward = 0;
        loop {
            let (peer, job) = self.forwards.pop()?;
            if is_wanted(&job) {
                return Some(Turn::Forward(peer, job));
            }
        }
    }

    fn pick_steps(&mut self, is_wanted: impl Fn(&S) -> bool) -> Vec<Picked<P, S>> {
        let mut picked = Vec::new();
        let mut tokens = 0;
        while picked.len() < MAX_TURN_ROWS && (picked.is_empty() || tokens < MAX_TURN_TOKENS) {
            let Some((peer, prompt)) = self.steps.pop() else {
                break;
            };
            if !is_wanted(&prompt.job) {
                continue;
            }
            let most = (MAX_CHUNK_TOKENS / prompt.batch.max(1)).max(1);
            let chunk = prompt.done..prompt.seq.min(prompt.done + most);
            tokens += chunk.len() * prompt.batch;
            picked.push(Picked {
                peer,
                prompt,
                chunk,
            });
        }
        picked
    }

    /// Caps of the line of steps.
    #[must_use]
    pub fn step_caps(&self) -> LineCaps {
        self.steps.caps
    }

    /// Caps of the line of forwards.
    #[must_use]
    pub fn forward_caps(&self) -> LineCaps {
        self.forwards.caps
    }

    /// Steps in line.
    #[must_use]
    pub fn steps_waiting(&self) -> usize {
        self.steps.len()
    }

    /// Forwards in line.
    #[must_use]
    pub fn forwards_waiting(&self) -> usize {
        self.forwards.len()
    }
}

/// Jobs of many peers, served round robin.
#[derive(Debug)]
struct Line<P, T> {
    caps: LineCaps,
    /// Peers with jobs, next one first; each peer once.
    turns: VecDeque<P>,
    jobs: HashMap<P, VecDeque<T>>,
    len: usize,
}

impl<P: Clone + Eq + Hash, T> Line<P, T> {
    fn new(caps: LineCaps) -> Self {
        Self {
            caps,
            turns: VecDeque::new(),
            jobs: HashMap::new(),
            len: 0,
        }
    }

    fn len(&self) -> usize {
        self.len
    }

    fn push(&mut self, peer: P, job: T) -> Result<(), T> {
        let of_peer = self.jobs.get(&peer).map_or(0, VecDeque::len);
        if self.len >= self.caps.jobs || of_peer >= self.caps.jobs_per_peer {
            return Err(job);
        }
        self.put(peer, job);
        Ok(())
    }

    fn put(&mut self, peer: P, job: T) {
        let jobs = self.jobs.entry(peer.clone()).or_default();
        if jobs.is_empty() {
            self.turns.push_back(peer);
        }
        jobs.push_back(job);
        self.len += 1;
    }

    fn pop(&mut self) -> Option<(P, T)> {
        let peer = self.turns.pop_front()?;
        let jobs = self.jobs.get_mut(&peer)?;
        let job = jobs.pop_front()?;
        self.len -= 1;
        if jobs.is_empty() {
            self.jobs.remove(&peer);
        } else {
            self.turns.push_back(peer.clone());
        }
        Some((peer, job))
    }
}

#[cfg(test)]
mod tests;
