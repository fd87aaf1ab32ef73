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
