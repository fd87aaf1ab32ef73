//! Counts when something ends: one RPC or step (code, time, bytes), one session, the stages of one step.

use tokio::time::{Duration, Instant};

use crate::compute::Computed;
use crate::metrics::{self, Code, Method, Phase, SessionOutcome, Stage};
use crate::request_error::RequestError;

/// One RPC or step being served. Dropped without an end it counts as cancelled.
#[derive(Debug)]
pub(super) struct Record {
    method: Method,
    started: Instant,
    received_bytes: usize,
    code: Option<Code>,
}

impl Record {
    pub(super) fn begin(method: Method, received_bytes: usize) -> Self {
        metrics::shift_in_flight(method, 1.0);
        Self {
            method,
            started: Instant::now(),
            received_bytes,
            code: Some(Code::Cancelled),
        }
    }

    /// Adds bytes of a further message.
    pub(super) fn received(&mut self, bytes: usize) {
        self.received_bytes += bytes;
    }

    /// Ends it, with the bytes of the answer. A refusal before work began is counted by its reason, too.
    pub(super) fn end(mut self, outcome: Result<usize, &RequestError>) {
        self.code = Some(outcome.map_or_else(RequestError::code, |_| Code::Ok));
        if let Some(reason) = outcome.err().and_then(RequestError::rejection) {
            metrics::record_rejection(reason);
        }
        metrics::record_rpc_bytes(self.method, 0, outcome.unwrap_or(0));
    }

    /// Ends it uncounted: it turned out to be no request of its own.
    pub(super) fn discard(mut self) {
        self.code = None;
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        metrics::shift_in_flight(self.method, -1.0);
        metrics::record_rpc_bytes(self.method, self.received_bytes, 0);
        if let Some(code) = self.code {
            metrics::record_rpc(self.method, code, self.started.elapsed());
        }
    }
}

/// One session, counted when it ends. Dropped without an end it counts as cancelled.
#[derive(Debug)]
pub(super) struct SessionRecord {
    started: Instant,
    tokens: u64,
    outcome: SessionOutcome,
}

impl SessionRecord {
    pub(super) fn begin() -> Self {
        Self {
            started: Instant::now(),
            tokens: 0,
            outcome: SessionOutcome::Cancelled,
        }
    }

    /// Adds the tokens of an answered step.
    pub(super) fn add_tokens(&mut self, tokens: usize) {
        self.tokens += tokens as u64;
    }

    pub(super) fn end(mut self, outcome: SessionOutcome) {
        self.outcome = outcome;
    }
}

impl Drop for SessionRecord {
    fn drop(&mut self) {
        metrics::record_session(self.outcome, self.started.elapsed(), self.tokens);
    }
}

/// Times the stages of one step. Only a step that is answered is counted.
#[derive(Debug)]
pub(super) struct StageClock {
    phase: Phase,
    stage_began: Instant,
    deserialize: Duration,
    queue: Duration,
    compute: Duration,
    serialize: Duration,
}

impl StageClock {
    pub(super) fn start(phase: Phase) -> Self {
        Self {
            phase,
            stage_began: Instant::now(),
            deserialize: Duration::ZERO,
            queue: Duration::ZERO,
            compute: Duration::ZERO,
            serialize: Duration::ZERO,
        }
    }

    fn lap(&mut self) -> Duration {
        let now = Instant::now();
        now - std::mem::replace(&mut self.stage_began, now)
    }

    pub(super) fn deserialized(&mut self) {
        self.deserialize = self.lap();
    }

    pub(super) fn computed(&mut self, computed: &Computed) {
        self.lap();
        self.queue = computed.queue;
        self.compute = computed.compute;
    }

    /// Adds what has been packed since the last stage.
    pub(super) fn serialized(&mut self) {
        let took = self.lap();
        self.serialize += took;
    }

    /// What passed since the last stage belongs to none.
    pub(super) fn resumed(&mut self) {
        self.lap();
    }

    /// Counts the step. One without tokens, which opens a session or rolls it back, has no stages worth a mean.
    pub(super) fn finish(self, tokens: usize) {
        metrics::record_last_step(block_network::unix_time());
        if tokens == 0 {
            return;
        }
        for (stage, took) in [
            (Stage::Deserialize, self.deserialize),
            (Stage::Queue, self.queue),
            (Stage::Compute, self.compute),
            (Stage::Serialize, self.serialize),
        ] {
            metrics::record_stage(self.phase, stage, took);
        }
        metrics::record_tokens(self.phase, tokens);
    }
}
