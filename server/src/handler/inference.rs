//! `rpc_inference`: one session on one stream, step by step.
//!
//! ```text
//! first step → seat, checks, share of the cache → ┌ next step (stream or push) → compute → push on → answer ┐
//!                                                 └──────────────────── until it ends ──────────────────────┘
//! ```
//!
//! | what happens                                             | the session ends with        |
//! |----------------------------------------------------------|------------------------------|
//! | a message without tensors, or the end-of-input marker    | the end of the stream        |
//! | no step for `step_timeout`                               | the end of the stream        |
//! | `session_timeout`, a bad step, an error of ours, draining | an error frame               |
//! | it grows, and is the youngest when the cache runs out     | an error frame               |
//! | the caller is gone, or reads no answer                   | a reset; the cache is freed  |
//!
//! The task owns all of the session: dropping it frees the seat, the cache and the bytes.

mod alarm;
mod open;
mod step;

use std::ops::Range;
use std::sync::Arc;

use block_network::{PeerId, StreamCall};
use block_protocol::{ArgsStructure, Compression, ExpertRequest, StepMetadata};
use tokio::sync::mpsc;
use tracing::{Instrument, debug, debug_span};

use super::inputs::Inputs;
use super::push::PushPlaces;
use super::record::{Record, SessionRecord};
use super::{Context, end_stream};
use crate::lease::Lease;
use crate::metrics::{Code, Method, SessionOutcome};
use crate::request_error::RequestError;
use crate::session::{Expiry, Session};
use crate::session_table::Seat;
use alarm::Alarm;

/// Serves one session to its end.
pub(super) async fn serve(context: Arc<Context>, call: StreamCall) {
    let peer = call.peer;
    let mut inputs = Inputs::new(call.stream);
    let outcome = serve_session(&context, peer, &mut inputs)
        .instrument(debug_span!("session", %peer))
        .await;
    end_stream(inputs.into_stream(), Method::Inference, peer, outcome);
}

async fn serve_session(
    context: &Context,
    peer: PeerId,
    inputs: &mut Inputs,
) -> Result<(), RequestError> {
    let Some(body) = inputs.next().await? else {
        return Ok(());
    };
    let record = Record::begin(Method::Inference, body.len());
    let opened = match ExpertRequest::decode(body) {
        // What ends a session may also come first.
        Ok(request) if request.tensors.is_empty() => {
            record.discard();
            return Ok(());
        }
        Ok(request) => Stay::open(context, peer, inputs, request).await,
        Err(error) => Err(error.into()),
    };
    match opened {
        Ok((mut stay, request, metadata)) => {
            let first = Step {
                request,
                metadata,
                pushed: false,
                record,
            };
            let outcome = stay.run(first).await;
            stay.ended(&outcome);
            outcome.map(|_| ())
        }
        Err(error) => {
            record.end(Err(&error));
            Err(error)
        }
    }
}

/// How a session ended without an error.
#[derive(Debug, Clone, Copy)]
enum Ending {
    /// The client ended it.
    Closed,
    /// No step came in time.
    Idle,
}

/// One step as it came, from the stream or from another server.
#[derive(Debug)]
struct Step {
    request: ExpertRequest,
    metadata: StepMetadata,
    pushed: bool,
    record: Record,
}

/// An open session and all it holds here.
#[derive(Debug)]
struct Stay<'a> {
    context: &'a Context,
    peer: PeerId,
    inputs: &'a mut Inputs,
    session: Session,
    alarm: Alarm,
    lease: Lease,
    blocks: Range<usize>,
    /// Which tensor is which argument: as the first step said, for all steps.
    args: Option<ArgsStructure>,
    compression: Compression,
    pushes: Option<mpsc::Receiver<ExpertRequest>>,
    push_places: PushPlaces,
    record: SessionRecord,
    _seat: Seat<PeerId, ExpertRequest>,
}

impl Stay<'_> {
    async fn run(&mut self, first: Step) -> Result<Ending, RequestError> {
        let mut step = first;
        loop {
            self.take_step(step).await?;
            match self.next_step().await? {
                Ok(next) => step = next,
                Err(ending) => return Ok(ending),
            }
        }
    }

    /// Waits for the next step from either side, or for the end.
    async fn next_step(&mut self) -> Result<Result<Step, Ending>, RequestError> {
        loop {
            let (request, pushed, size) = tokio::select! {
                received = self.inputs.next() => match received? {
                    None => return Ok(Err(Ending::Closed)),
                    Some(body) => {
                        let size = body.len();
                        (ExpertRequest::decode(body)?, false, size)
                    }
                },
                request = next_push(&mut self.pushes) => (request, true, 0),
                () = self.context.draining.cancelled() => return Err(RequestError::Draining),
                taken = self.lease.taken() => return Err(taken),
                expiry = self.alarm.rings(&self.session) => match expiry {
                    Expiry::Idle => return Ok(Err(Ending::Idle)),
                    Expiry::TooOld => return Err(self.too_old()),
                },
            };
            if request.tensors.is_empty() && !pushed {
                return Ok(Err(Ending::Closed));
            }
            let metadata = match StepMetadata::decode(&request.metadata) {
                Ok(metadata) => metadata,
                Err(_) if pushed => continue,
                Err(error) => return Err(error.into()),
            };
            return Ok(Ok(Step {
                request,
                metadata,
                pushed,
                record: Record::begin(Method::Inference, size),
            }));
        }
    }

    fn too_old(&self) -> RequestError {
        RequestError::TimedOut {
            what: "one session",
            limit: self.context.config.session_timeout,
        }
    }

    fn ended(self, outcome: &Result<Ending, RequestError>) {
        debug!(
            position = self.session.position(),
            ?outcome,
            "session ended"
        );
        self.record
            .end(match outcome.as_ref().map_err(RequestError::code) {
                Ok(Ending::Closed) => SessionOutcome::Closed,
                Ok(Ending::Idle) | Err(Code::Timeout) => SessionOutcome::IdleTimeout,
                Err(Code::Cancelled) => SessionOutcome::Cancelled,
                Err(Code::Ok | Code::BadRequest | Code::Overloaded | Code::Internal) => {
                    SessionOutcome::Error
                }
            });
    }
}

/// The next pushed step; waits for ever where none can come.
async fn next_push(pushes: &mut Option<mpsc::Receiver<ExpertRequest>>) -> ExpertRequest {
    match pushes {
        Some(inbox) => match inbox.recv().await {
            Some(request) => request,
            None => std::future::pending().await,
        },
        None => std::future::pending().await,
    }
}
