//! Cutting a tensor into parts for a stream, and joining them again.
//!
//! | part   | carries                                                            |
//! |--------|--------------------------------------------------------------------|
//! | first  | every header field, `chunks` = number of parts, the first slice    |
//! | others | the next slice and nothing else; their dtype is ""                 |
//!
//! A tensor with an empty buffer is one part with `chunks` 0. Nothing marks the last part: a
//! tensor ends where the next one begins or the input ends. Slices may have any size.
//!
//! Source: hivemind 1.1.12, `utils/streaming.py`. Golden: `split_for_streaming.20B.*`.

use bytes::{Bytes, BytesMut};

use crate::compression::{Compression, longest_buffer};
use crate::error::DecodeError;
use crate::limits::MAX_TENSORS_PER_MESSAGE;
use crate::tensor::{DType, WireTensor};

/// Cuts `tensor` into parts of at most `max_part_bytes` of buffer each, without copying it.
///
/// Zero is taken as one. Petals uses [`MAX_PART_BYTES`](crate::limits::MAX_PART_BYTES).
pub fn split(tensor: WireTensor, max_part_bytes: usize) -> Vec<WireTensor> {
    let part_bytes = max_part_bytes.max(1);
    let count = tensor.buffer.len().div_ceil(part_bytes);
    let mut rest = tensor.buffer.clone();
    let mut next = move || rest.split_to(part_bytes.min(rest.len()));
    let first = WireTensor {
        chunks: u32::try_from(count).unwrap_or(u32::MAX),
        buffer: next(),
        ..tensor
    };
    let others = (1..count).map(|_| continuation(next()));
    std::iter::once(first).chain(others).collect()
}

fn continuation(buffer: Bytes) -> WireTensor {
    WireTensor {
        dtype: DType::Continued,
        shape: Vec::new(),
        compression: Compression::None,
        chunks: 0,
        requires_grad: false,
        buffer,
    }
}

/// Puts the parts of one call's tensors together again.
///
/// It holds at most one unfinished tensor, no longer than its header allows.
#[derive(Debug)]
pub struct Joiner {
    current: Option<Unfinished>,
    /// Bytes of all parts so far, over all tensors.
    received_bytes: usize,
    max_total_bytes: usize,
    /// Tensors that have begun.
    tensors: usize,
}

/// A tensor of which more parts may come.
#[derive(Debug)]
struct Unfinished {
    /// As it came, with the first slice until there are two.
    first: WireTensor,
    /// All slices, once there are two.
    joined: BytesMut,
    /// Bytes that its header leaves room for.
    room_bytes: usize,
}

impl Joiner {
    /// A joiner for tensors of at most `max_total_bytes` of buffer together.
    pub const fn new(max_total_bytes: usize) -> Self {
        Self {
            current: None,
            received_bytes: 0,
            max_total_bytes,
            tensors: 0,
        }
    }

    /// Takes the next part. Returns the tensor before it if this part begins another one.
    ///
    /// # Errors
    /// `LimitExceeded` if the parts exceed the total or there are too many tensors; `Malformed`
    /// if a part has no beginning or is more than its header promised. The call is over then.
    pub fn push(&mut self, part: WireTensor) -> Result<Option<WireTensor>, DecodeError> {
        let received = self.received_bytes.saturating_add(part.buffer.len());
        DecodeError::check_len("bytes of tensor parts", received, self.max_total_bytes)?;
        self.received_bytes = received;
        if part.dtype == DType::Continued {
            let Some(current) = &mut self.current else {
                return Err(DecodeError::malformed(
                    "tensor part",
                    "it continues no tensor",
                ));
            };
            current.append(&part.buffer)?;
            return Ok(None);
        }
        self.tensors = self.tensors.saturating_add(1);
        DecodeError::check_len("tensors of one call", self.tensors, MAX_TENSORS_PER_MESSAGE)?;
        let next = Unfinished::begin(part)?;
        Ok(self.current.replace(next).map(Unfinished::into_tensor))
    }

    /// The last tensor, after the input has ended; `None` if nothing came.
    pub fn finish(self) -> Option<WireTensor> {
        self.current.map(Unfinished::into_tensor)
    }
}

impl Unfinished {
    fn begin(first: WireTensor) -> Result<Self, DecodeError> {
        let longest = longest_buffer(first.dtype, &first.shape, first.compression)?;
        let Some(room_bytes) = longest.checked_sub(first.buffer.len()) else {
            return Err(too_long(longest));
        };
        Ok(Self {
            first,
            joined: BytesMut::new(),
            room_bytes,
        })
    }

    fn append(&mut self, slice: &[u8]) -> Result<(), DecodeError> {
        let Some(room_bytes) = self.room_bytes.checked_sub(slice.len()) else {
            return Err(too_long(self.room_bytes));
        };
        self.room_bytes = room_bytes;
        if self.joined.is_empty() {
            self.joined.extend_from_slice(&self.first.buffer);
            self.first.buffer = Bytes::new();
        }
        self.joined.extend_from_slice(slice);
        Ok(())
    }

    fn into_tensor(self) -> WireTensor {
        let mut tensor = self.first;
        if !self.joined.is_empty() {
            tensor.buffer = self.joined.freeze();
        }
        tensor
    }
}

fn too_long(longest: usize) -> DecodeError {
    DecodeError::malformed(
        "tensor part",
        format!("only {longest} bytes remain of its shape"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Bytes as a tensor that any number of them fits.
    fn bytes_tensor(bytes: usize) -> WireTensor {
        let buffer: Vec<u8> = (0..=u8::MAX).cycle().take(bytes).collect();
        WireTensor {
            dtype: DType::U8,
            shape: vec![bytes],
            ..continuation(buffer.into())
        }
    }

    /// The beginning of a tensor of 16 bytes.
    fn begin(bytes: usize) -> WireTensor {
        WireTensor {
            shape: vec![16],
            ..bytes_tensor(bytes)
        }
    }

    fn part(bytes: usize) -> WireTensor {
        continuation(vec![0; bytes].into())
    }

    proptest! {
        #[test]
        fn parts_join_to_what_was_split(
            sizes in prop::collection::vec(0_usize..400, 1..5),
            part_bytes in 0_usize..200,
        ) {
            let tensors: Vec<_> = sizes.iter().map(|&size| bytes_tensor(size)).collect();
            let mut joiner = Joiner::new(sizes.iter().sum());
            let mut joined = Vec::new();
            for tensor in &tensors {
                let parts = split(tensor.clone(), part_bytes);
                let count = tensor.buffer.len().div_ceil(part_bytes.max(1));
                prop_assert_eq!(parts.len(), count.max(1));
                prop_assert_eq!(parts[0].chunks as usize, count);
                for part in parts {
                    prop_assert!(part.buffer.len() <= part_bytes.max(1));
                    joined.extend(joiner.push(part).unwrap());
                }
            }
            joined.extend(joiner.finish());
            for tensor in &mut joined {
                tensor.chunks = 0;
            }
            prop_assert_eq!(joined, tensors);
        }
    }

    #[test]
    fn parts_are_held_to_their_header() {
        assert!(Joiner::new(100).push(part(1)).is_err(), "no beginning");
        assert!(Joiner::new(100).push(begin(17)).is_err());
        let mut joiner = Joiner::new(100);
        for harmless in [begin(10), part(0), part(6)] {
            assert_eq!(joiner.push(harmless), Ok(None));
        }
        assert!(joiner.push(part(1)).is_err());
    }

    #[test]
    fn parts_are_held_to_the_limits() {
        let limited = |result| matches!(result, Err(DecodeError::LimitExceeded { .. }));
        assert!(
            limited(Joiner::new(15).push(begin(16))),
            "more than the total"
        );
        let huge = WireTensor {
            shape: vec![1 << 27, 4],
            ..begin(0)
        };
        assert!(limited(Joiner::new(usize::MAX).push(huge)));
        let mut joiner = Joiner::new(100);
        let mut endless = std::iter::repeat_with(|| joiner.push(bytes_tensor(0))).take(1000);
        assert!(endless.any(limited), "more tensors than a call has");
    }

    #[test]
    fn a_single_part_is_not_copied() {
        let whole = bytes_tensor(16);
        let mut joiner = Joiner::new(16);
        assert_eq!(joiner.push(whole.clone()), Ok(None));
        assert_eq!(
            joiner.finish().unwrap().buffer.as_ptr(),
            whole.buffer.as_ptr()
        );
        assert_eq!(Joiner::new(16).finish(), None);
    }
}
