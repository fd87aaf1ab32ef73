//! `rpc_inference`: one session on one stream, step by step.
//!
//! ```text
//! first step → seat, checks, share of the cache → ┌ next step (stream or push) → compute → answer → push on ┐
//!                                                 └──────────────────── until it ends ──────────────────────┘
//! ```
//!
//! | what happens                                             | the session ends with        |
//! |----------------------------------------------------------|------------------------------|
//! | a message without tensors, or the end-of-input marker    | the end of the stream        |
//! | no step for `step_timeout`                               | the end of the stream        |
//! | `session_timeout`, a bad step, an error of ours, draining | an error frame               |
//! | the caller is gone, or reads no answer                   | a reset; the cache is freed  |
//!
//! The task owns all of the session: dropping it frees the seat, the cache and the bytes.

use std::ops::Range;
use std::sync::Arc;

use block_network::{PeerId, StreamCall};
use block_protocol::{
    ArgsStructure, Compression, ExpertRequest, ExpertResponse, OpenMetadata, StepMetadata,
    WireTensor, args,
};
use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::inputs::Inputs;
use super::record::{Record, SessionRecord, StageClock};
use super::request::check_adapter;
use super::{Context, end_stream};
use crate::codec;
use crate::compute::{Computed, StepInput};
use crate::lease::Lease;
use crate::metrics::{Method, Phase, SessionOutcome};
use crate::request_error::RequestError;
use crate::session::{Expiry, Session, SessionTerms, StepHead, Verdict};
use crate::session_table::Seat;

/// Serves one session to its end.
pub(super) async fn serve(context: Arc<Context>, call: StreamCall) {
    let peer = call.peer;
    let mut inputs = Inputs::new(call.stream);
    let outcome = serve_session(&context, peer, &mut inputs).await;
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

/// A step that has passed every check and is counted as part of the session.
#[derive(Debug)]
struct Prepared {
    input: StepInput,
    has_prompts: bool,
    clock: StageClock,
    /// Memory of its numbers, until the answer is packed.
    memory: OwnedSemaphorePermit,
}

/// An open session and all it holds here.
#[derive(Debug)]
struct Stay<'a> {
    context: &'a Context,
    peer: PeerId,
    inputs: &'a mut Inputs,
    session: Session,
    lease: Lease,
    blocks: Range<usize>,
    /// Which tensor is which argument: as the first step said, for all steps.
    args: Option<ArgsStructure>,
    compression: Compression,
    pushes: Option<mpsc::Receiver<ExpertRequest>>,
    record: SessionRecord,
    _seat: Seat<PeerId, ExpertRequest>,
}

impl<'a> Stay<'a> {
    /// Checks what the first step asks for and waits for its share of the cache.
    async fn open(
        context: &'a Context,
        peer: PeerId,
        inputs: &'a mut Inputs,
        request: ExpertRequest,
    ) -> Result<(Self, ExpertRequest, StepMetadata), RequestError> {
        context.check_open()?;
        let mut seat = context.sessions.enter(peer)?;
        let metadata = OpenMetadata::decode(&request.metadata)?;
        check_adapter(metadata.active_adapter.as_deref())?;
        let blocks = context.served_blocks(&request.uid)?;
        let compression = context.output_compression(metadata.output_compression.as_deref())?;
        let arguments = args::resolve(metadata.step.args.as_ref(), request.tensors.clone())?;
        let [batch, _, _] = context.hidden_shape(arguments.first().and_then(Option::as_ref))?;
        let max_length = metadata.max_length;
        if max_length > context.config.inference_max_length {
            return Err(RequestError::TooLong(format!(
                "max_length {max_length} was asked for, this server grants {}",
                context.config.inference_max_length
            )));
        }
        let session_id = metadata.step.session_id.as_deref();
        let pushes = session_id.map(|id| seat.bind(id)).transpose()?;
        let share = async {
            let tokens = [batch, max_length, blocks.len()]
                .iter()
                .fold(1_u64, |product, &factor| {
                    product.saturating_mul(factor as u64)
                });
            let patience = metadata.alloc_timeout.min(context.config.max_alloc_timeout);
            let reservation = context.budget.reserve(tokens, patience).await?;
            context
                .compute
                .open(blocks.clone(), batch, max_length, reservation)
                .await
        };
        let lease = inputs.meanwhile(context.unless_draining(share)).await?;
        seat.count_as_session();
        let terms = SessionTerms {
            batch,
            max_length,
            max_step_tokens: context.config.max_batch_tokens,
            step_timeout: context.config.step_timeout,
            session_timeout: context.config.session_timeout,
        };
        let stay = Self {
            context,
            peer,
            inputs,
            session: Session::new(terms, Instant::now().into_std()),
            lease,
            blocks,
            args: metadata.step.args.clone(),
            compression,
            pushes,
            record: SessionRecord::begin(),
            _seat: seat,
        };
        Ok((stay, request, metadata.step))
    }

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
            let deadline = Instant::from_std(self.session.next_deadline());
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
                () = sleep_until(deadline) => match self.session.expiry(Instant::now().into_std()) {
                    None => continue,
                    Some(Expiry::Idle) => return Ok(Err(Ending::Idle)),
                    Some(Expiry::TooOld) => return Err(self.too_old()),
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

    /// Runs and answers one step; a repeated one is dropped.
    async fn take_step(&mut self, step: Step) -> Result<(), RequestError> {
        let Step {
            request,
            metadata,
            pushed,
            record,
        } = step;
        let prepared = match self.prepare(&request, &metadata).await {
            Ok(Some(prepared)) => prepared,
            Ok(None) => {
                record.discard();
                return Ok(());
            }
            // The client sends the same step itself: nobody else's mistake ends its session.
            Err(error) if pushed => {
                tracing::debug!(peer = %self.peer, %error, "pushed step ignored");
                record.end(Err(&error));
                return Ok(());
            }
            Err(error) => {
                record.end(Err(&error));
                return Err(error);
            }
        };
        let has_prompts = prepared.has_prompts;
        match self.perform(prepared).await {
            Ok((output, sent_bytes)) => {
                record.end(Ok(sent_bytes));
                if !has_prompts {
                    self.context.pusher.push(&metadata, output, request.tensors);
                }
                Ok(())
            }
            Err(error) => {
                record.end(Err(&error));
                Err(error)
            }
        }
    }

    /// Checks and decodes a step, then counts it as part of the session; `None` if it was here before. After an
    /// error the session is as if the step had not come.
    async fn prepare(
        &mut self,
        request: &ExpertRequest,
        metadata: &StepMetadata,
    ) -> Result<Option<Prepared>, RequestError> {
        let step_id = metadata.step_id.as_deref();
        if self.session.has_seen(step_id) {
            return Ok(None);
        }
        let mut arguments = args::resolve(self.args.as_ref(), request.tensors.clone())?.into_iter();
        let mut argument = || arguments.next().flatten();
        let (hidden_states, prompts, reorder) = (argument(), argument(), argument());
        let shape = self.context.hidden_shape(hidden_states.as_ref())?;
        let [batch, seq, _] = shape;
        let memory = self
            .context
            .activation_memory(shape, prompts.as_ref())
            .await?;
        let mut clock = StageClock::start(if seq > 1 {
            Phase::Prefill
        } else {
            Phase::Decode
        });
        let hidden_states = match hidden_states {
            Some(tensor) => {
                codec::decode_hidden_states(tensor, self.context.description.dtype).await?
            }
            None => Vec::new(),
        };
        let prompts = self
            .context
            .prompts(prompts, self.blocks.len(), shape)
            .await?;
        let reorder = reorder
            .filter(|tensor| !tensor.is_dummy())
            .map(|tensor| codec::decode_reorder_indices(&tensor, batch))
            .transpose()?;
        clock.deserialized();
        let head = StepHead {
            step_id,
            batch,
            seq,
            start_from_position: metadata.start_from_position,
        };
        let position = match self.session.on_step(head, Instant::now().into_std())? {
            Verdict::Run { position } => position,
            Verdict::Duplicate => return Ok(None),
        };
        Ok(Some(Prepared {
            has_prompts: prompts.is_some(),
            input: StepInput {
                blocks: self.blocks.clone(),
                position,
                hidden_states,
                shape,
                prompts,
                reorder,
            },
            clock,
            memory,
        }))
    }

    /// Computes a step, packs the answer and sends it. Returns the packed output and the bytes sent.
    async fn perform(&mut self, prepared: Prepared) -> Result<(WireTensor, usize), RequestError> {
        let Prepared {
            input,
            mut clock,
            memory,
            ..
        } = prepared;
        let shape = input.shape;
        let computed = if shape.contains(&0) && input.reorder.is_none() {
            // Nothing to run: a probe of the cache, perhaps with a rollback, which the next step carries out.
            Computed::nothing()
        } else {
            let end = Instant::from_std(self.session.end_of_life());
            let work = self.context.compute.step(&self.lease, self.peer, input);
            let too_old = self.too_old();
            let work = async { timeout_at(end, work).await.unwrap_or(Err(too_old)) };
            self.inputs.meanwhile(work).await?
        };
        clock.computed(&computed);
        let dtype = self.context.config.schema_dtype;
        let output =
            codec::encode_hidden_states(computed.values, shape, dtype, self.compression).await?;
        let body = encode_answer(output.clone()).await?;
        clock.serialized();
        drop(memory);
        let sent_bytes = body.len();
        self.inputs
            .send(body, self.context.config.request_timeout)
            .await?;
        let tokens = shape[0] * shape[1];
        clock.finish(tokens);
        self.record.add_tokens(tokens);
        self.session.on_answered(Instant::now().into_std());
        Ok((output, sent_bytes))
    }

    fn too_old(&self) -> RequestError {
        RequestError::TimedOut {
            what: "one session",
            limit: self.context.config.session_timeout,
        }
    }

    fn ended(self, outcome: &Result<Ending, RequestError>) {
        self.record.end(match outcome {
            Ok(Ending::Closed) => SessionOutcome::Closed,
            Ok(Ending::Idle) | Err(RequestError::TimedOut { .. }) => SessionOutcome::IdleTimeout,
            Err(RequestError::Gone) => SessionOutcome::Cancelled,
            Err(_) => SessionOutcome::Error,
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

/// The message of one answer. Copies the tensor, so large ones are packed off the network threads.
pub(super) async fn encode_answer(output: WireTensor) -> Result<Bytes, RequestError> {
    codec::off_thread_if_large(output.buffer.len(), move || {
        let answer = ExpertResponse {
            tensors: vec![output],
            metadata: Bytes::new(),
        };
        answer
            .encode()
            .map_err(|error| RequestError::Internal(error.to_string()))
    })
    .await
}
