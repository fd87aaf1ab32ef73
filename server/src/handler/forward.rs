//! `rpc_forward` and its stream variant: whole sequences through the blocks, without a cache.
//!
//! Unary: one message each way. Stream: every message repeats the uid and brings tensors or parts of them; after the
//! end of input they are joined and run, and the answer goes back in parts of 4 MiB. The whole call has one time limit.

use std::sync::Arc;

use block_network::{PeerId, StreamCall, UnaryCall};
use block_protocol::limits::{MAX_PART_BYTES, MAX_TENSOR_BYTES, MAX_UNARY_BYTES};
use block_protocol::parts::{Joiner, split};
use block_protocol::{ExpertRequest, ForwardMetadata, WireTensor, args};
use bytes::Bytes;

use super::inputs::Inputs;
use super::record::{Record, StageClock};
use super::request::check_adapter;
use super::{Context, end_stream, log_refusal};
use crate::codec;
use crate::compute::{Computed, ForwardInput};
use crate::metrics::{Method, Phase};
use crate::request_error::RequestError;

/// Bytes that a unary envelope adds to its body, generously.
const ENVELOPE_BYTES: usize = 64;

/// Longest element on the wire, bytes: float64.
const MAX_ELEMENT_BYTES: usize = 8;

const WHAT: &str = "one forward request";

/// Serves one `rpc_forward`.
pub(super) async fn serve(context: Arc<Context>, call: UnaryCall) {
    let record = Record::begin(Method::Forward, call.body.len());
    let work = answer(&context, call.peer, call.body.clone());
    let outcome = tokio::select! {
        outcome = context.within_request_time(WHAT, work) => outcome,
        () = call.cancelled() => Err(RequestError::Gone),
    };
    record.end(outcome.as_ref().map(Bytes::len));
    if let Err(error) = &outcome {
        log_refusal(Method::Forward, call.peer, error);
    }
    call.respond(outcome.map_err(|error| error.peer_text()));
}

async fn answer(context: &Context, peer: PeerId, body: Bytes) -> Result<Bytes, RequestError> {
    context.check_open()?;
    let _seat = context.forwards.enter(peer)?;
    let request = ExpertRequest::decode(body)?;
    let output = run(context, peer, request).await?;
    let body = codec::encode_answer(output, None).await?;
    if body.len() > MAX_UNARY_BYTES - ENVELOPE_BYTES {
        return Err(RequestError::TooLong(format!(
            "the answer has {} bytes and one message holds {MAX_UNARY_BYTES}; use rpc_forward_stream",
            body.len()
        )));
    }
    Ok(body)
}

/// Serves one `rpc_forward_stream`.
pub(super) async fn serve_stream(context: Arc<Context>, call: StreamCall) {
    let peer = call.peer;
    let mut record = Record::begin(Method::ForwardStream, 0);
    let mut inputs = Inputs::new(call.stream);
    let work = answer_in_parts(&context, peer, &mut inputs, &mut record);
    let outcome = context.within_request_time(WHAT, work).await;
    record.end(outcome.as_ref().copied());
    let outcome = outcome.map(|_| ());
    end_stream(inputs.into_stream(), Method::ForwardStream, peer, outcome);
}

/// Returns the bytes sent.
async fn answer_in_parts(
    context: &Context,
    peer: PeerId,
    inputs: &mut Inputs,
    record: &mut Record,
) -> Result<usize, RequestError> {
    context.check_open()?;
    let _seat = context.forwards.enter(peer)?;
    let request = gather(context, inputs, record).await?;
    let output = inputs.meanwhile(run(context, peer, request)).await?;
    let mut sent_bytes = 0;
    for part in split(output, MAX_PART_BYTES) {
        let body = codec::encode_answer(part, None).await?;
        sent_bytes += body.len();
        inputs.send(body, context.config.request_timeout).await?;
    }
    Ok(sent_bytes)
}

/// Joins the parts of a streamed request. Bounded in bytes by what the largest legal request has.
async fn gather(
    context: &Context,
    inputs: &mut Inputs,
    record: &mut Record,
) -> Result<ExpertRequest, RequestError> {
    let hidden_bytes = context
        .config
        .max_batch_tokens
        .saturating_mul(context.description.hidden)
        .saturating_mul(MAX_ELEMENT_BYTES);
    // Hidden states, and prompts of as many tokens for each block.
    let limit_bytes = hidden_bytes
        .saturating_mul(1 + context.description.blocks.len())
        .min(2 * MAX_TENSOR_BYTES);
    let mut joiner = Joiner::new(limit_bytes);
    let mut whole: Option<ExpertRequest> = None;
    while let Some(body) = inputs.next().await? {
        record.received(body.len());
        let mut message = ExpertRequest::decode(body)?;
        let parts = std::mem::take(&mut message.tensors);
        let whole = whole.get_or_insert_with(|| message.clone());
        if whole.uid != message.uid {
            return Err(RequestError::Invalid(
                "the messages of one call name different blocks".to_owned(),
            ));
        }
        for part in parts {
            whole.tensors.extend(joiner.push(part)?);
        }
    }
    let mut whole = whole.ok_or_else(|| {
        RequestError::Invalid("the input ended before its first message".to_owned())
    })?;
    whole.tensors.extend(joiner.finish());
    Ok(whole)
}

/// Checks, decodes, runs and packs one request.
async fn run(
    context: &Context,
    peer: PeerId,
    request: ExpertRequest,
) -> Result<WireTensor, RequestError> {
    let metadata = ForwardMetadata::decode(&request.metadata)?;
    check_adapter(metadata.active_adapter.as_deref())?;
    let blocks = context.served_blocks(&request.uid)?;
    let compression = context.output_compression(metadata.output_compression.as_deref())?;
    let mut arguments = args::resolve(metadata.args.as_ref(), request.tensors)?.into_iter();
    let mut argument = || arguments.next().flatten();
    let (hidden_states, prompts) = (argument(), argument());
    let codec = hidden_states.as_ref().map(|it| it.compression.name());
    let tensors = context.check_tensors(hidden_states, prompts, blocks.len())?;
    let shape = tensors.shape;
    let tokens = shape[0] * shape[1];
    tracing::debug!(codec, tokens, "forward received");
    let memory = context.activations.take(tensors.activation_bytes()).await?;
    let mut clock = StageClock::start(Phase::Forward);
    let (hidden_states, prompts) = tensors.decode(&memory).await?;
    clock.deserialized();
    let computed = if shape.contains(&0) {
        Computed::nothing()
    } else {
        let input = ForwardInput {
            blocks,
            hidden_states,
            shape,
            prompts,
            memory: memory.clone(),
        };
        context.compute.forward(peer, input).await?
    };
    clock.computed(&computed);
    let dtype = context.config.schema_dtype;
    let packed = codec::encode_hidden_states(computed.values, shape, dtype, compression, &memory);
    let output = packed.await?;
    clock.serialized();
    clock.finish(tokens);
    drop(memory);
    tracing::debug!(
        codec = output.compression.name(),
        tokens,
        "forward answered"
    );
    Ok(output)
}
