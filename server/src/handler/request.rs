//! What a compute request asks for, checked against what is served. Everything that is looked at before any number is
//! decoded.

use std::ops::Range;

use block_model::SpanDType;
use block_protocol::compression::encode_f32;
use block_protocol::{BlockChain, Compression, WireTensor};

use super::Context;
use crate::activations::Memory;
use crate::codec;
use crate::compute::OwnedPrompts;
use crate::request_error::{RequestError, quoted};

impl Context {
    /// The blocks that a chain of uids names.
    ///
    /// # Errors
    /// `BadBlocks` if this server does not serve them all, `Invalid` if it is no chain.
    pub(super) fn served_blocks(&self, uid: &str) -> Result<Range<usize>, RequestError> {
        let served = &self.description.blocks;
        let prefix = &self.config.dht_prefix;
        let refuse = |asked: String| {
            Err(RequestError::BadBlocks(format!(
                "this server serves blocks {}:{} of {prefix:?}, {asked} was asked for",
                served.start, served.end
            )))
        };
        let chain = match BlockChain::parse(uid) {
            Ok(chain) => chain,
            Err(error) => return refuse(format!("{} ({error})", quoted(uid))),
        };
        if chain.prefix != *prefix {
            return refuse(quoted(uid));
        }
        let asked = chain.span.range();
        match asked.clone().find(|block| !served.contains(block)) {
            Some(block) => refuse(format!("block {block}")),
            None => Ok(asked),
        }
    }

    /// The shape of a request's hidden states.
    ///
    /// # Errors
    /// `Invalid` unless it is a float tensor `[batch, seq, hidden]` with a batch of one at least; `TooLong` for more
    /// tokens than one request may have.
    pub(super) fn hidden_shape(
        &self,
        tensor: Option<&WireTensor>,
    ) -> Result<[usize; 3], RequestError> {
        let hidden = self.description.hidden;
        let Some(tensor) = tensor else {
            return Err(RequestError::Invalid(
                "the hidden states are missing".to_owned(),
            ));
        };
        let shape = match tensor.shape.as_slice() {
            &[batch, seq, width] if batch > 0 && width == hidden => [batch, seq, width],
            other => {
                return Err(RequestError::Invalid(format!(
                    "hidden states must have the shape [batch, seq, {hidden}], got {other:?}"
                )));
            }
        };
        check_float("hidden states", tensor)?;
        let tokens = shape[0].saturating_mul(shape[1]);
        if tokens > self.config.max_batch_tokens || shape[0] > self.config.max_batch_tokens {
            return Err(RequestError::TooLong(format!(
                "{tokens} tokens (batch x length) in one request, this server takes {}",
                self.config.max_batch_tokens
            )));
        }
        Ok(shape)
    }

    /// The tensors of a request for `blocks` blocks, checked but not decoded.
    ///
    /// # Errors
    /// Those of [`Context::hidden_shape`]; `Invalid` unless the prompts are a placeholder or a float tensor
    /// `[blocks, batch or 1, prefix, hidden]` with a prefix of at most `seq`.
    pub(super) fn check_tensors(
        &self,
        hidden_states: Option<WireTensor>,
        prompts: Option<WireTensor>,
        blocks: usize,
    ) -> Result<CheckedTensors, RequestError> {
        let shape = self.hidden_shape(hidden_states.as_ref())?;
        let prompts = match prompts.filter(|tensor| !tensor.is_dummy()) {
            None => None,
            Some(tensor) => Some((prompts_shape(&tensor, blocks, shape)?, tensor)),
        };
        Ok(CheckedTensors {
            shape,
            hidden_states,
            prompts,
            dtype: self.description.dtype,
        })
    }

    /// The compression of the one answer tensor: the caller's choice, or the server's.
    ///
    /// # Errors
    /// `Invalid` if the caller chose for another number of tensors, `Unsupported` if the codec is not defined for the
    /// schema's dtype.
    pub(super) fn output_compression(
        &self,
        chosen: Option<&[Compression]>,
    ) -> Result<Compression, RequestError> {
        let compression = match chosen {
            None => self.config.compression,
            Some([compression]) => *compression,
            Some(other) => {
                return Err(RequestError::Invalid(format!(
                    "output_compression must have one entry, since the answer is one tensor; got {}",
                    other.len()
                )));
            }
        };
        // Better said now than after the work.
        let nothing = [0, 0, self.description.hidden];
        encode_f32(&[], &nothing, self.config.schema_dtype, compression)
            .map_err(|error| RequestError::Unsupported(error.to_string()))?;
        Ok(compression)
    }
}

/// A request's tensors, whose shapes fit each other and the span.
#[derive(Debug)]
pub(super) struct CheckedTensors {
    /// `[batch, seq, hidden]`.
    pub(super) shape: [usize; 3],
    hidden_states: Option<WireTensor>,
    prompts: Option<([usize; 4], WireTensor)>,
    dtype: SpanDType,
}

impl CheckedTensors {
    /// Memory for the numbers of the request: input, output and prompts.
    pub(super) fn activation_bytes(&self) -> usize {
        let states: usize = self.shape.iter().product();
        let prompts = self.prompts.as_ref();
        let prompts = prompts.map_or(0, |(shape, _)| shape.iter().product());
        states
            .saturating_mul(2)
            .saturating_add(prompts)
            .saturating_mul(size_of::<f32>())
    }

    /// The hidden states and the prompts, rounded to the span's dtype. `memory` is what [`Self::activation_bytes`] takes.
    ///
    /// # Errors
    /// `Invalid` if a buffer does not fit its shape.
    pub(super) async fn decode(
        self,
        memory: &Memory,
    ) -> Result<(Vec<f32>, Option<OwnedPrompts>), RequestError> {
        let hidden_states = match self.hidden_states {
            Some(tensor) => codec::decode_hidden_states(tensor, self.dtype, memory).await?,
            None => Vec::new(),
        };
        let prompts = match self.prompts {
            None => None,
            Some((shape, tensor)) => Some(OwnedPrompts {
                values: codec::decode_hidden_states(tensor, self.dtype, memory).await?,
                shape,
            }),
        };
        Ok((hidden_states, prompts))
    }
}

fn prompts_shape(
    tensor: &WireTensor,
    blocks: usize,
    [batch, seq, hidden]: [usize; 3],
) -> Result<[usize; 4], RequestError> {
    check_float("prompts", tensor)?;
    match tensor.shape.as_slice() {
        &[of_blocks, rows, prefix, width]
            if of_blocks == blocks
                && (rows == batch || rows == 1)
                && prefix <= seq
                && width == hidden =>
        {
            Ok([of_blocks, rows, prefix, width])
        }
        other => Err(RequestError::Invalid(format!(
            "prompts must have the shape [{blocks}, {batch} or 1, at most {seq}, {hidden}], got {other:?}"
        ))),
    }
}

/// Adapters are not served yet; an empty name means none.
///
/// # Errors
/// `Unsupported` for any other name.
pub(super) fn check_adapter(adapter: Option<&str>) -> Result<(), RequestError> {
    match adapter {
        None | Some("") => Ok(()),
        Some(name) => Err(RequestError::Unsupported(format!(
            "adapter {} is not loaded here",
            quoted(name)
        ))),
    }
}

fn check_float(what: &str, tensor: &WireTensor) -> Result<(), RequestError> {
    if tensor.dtype.is_float() {
        return Ok(());
    }
    Err(RequestError::Invalid(format!(
        "{what} must be float32, float16, bfloat16 or float64, got {}",
        tensor.dtype.name()
    )))
}
