//! What a compute request asks for, checked against what is served. Everything that is looked at before any number is
//! decoded.

use std::ops::Range;

use block_protocol::{BlockChain, Compression, WireTensor};

use super::Context;
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

    /// Deep prompts for `blocks` blocks and hidden states of `shape`; `None` for the placeholder of none.
    ///
    /// # Errors
    /// `Invalid` unless it is a float tensor `[blocks, batch or 1, prefix, hidden]` with a prefix of at most `seq`.
    pub(super) async fn prompts(
        &self,
        tensor: Option<WireTensor>,
        blocks: usize,
        shape: [usize; 3],
    ) -> Result<Option<OwnedPrompts>, RequestError> {
        let Some(tensor) = tensor.filter(|tensor| !tensor.is_dummy()) else {
            return Ok(None);
        };
        let [batch, seq, hidden] = shape;
        let prompts_shape = match tensor.shape.as_slice() {
            &[of_blocks, rows, prefix, width]
                if of_blocks == blocks
                    && (rows == batch || rows == 1)
                    && prefix <= seq
                    && width == hidden =>
            {
                [of_blocks, rows, prefix, width]
            }
            other => {
                return Err(RequestError::Invalid(format!(
                    "prompts must have the shape [{blocks}, {batch} or 1, at most {seq}, {hidden}], got {other:?}"
                )));
            }
        };
        check_float("prompts", &tensor)?;
        let values = codec::decode_hidden_states(tensor, self.description.dtype).await?;
        Ok(Some(OwnedPrompts {
            values,
            shape: prompts_shape,
        }))
    }

    /// The compression of the one answer tensor: the caller's choice, or the server's.
    ///
    /// # Errors
    /// `Invalid` if the caller chose for another number of tensors.
    pub(super) fn output_compression(
        &self,
        chosen: Option<&[Compression]>,
    ) -> Result<Compression, RequestError> {
        match chosen {
            None => Ok(self.config.compression),
            Some([compression]) => Ok(*compression),
            Some(other) => Err(RequestError::Invalid(format!(
                "output_compression must have one entry, since the answer is one tensor; got {}",
                other.len()
            ))),
        }
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
