//! Wire tensors to hidden states and back, off the network threads when large.
//!
//! - In: any float dtype and any compression, decoded by the tensor's own `compression` alone, then rounded to the
//!   span's dtype. NaN and infinities pass: they harm only the session that sent them.
//! - Out: the schema's dtype with the compression that the caller asked for, or the server's.
//!
//! Work on another thread goes on when its caller has gone, so unpacking an input and packing an output hold the request's
//! memory themselves.

use block_model::SpanDType;
use block_protocol::compression::{decode_f32, decode_i64, encode_f32};
use block_protocol::{Compression, DType, ExpertResponse, StepMetadata, WireTensor};
use bytes::Bytes;
use half::{bf16, f16};

use crate::activations::Memory;
use crate::request_error::RequestError;

/// Tensors above this are coded on the blocking pool: at about 1 GB/s it stands for some 60 microseconds, the order of
/// one poll.
pub const MAX_INLINE_BYTES: usize = 64 * 1024;

/// Reads a float tensor and rounds it to what `dtype` can hold; `f32` is only the carrier.
///
/// # Errors
/// `Invalid` if the tensor is not a float tensor or its buffer does not fit its shape.
pub async fn decode_hidden_states(
    tensor: WireTensor,
    dtype: SpanDType,
    memory: &Memory,
) -> Result<Vec<f32>, RequestError> {
    let memory = memory.clone();
    // A packed tensor is larger once it is decoded; what its shape claims is checked against its buffer by the decoder.
    let values_bytes = tensor
        .numel()
        .unwrap_or(usize::MAX)
        .saturating_mul(size_of::<f32>());
    let size_bytes = tensor.buffer.len().max(values_bytes);
    off_thread_if_large(size_bytes, move || {
        let _held = memory;
        let mut values = decode_f32(&tensor)?;
        let is_rounded = matches!(
            (tensor.dtype, dtype),
            (DType::BF16, SpanDType::BF16) | (DType::F16, SpanDType::F16)
        );
        if !is_rounded {
            round_to(dtype, &mut values);
        }
        Ok(values)
    })
    .await
}

/// Reads reorder indices: for each of `batch` rows, which row's cache it continues.
///
/// # Errors
/// `Invalid` if there are not `batch` integers, each in `0..batch`.
pub fn decode_reorder_indices(
    tensor: &WireTensor,
    batch: usize,
) -> Result<Vec<usize>, RequestError> {
    if tensor.shape != [batch] {
        return Err(RequestError::Invalid(format!(
            "hypo_ids must have the shape [{batch}], one index for each sequence, got {:?}",
            tensor.shape
        )));
    }
    decode_i64(tensor)?
        .into_iter()
        .map(|index| {
            usize::try_from(index)
                .ok()
                .filter(|row| *row < batch)
                .ok_or_else(|| {
                    RequestError::Invalid(format!(
                        "hypo_ids must be in 0..{batch}, {index} was given"
                    ))
                })
        })
        .collect()
}

/// Packs an output `[batch, seq, hidden]` for the wire.
///
/// # Errors
/// `Unsupported` if `compression` is not defined for `dtype`.
pub async fn encode_hidden_states(
    values: Vec<f32>,
    shape: [usize; 3],
    dtype: DType,
    compression: Compression,
    memory: &Memory,
) -> Result<WireTensor, RequestError> {
    let memory = memory.clone();
    let size_bytes = values.len() * size_of::<f32>();
    off_thread_if_large(size_bytes, move || {
        let _held = memory;
        encode_f32(&values, &shape, dtype, compression)
            .map_err(|error| RequestError::Unsupported(error.to_string()))
    })
    .await
}

/// An output in another codec: the numbers that the caller finds in its answer, so that it makes the same tensor of
/// them if it brings the step itself. As it is, if the codec is not defined for its dtype.
///
/// # Errors
/// `Internal` for a tensor that is not one of our outputs.
pub(crate) async fn repack(
    output: WireTensor,
    compression: Compression,
) -> Result<WireTensor, RequestError> {
    if output.compression == compression || output.is_dummy() || !compression.packs(output.dtype) {
        return Ok(output);
    }
    let size_bytes = output
        .numel()
        .unwrap_or(usize::MAX)
        .saturating_mul(size_of::<f32>());
    off_thread_if_large(size_bytes, move || {
        let values = decode_f32(&output).map_err(internal)?;
        encode_f32(&values, &output.shape, output.dtype, compression).map_err(internal)
    })
    .await
}

fn internal(error: impl std::fmt::Display) -> RequestError {
    RequestError::Internal(error.to_string())
}

/// The message of one answer. Copies the tensor, so large ones are packed off the network threads. `step_id`: the
/// session's step that it answers; readers of the reference do not look at an answer's metadata.
///
/// # Errors
/// `Internal` for a shape that the wire cannot carry, which no answer of ours has.
pub(crate) async fn encode_answer(
    output: WireTensor,
    step_id: Option<String>,
) -> Result<Bytes, RequestError> {
    off_thread_if_large(output.buffer.len(), move || {
        let answer = ExpertResponse {
            tensors: vec![output],
            metadata: step_id.map_or_else(Bytes::new, |id| answers_step(id).encode().into()),
        };
        answer.encode().map_err(internal)
    })
    .await
}

/// What an answer says of itself.
fn answers_step(step_id: String) -> StepMetadata {
    StepMetadata {
        step_id: Some(step_id),
        ..StepMetadata::default()
    }
}

/// Rounds every value to the nearest that `dtype` can hold, ties to even.
pub fn round_to(dtype: SpanDType, values: &mut [f32]) {
    match dtype {
        SpanDType::F32 => {}
        SpanDType::BF16 => {
            for value in values {
                *value = bf16::from_f32(*value).to_f32();
            }
        }
        SpanDType::F16 => {
            for value in values {
                *value = f16::from_f32(*value).to_f32();
            }
        }
    }
}

/// Runs `work` here if it concerns few bytes, else on the blocking pool. Dropping the future does not stop work that
/// has begun there; its result is dropped.
pub(crate) async fn off_thread_if_large<T: Send + 'static>(
    size_bytes: usize,
    work: impl FnOnce() -> Result<T, RequestError> + Send + 'static,
) -> Result<T, RequestError> {
    if size_bytes <= MAX_INLINE_BYTES {
        return work();
    }
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(RequestError::Internal(format!("coding failed: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(values: &[f32], dtype: DType) -> WireTensor {
        encode_f32(values, &[values.len()], dtype, Compression::None).unwrap()
    }

    #[tokio::test]
    async fn inputs_are_rounded_to_the_spans_dtype() {
        let third = 1.0_f32 / 3.0;
        let exact = decode_hidden_states(
            wire(&[third], DType::F32),
            SpanDType::F32,
            &Memory::default(),
        )
        .await;
        assert_eq!(exact.unwrap(), [third]);
        let bf16s = decode_hidden_states(
            wire(&[third], DType::F32),
            SpanDType::BF16,
            &Memory::default(),
        )
        .await;
        assert_eq!(bf16s.unwrap(), [bf16::from_f32(third).to_f32()]);
        let halves = decode_hidden_states(
            wire(&[third], DType::F16),
            SpanDType::F16,
            &Memory::default(),
        )
        .await;
        assert_eq!(halves.unwrap(), [f16::from_f32(third).to_f32()]);
        let nan = decode_hidden_states(
            wire(&[f32::NAN], DType::F32),
            SpanDType::BF16,
            &Memory::default(),
        )
        .await;
        assert!(nan.unwrap()[0].is_nan());
    }

    #[tokio::test]
    async fn large_tensors_round_trip_off_the_network_threads() {
        let values: Vec<f32> = (0..100_000).map(|value| value as f32).collect();
        let packed = encode_hidden_states(
            values.clone(),
            [1, 1000, 100],
            DType::F32,
            Compression::None,
            &Memory::default(),
        )
        .await
        .unwrap();
        assert_eq!(packed.shape, [1, 1000, 100]);
        let back = decode_hidden_states(packed, SpanDType::F32, &Memory::default())
            .await
            .unwrap();
        assert_eq!(back, values);
    }

    #[tokio::test]
    async fn an_output_is_repacked_from_what_the_caller_gets() {
        let values = [0.1, -3.0, 7.7, 0.0];
        let packed = |values: &[f32], dtype, codec| encode_f32(values, &[1, 1, 4], dtype, codec);
        let lossy = packed(&values, DType::F32, Compression::Blockwise8Implied).unwrap();
        let exact = repack(lossy.clone(), Compression::None).await.unwrap();
        assert_eq!(exact.compression, Compression::None);
        assert_eq!(decode_f32(&exact), decode_f32(&lossy));
        let same = repack(lossy.clone(), Compression::Blockwise8Implied).await;
        assert_eq!(same.unwrap(), lossy);
        // Half floats are not defined for bf16.
        let wide = packed(&values, DType::BF16, Compression::None).unwrap();
        assert_eq!(repack(wide.clone(), Compression::Float16).await, Ok(wide));
    }

    #[tokio::test]
    async fn a_buffer_that_does_not_fit_is_the_callers_mistake() {
        let mut tensor = wire(&[1.0, 2.0], DType::F32);
        tensor.buffer = Bytes::from_static(&[0; 3]);
        let result = decode_hidden_states(tensor, SpanDType::F32, &Memory::default()).await;
        assert!(matches!(result, Err(RequestError::Invalid(_))));
    }

    #[test]
    fn reorder_indices_stay_inside_the_batch() {
        let indices = |values: &[i64]| WireTensor {
            dtype: DType::I64,
            shape: vec![values.len()],
            compression: Compression::None,
            chunks: 0,
            requires_grad: false,
            buffer: values
                .iter()
                .flat_map(|value| value.to_le_bytes())
                .collect(),
        };
        assert_eq!(decode_reorder_indices(&indices(&[1, 1]), 2), Ok(vec![1, 1]));
        for wrong in [&[0, 2][..], &[-1, 0], &[0], &[0, 0, 0]] {
            assert!(matches!(
                decode_reorder_indices(&indices(wrong), 2),
                Err(RequestError::Invalid(_))
            ));
        }
    }
}
