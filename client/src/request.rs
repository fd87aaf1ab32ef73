//! Single requests to one server: forward through its blocks, and what it is.

use std::time::Duration;

use block_network::{Node, PeerId};
use block_protocol::limits::{MAX_PART_BYTES, MAX_TENSOR_BYTES};
use block_protocol::parts::{Joiner, split};
use block_protocol::{
    ArgsStructure, BlockChain, Compression, DType, ExpertInfo, ExpertRequest, ExpertResponse,
    ExpertUid, ForwardMetadata, Rpc, ServerRpcInfo, WireTensor,
};

use crate::error::HopError;
use crate::hop::placeholder;

/// Uncompressed input above which the reference's client uses the stream variant: a quarter of a unary message.
pub const MAX_UNARY_INPUT_BYTES: usize = 1_048_576;

/// A pass through some blocks without a cache.
#[derive(Debug, Clone)]
pub struct Forward {
    /// The blocks to run.
    pub chain: BlockChain,
    /// `[batch, seq, hidden]`, any float dtype, packed by any codec.
    pub hidden_states: WireTensor,
    /// Deep prompts, `[blocks, batch or 1, prefix, hidden]`.
    pub prompts: Option<WireTensor>,
    /// Codec of the answer; `None` takes the server's.
    pub output_compression: Option<Compression>,
}

impl Forward {
    /// Runs it at `peer`, as one message or in parts, whichever the size of the input asks for. The answer has the
    /// shape of the input.
    ///
    /// # Errors
    /// [`HopError`], `Timeout` after `deadline`.
    pub async fn run(
        self,
        node: &Node,
        peer: PeerId,
        deadline: Duration,
    ) -> Result<WireTensor, HopError> {
        let uncompressed = |tensor: &WireTensor| {
            let values = tensor.numel().unwrap_or(usize::MAX);
            values.saturating_mul(tensor.dtype.size())
        };
        let prompts_bytes = self.prompts.as_ref().map_or(0, uncompressed);
        if uncompressed(&self.hidden_states).saturating_add(prompts_bytes) > MAX_UNARY_INPUT_BYTES {
            return self.run_in_parts(node, peer, deadline).await;
        }
        let request = self.into_request();
        let call = node.call(peer, Rpc::Forward.name(), request.encode()?, deadline);
        one_tensor(ExpertResponse::decode(call.await?)?.tensors)
    }

    /// Runs it at `peer` through the stream variant, whatever its size.
    ///
    /// # Errors
    /// As [`Forward::run`].
    pub async fn run_in_parts(
        self,
        node: &Node,
        peer: PeerId,
        deadline: Duration,
    ) -> Result<WireTensor, HopError> {
        let exchange = self.exchange_parts(node, peer, deadline);
        let outcome = tokio::time::timeout(deadline, exchange).await;
        outcome.unwrap_or(Err(HopError::Timeout))
    }

    async fn exchange_parts(
        self,
        node: &Node,
        peer: PeerId,
        deadline: Duration,
    ) -> Result<WireTensor, HopError> {
        let mut stream = node.open(peer, Rpc::ForwardStream.name(), deadline).await?;
        let request = self.into_request();
        for tensor in request.tensors {
            for part in split(tensor, MAX_PART_BYTES) {
                let message = ExpertRequest {
                    uid: request.uid.clone(),
                    tensors: vec![part],
                    metadata: request.metadata.clone(),
                };
                stream.send(message.encode()?).await?;
            }
        }
        stream.end_input().await?;
        let mut joiner = Joiner::new(MAX_TENSOR_BYTES);
        let mut tensors = Vec::new();
        while let Some(body) = stream.recv().await? {
            for part in ExpertResponse::decode(body)?.tensors {
                tensors.extend(joiner.push(part)?);
            }
        }
        tensors.extend(joiner.finish());
        one_tensor(tensors)
    }

    fn into_request(self) -> ExpertRequest {
        let tensors = vec![
            self.hidden_states,
            self.prompts.unwrap_or_else(|| placeholder(DType::F32)),
        ];
        let metadata = ForwardMetadata {
            args: Some(ArgsStructure::positional(tensors.len())),
            output_compression: self.output_compression.map(|codec| vec![codec]),
            ..ForwardMetadata::default()
        };
        ExpertRequest {
            uid: self.chain.to_string(),
            tensors,
            metadata: metadata.encode().into(),
        }
    }
}

/// What the server at `peer` is. An empty `uid` asks about the server alone, a block's uid also about its schemas.
///
/// # Errors
/// [`HopError`].
pub async fn info(
    node: &Node,
    peer: PeerId,
    uid: &str,
    deadline: Duration,
) -> Result<ServerRpcInfo, HopError> {
    let question = ExpertUid {
        uid: uid.to_owned(),
    };
    let body = node
        .call(peer, Rpc::Info.name(), question.encode(), deadline)
        .await?;
    let answer = ExpertInfo::decode(body)?;
    Ok(ServerRpcInfo::decode(&answer.serialized_info)?)
}

fn one_tensor(mut tensors: Vec<WireTensor>) -> Result<WireTensor, HopError> {
    match (tensors.pop(), tensors.is_empty()) {
        (Some(tensor), true) => Ok(tensor),
        _ => Err(HopError::Nonsense(
            "the answer is not one tensor".to_owned(),
        )),
    }
}
