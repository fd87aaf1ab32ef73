//! The messages of the Petals handlers, with our tensor type instead of the generated one.
//!
//! | message        | fields                                                          | used by                 |
//! |----------------|-----------------------------------------------------------------|-------------------------|
//! | ExpertUID      | 1: string uid                                                   | `rpc_info` request      |
//! | ExpertInfo     | 1: bytes msgpack, see [`crate::ServerRpcInfo`]                  | `rpc_info` response     |
//! | ExpertRequest  | 1: string chain; 2: repeated Tensor; 3: bytes metadata (msgpack) | every compute request   |
//! | ExpertResponse | 2: repeated Tensor; 3: bytes metadata                            | every compute response  |
//!
//! Decoding copies no tensor bytes: buffers are slices of the frame.
//! Source: hivemind 1.1.12, `proto/runtime.proto`.

use bytes::Bytes;
use prost::Message;

use crate::{
    compression::Compression,
    error::{DecodeError, EncodeError},
    limits::{
        MAX_CHAIN_BYTES, MAX_METADATA_BYTES, MAX_RPC_INFO_BYTES, MAX_TENSOR_BYTES, MAX_TENSOR_DIMS,
        MAX_TENSORS_PER_MESSAGE,
    },
    proto::{decode_bounded, runtime},
    tensor::{DType, WireTensor},
};

/// Asks what a server offers; an empty uid asks about the server alone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExpertUid {
    /// A block uid, or empty.
    pub uid: String,
}

/// The answer to [`ExpertUid`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExpertInfo {
    /// Msgpack map; see [`crate::ServerRpcInfo`].
    pub serialized_info: Bytes,
}

/// Tensors for a chain of blocks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExpertRequest {
    /// A chain of block uids (see [`crate::BlockChain`]); empty in the message that ends a session.
    pub uid: String,
    /// Flat list; [`crate::args`] says which argument each one is.
    pub tensors: Vec<WireTensor>,
    /// Msgpack map (see [`crate::metadata`]), or empty.
    pub metadata: Bytes,
}

/// Tensors computed by a server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExpertResponse {
    /// One tensor per output.
    pub tensors: Vec<WireTensor>,
    /// Msgpack map, or empty as in all of Petals' answers.
    pub metadata: Bytes,
}

impl ExpertUid {
    /// The protobuf.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let message = runtime::ExpertUid {
            uid: self.uid.clone(),
        };
        message.encode_to_vec().into()
    }

    /// Reads the protobuf.
    ///
    /// # Errors
    /// `Malformed`, or `LimitExceeded` for a uid over [`MAX_CHAIN_BYTES`].
    pub fn decode(body: Bytes) -> Result<Self, DecodeError> {
        let message: runtime::ExpertUid = decode_small(body, "ExpertUID")?;
        check_uid(&message.uid)?;
        Ok(Self { uid: message.uid })
    }
}

impl ExpertInfo {
    /// The protobuf.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let message = runtime::ExpertInfo {
            serialized_info: self.serialized_info.clone(),
        };
        message.encode_to_vec().into()
    }

    /// Reads the protobuf.
    ///
    /// # Errors
    /// `Malformed`, or `LimitExceeded` for a payload over [`MAX_RPC_INFO_BYTES`].
    pub fn decode(body: Bytes) -> Result<Self, DecodeError> {
        let message: runtime::ExpertInfo = decode_small(body, "ExpertInfo")?;
        let length = message.serialized_info.len();
        DecodeError::check_len("rpc_info bytes", length, MAX_RPC_INFO_BYTES)?;
        Ok(Self {
            serialized_info: message.serialized_info,
        })
    }
}

impl ExpertRequest {
    /// The protobuf. Copies the tensor bytes once.
    ///
    /// # Errors
    /// `Invalid` for a tensor whose shape the wire cannot carry.
    pub fn encode(&self) -> Result<Bytes, EncodeError> {
        let message = runtime::ExpertRequest {
            uid: self.uid.clone(),
            tensors: tensors_to_proto(&self.tensors)?,
            metadata: self.metadata.clone(),
        };
        Ok(message.encode_to_vec().into())
    }

    /// Reads the protobuf. Tensor buffers stay slices of `body`.
    ///
    /// # Errors
    /// `Malformed`, `Unsupported` for an unknown dtype or codec, `LimitExceeded` for any part.
    pub fn decode(body: Bytes) -> Result<Self, DecodeError> {
        let message: runtime::ExpertRequest = decode_tensors(body, "ExpertRequest")?;
        check_uid(&message.uid)?;
        check_metadata(&message.metadata)?;
        Ok(Self {
            uid: message.uid,
            tensors: tensors_from_proto(message.tensors)?,
            metadata: message.metadata,
        })
    }
}

impl ExpertResponse {
    /// The protobuf. Copies the tensor bytes once.
    ///
    /// # Errors
    /// `Invalid` for a tensor whose shape the wire cannot carry.
    pub fn encode(&self) -> Result<Bytes, EncodeError> {
        let message = runtime::ExpertResponse {
            tensors: tensors_to_proto(&self.tensors)?,
            metadata: self.metadata.clone(),
        };
        Ok(message.encode_to_vec().into())
    }

    /// Reads the protobuf. Tensor buffers stay slices of `body`.
    ///
    /// # Errors
    /// `Malformed`, `Unsupported` for an unknown dtype or codec, `LimitExceeded` for any part.
    pub fn decode(body: Bytes) -> Result<Self, DecodeError> {
        let message: runtime::ExpertResponse = decode_tensors(body, "ExpertResponse")?;
        check_metadata(&message.metadata)?;
        Ok(Self {
            tensors: tensors_from_proto(message.tensors)?,
            metadata: message.metadata,
        })
    }
}

impl WireTensor {
    /// The protobuf of one tensor on its own, as it appears inside a message.
    ///
    /// # Errors
    /// `Invalid` for a shape the wire cannot carry.
    pub fn encode(&self) -> Result<Bytes, EncodeError> {
        Ok(tensor_to_proto(self)?.encode_to_vec().into())
    }

    /// Reads the protobuf of one tensor.
    ///
    /// # Errors
    /// `Malformed`, `Unsupported` for an unknown dtype or codec, `LimitExceeded` for its size.
    pub fn decode(body: Bytes) -> Result<Self, DecodeError> {
        tensor_from_proto(
            runtime::Tensor::decode(body)
                .map_err(|error| DecodeError::malformed("Tensor", error.to_string()))?,
        )
    }
}

/// The number of `tensors` in both messages that have it.
const TENSORS_FIELD: u64 = 2;

/// Top-level fields of one message, and those of its tensors: six each when written normally,
/// a few more when a sender does not pack `size`.
const MAX_FIELDS: usize = MAX_TENSORS_PER_MESSAGE * (8 + MAX_TENSOR_DIMS) + 8;

fn decode_small<M: Message + Default>(body: Bytes, what: &'static str) -> Result<M, DecodeError> {
    decode_bounded(body, what, MAX_FIELDS, None)
}

fn decode_tensors<M: Message + Default>(body: Bytes, what: &'static str) -> Result<M, DecodeError> {
    decode_bounded(body, what, MAX_FIELDS, Some(TENSORS_FIELD))
}

fn check_uid(uid: &str) -> Result<(), DecodeError> {
    DecodeError::check_len("uid bytes", uid.len(), MAX_CHAIN_BYTES)
}

fn check_metadata(metadata: &Bytes) -> Result<(), DecodeError> {
    DecodeError::check_len("metadata bytes", metadata.len(), MAX_METADATA_BYTES)
}

fn tensors_to_proto(tensors: &[WireTensor]) -> Result<Vec<runtime::Tensor>, EncodeError> {
    EncodeError::check_len(
        "tensors in a message",
        tensors.len(),
        MAX_TENSORS_PER_MESSAGE,
    )?;
    tensors.iter().map(tensor_to_proto).collect()
}

fn tensors_from_proto(tensors: Vec<runtime::Tensor>) -> Result<Vec<WireTensor>, DecodeError> {
    DecodeError::check_len(
        "tensors in a message",
        tensors.len(),
        MAX_TENSORS_PER_MESSAGE,
    )?;
    tensors.into_iter().map(tensor_from_proto).collect()
}

fn tensor_to_proto(tensor: &WireTensor) -> Result<runtime::Tensor, EncodeError> {
    let size = tensor
        .shape
        .iter()
        .map(|&length| u32::try_from(length))
        .collect::<Result<_, _>>()
        .map_err(|_| EncodeError::invalid("tensor size", "a dimension is over 32 bits"))?;
    let chunks = i32::try_from(tensor.chunks)
        .map_err(|_| EncodeError::invalid("tensor chunks", "over 31 bits"))?;
    Ok(runtime::Tensor {
        buffer: tensor.buffer.clone(),
        size,
        requires_grad: tensor.requires_grad,
        dtype: tensor.dtype.name().to_owned(),
        compression: tensor.compression.number(),
        chunks,
    })
}

fn tensor_from_proto(tensor: runtime::Tensor) -> Result<WireTensor, DecodeError> {
    DecodeError::check_len("tensor dimensions", tensor.size.len(), MAX_TENSOR_DIMS)?;
    DecodeError::check_len("tensor bytes", tensor.buffer.len(), MAX_TENSOR_BYTES)?;
    let dtype = DType::from_name(&tensor.dtype)
        .ok_or_else(|| DecodeError::unsupported("dtype", &tensor.dtype))?;
    let compression = Compression::try_from(tensor.compression)
        .map_err(|_| DecodeError::unsupported("compression", tensor.compression))?;
    let shape = tensor
        .size
        .iter()
        .map(|&length| usize::try_from(length))
        .collect::<Result<_, _>>()
        .map_err(|_| DecodeError::malformed("tensor size", "does not fit memory"))?;
    Ok(WireTensor {
        dtype,
        shape,
        compression,
        // Informative only, so nonsense from a peer is no error.
        chunks: u32::try_from(tensor.chunks).unwrap_or(0),
        requires_grad: tensor.requires_grad,
        buffer: tensor.buffer,
    })
}

#[cfg(test)]
mod tests;
