//! One step of a session: checked, decoded, computed, packed, pushed on, answered.

use block_protocol::{Compression, ExpertRequest, StepMetadata, WireTensor, args};
use bytes::Bytes;
use tokio::time::{Instant, timeout_at};
use tracing::debug;

use super::super::push;
use super::super::record::StageClock;
use super::{Stay, Step};
use crate::activations::Memory;
use crate::codec;
use crate::compute::{Computed, StepInput};
use crate::lease::Lease;
use crate::metrics::Phase;
use crate::request_error::RequestError;
use crate::scheduler::MAX_SHORT_TOKENS;
use crate::session::{StepHead, Verdict};

/// A step that has passed every check and is counted as part of the session.
#[derive(Debug)]
struct Prepared {
    /// Named in the answer.
    step_id: Option<String>,
    input: StepInput,
    /// The codec of the step's hidden states, if its output is to be pushed on.
    push_codec: Option<Compression>,
    clock: StageClock,
    /// Memory of its numbers, until the answer is packed.
    memory: Memory,
}

impl Stay<'_> {
    /// Runs and answers one step; a repeated one is dropped.
    pub(super) async fn take_step(&mut self, step: Step) -> Result<(), RequestError> {
        let Step {
            request,
            metadata,
            pushed,
            record,
        } = step;
        log_received(&request, pushed);
        let prepared = match self.prepare(&request, &metadata).await {
            Ok(Some(prepared)) => prepared,
            Ok(None) => {
                record.discard();
                return Ok(());
            }
            // The client sends the same step itself: nobody else's mistake ends its session.
            Err(error) if pushed => {
                debug!(peer = %self.peer, %error, "pushed step ignored");
                record.end(Err(&error));
                return Ok(());
            }
            Err(error) => {
                record.end(Err(&error));
                return Err(error);
            }
        };
        let mut tensors = request.tensors;
        if prepared.push_codec.is_none() {
            tensors.clear();
        } else if let Some(hidden_states) = tensors.first_mut() {
            // They have been decoded, and the output takes their place.
            hidden_states.buffer = Bytes::new();
        }
        let outcome = self.perform(prepared, &metadata, tensors).await;
        record.end(outcome.as_ref().copied());
        outcome.map(|_| ())
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
        let codec = hidden_states.as_ref().map(|tensor| tensor.compression);
        let tensors = self
            .context
            .check_tensors(hidden_states, prompts, self.blocks.len())?;
        let shape = tensors.shape;
        let [batch, seq, _] = shape;
        let memory = self.context.activations.take(tensors.activation_bytes());
        let memory = self.context.unless_draining(memory);
        let life = (self.session.end_of_life(), self.too_old());
        let memory = while_it_lives(&self.lease, life, memory);
        let memory = self.inputs.meanwhile(memory).await?;
        let phase = if seq > 1 {
            Phase::Prefill
        } else {
            Phase::Decode
        };
        let mut clock = StageClock::start(phase);
        let (hidden_states, prompts) = tensors.decode(&memory).await?;
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
        // Deep prompts are not pushed: the next server needs its own.
        let is_pushed_on = !metadata.next_servers.is_empty() && prompts.is_none();
        Ok(Some(Prepared {
            step_id: metadata.step_id.clone(),
            push_codec: codec.filter(|_| is_pushed_on),
            input: StepInput {
                blocks: self.blocks.clone(),
                position,
                hidden_states,
                shape,
                prompts,
                reorder,
                memory: memory.clone(),
            },
            clock,
            memory,
        }))
    }

    /// Computes a step, packs the answer and sends it; returns the answer's bytes. `tensors` are the step's, for who gets
    /// its output.
    async fn perform(
        &mut self,
        prepared: Prepared,
        metadata: &StepMetadata,
        tensors: Vec<WireTensor>,
    ) -> Result<usize, RequestError> {
        let Prepared {
            step_id,
            input,
            push_codec,
            mut clock,
            memory,
        } = prepared;
        let shape = input.shape;
        let way = match push_codec {
            // Of a long one opening takes little, and the next server would hold a stream for it.
            Some(_) if shape[0] * shape[1] <= MAX_SHORT_TOKENS => {
                self.context.pusher.open_way(metadata)
            }
            _ => None,
        };
        self.lease.grow(input.position + shape[1])?;
        let computed = if shape.contains(&0) && input.reorder.is_none() {
            // Nothing to run: a probe of the cache, perhaps with a rollback, which the next step carries out.
            Computed::nothing()
        } else {
            let work = async {
                self.context.delay(input.blocks.len()).await;
                self.context
                    .compute
                    .step(&self.lease, self.peer, input)
                    .await
            };
            let life = (self.session.end_of_life(), self.too_old());
            let work = while_it_lives(&self.lease, life, work);
            self.inputs.meanwhile(work).await?
        };
        clock.computed(&computed);
        let ran_here = computed.ran_here;
        let dtype = self.context.config.schema_dtype;
        let values = computed.values;
        let packed = codec::encode_hidden_states(values, shape, dtype, self.compression, &memory);
        let output = packed.await?;
        if let Some(codec) = push_codec.filter(|codec| push::fits(&output, *codec)) {
            let output = codec::repack(output.clone(), codec).await?;
            clock.serialized();
            // First of all: the next server waits for it, and nobody for this answer.
            let places = &self.push_places;
            let pusher = &self.context.pusher;
            pusher.push(places, way, metadata, output, tensors).await;
            tokio::task::yield_now().await;
            clock.resumed();
        }
        let (codec, tokens) = (output.compression.name(), shape[0] * shape[1]);
        debug!(codec, tokens, "step answered");
        let body = codec::encode_answer(output, step_id).await?;
        clock.serialized();
        drop(memory);
        let sent_bytes = body.len();
        self.inputs
            .send(body, self.context.config.request_timeout)
            .await?;
        clock.finish(tokens);
        self.record.add_tokens(tokens);
        self.session.on_answered(Instant::now().into_std());
        if ran_here {
            // Its thread has other tasks, too.
            tokio::task::yield_now().await;
        }
        Ok(sent_bytes)
    }
}

/// Runs `work` as long as its session may: until it is too old or its cache is taken. Dropping it drops the work.
///
/// # Errors
/// The work's own, why the cache was taken, or `too_old`.
async fn while_it_lives<T>(
    lease: &Lease,
    (end, too_old): (std::time::Instant, RequestError),
    work: impl Future<Output = Result<T, RequestError>>,
) -> Result<T, RequestError> {
    tokio::select! {
        // First: the step of a session whose cache was taken fails for that reason and no other.
        biased;
        taken = lease.taken() => Err(taken),
        outcome = timeout_at(Instant::from_std(end), work) => outcome.unwrap_or(Err(too_old)),
    }
}

fn log_received(request: &ExpertRequest, pushed: bool) {
    // The hidden states come first in every arrangement of the arguments that we know.
    let Some(tensor) = request.tensors.first() else {
        return;
    };
    let from = if pushed { "push" } else { "stream" };
    // The shape is what the peer claims.
    let axes = tensor.shape.iter().take(2);
    let tokens = axes.fold(1, |tokens: usize, &axis| tokens.saturating_mul(axis));
    debug!(
        codec = tensor.compression.name(),
        from, tokens, "step received"
    );
}
