//! An inference session at one server: one stream, one answer to each step, in order.
//!
//! Life: [`Hop::open`] → any number of [`Hop::step`] → [`Hop::close`]. Nothing is sent before the first step, which
//! carries what the session asks for. Dropping a hop resets the stream, which ends the session at the server.

use std::time::Duration;

use block_network::{ClientReceiver, ClientSender, Node, PeerId};
use block_protocol::{
    ArgsStructure, BlockChain, Compression, DType, ExpertRequest, ExpertResponse, NextServer,
    OpenMetadata, Rpc, StepMetadata, WireTensor,
};
use bytes::Bytes;
use uuid::Uuid;

use crate::error::HopError;

/// What a session asks for.
#[derive(Debug, Clone)]
pub struct Opening {
    /// The blocks to run.
    pub chain: BlockChain,
    /// Tokens per sequence that the session may ever hold.
    pub max_length: usize,
    /// The session's name at the server; needed if another server is to push to it.
    pub session_id: Option<String>,
    /// How long the server may make us wait for cache memory.
    pub alloc_timeout: Duration,
    /// Codec of the answers; `None` takes the server's. Servers of the reference ignore it.
    pub output_compression: Option<Compression>,
    /// Let the server admit the session on less cache than `max_length` takes. It may then end with a refusal when other
    /// sessions need the room, and must be filled again elsewhere. Servers of the reference ignore it.
    pub cache_grows: bool,
    /// How long one answer may take.
    pub step_timeout: Duration,
}

impl Opening {
    /// A session over `chain` for `max_length` tokens, with a new session id, that takes cache memory at once or not
    /// at all, and waits three minutes for an answer as the reference does.
    #[must_use]
    pub fn new(chain: BlockChain, max_length: usize) -> Self {
        Self {
            chain,
            max_length,
            session_id: Some(Uuid::new_v4().to_string()),
            alloc_timeout: Duration::ZERO,
            output_compression: None,
            cache_grows: false,
            step_timeout: Duration::from_secs(180),
        }
    }
}

/// One step's inputs.
#[derive(Debug, Clone)]
pub struct HopStep {
    /// `[batch, seq, hidden]`, any float dtype, packed by any codec.
    pub hidden_states: WireTensor,
    /// Deep prompts, `[blocks, batch or 1, prefix, hidden]`.
    pub prompts: Option<WireTensor>,
    /// For each batch row, which row's cache it continues: int64 `[batch]`.
    pub reorder: Option<WireTensor>,
    /// The step's identity; repeats of it are dropped.
    pub step_id: String,
    /// Tokens to keep in the cache before the step; `None` keeps all.
    pub start_from_position: Option<usize>,
    /// The route after this server.
    pub next_servers: Vec<NextServer>,
}

impl HopStep {
    /// A plain step with a new identity.
    #[must_use]
    pub fn new(hidden_states: WireTensor) -> Self {
        Self {
            hidden_states,
            prompts: None,
            reorder: None,
            step_id: Uuid::new_v4().to_string(),
            start_from_position: None,
            next_servers: Vec::new(),
        }
    }
}

/// A session at one server.
#[derive(Debug)]
pub struct Hop {
    sender: HopSender,
    receiver: HopReceiver,
}

/// What a server answers to one step.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Answer {
    /// `[batch, seq, hidden]`.
    pub(crate) tensor: WireTensor,
    /// The step that it says it answers; servers of the reference do not say.
    pub(crate) step_id: Option<String>,
}

/// The sending half of a hop.
#[derive(Debug)]
pub(crate) struct HopSender {
    stream: ClientSender,
    opening: Opening,
    /// The text of `opening.chain`, which every step repeats.
    uid: String,
    opened: bool,
    bytes: u64,
}

/// The receiving half of a hop.
#[derive(Debug)]
pub(crate) struct HopReceiver {
    stream: ClientReceiver,
    bytes: u64,
}

impl Hop {
    /// Opens the stream. The server learns of the session with the first step.
    ///
    /// # Errors
    /// `Unreachable` or `Timeout`.
    pub async fn open(
        node: &Node,
        peer: PeerId,
        opening: Opening,
        deadline: Duration,
    ) -> Result<Self, HopError> {
        let stream = node.open(peer, Rpc::Inference.name(), deadline).await?;
        let (sender, receiver) = stream.split();
        Ok(Self {
            sender: HopSender {
                stream: sender,
                uid: opening.chain.to_string(),
                opening,
                opened: false,
                bytes: 0,
            },
            receiver: HopReceiver {
                stream: receiver,
                bytes: 0,
            },
        })
    }

    /// Sends one step and waits for its answer, `[batch, seq, hidden]`. Dropping it loses the answer: drop the hop,
    /// too.
    ///
    /// # Errors
    /// [`HopError`]; the session is over then.
    pub async fn step(&mut self, step: HopStep) -> Result<WireTensor, HopError> {
        self.send(step).await?;
        self.answer().await
    }

    /// Sends one step without waiting. A step whose identity the server has seen gets no answer.
    ///
    /// # Errors
    /// [`HopError`]; the session is over then.
    pub async fn send(&mut self, step: HopStep) -> Result<(), HopError> {
        self.sender.send(step).await
    }

    /// Waits for the next answer.
    ///
    /// # Errors
    /// `Broken` if the server ends the session instead, otherwise as [`Hop::step`].
    pub async fn answer(&mut self) -> Result<WireTensor, HopError> {
        let limit = self.sender.opening.step_timeout;
        let answer = tokio::time::timeout(limit, self.receiver.answer()).await;
        let answer = answer.map_err(|_| HopError::Timeout)??;
        Ok(answer.ok_or_else(session_ended)?.tensor)
    }

    /// Ends the session as the reference does (an empty request, then the end-of-input marker) and waits until the
    /// server has closed the stream.
    ///
    /// # Errors
    /// `Nonsense` if an answer comes instead, otherwise as [`Hop::step`].
    pub async fn close(mut self) -> Result<(), HopError> {
        self.sender.stream.send(Bytes::new()).await?;
        self.sender.stream.end_input().await?;
        let limit = self.sender.opening.step_timeout;
        match self.receiver.stream.recv_within(limit).await? {
            None => Ok(()),
            Some(_) => Err(HopError::Nonsense(
                "an answer came after the end".to_owned(),
            )),
        }
    }

    /// Both halves, to send and receive at the same time.
    pub(crate) fn halves(&mut self) -> (&mut HopSender, &mut HopReceiver) {
        (&mut self.sender, &mut self.receiver)
    }

    /// Bytes of the messages sent and received so far.
    pub(crate) fn traffic(&self) -> (u64, u64) {
        (self.sender.bytes, self.receiver.bytes)
    }
}

/// The error of a server that closed its side in order: its session timed out, or it is leaving.
pub(crate) fn session_ended() -> HopError {
    HopError::Broken("the server ended the session".to_owned())
}

impl HopReceiver {
    /// The next answer, `None` if the server ended the session in order. No deadline. Dropping it loses nothing.
    pub(crate) async fn answer(&mut self) -> Result<Option<Answer>, HopError> {
        let Some(body) = self.stream.recv().await? else {
            return Ok(None);
        };
        self.bytes += body.len() as u64;
        let ExpertResponse {
            mut tensors,
            metadata,
        } = ExpertResponse::decode(body)?;
        let step_id = StepMetadata::decode(&metadata)?.step_id;
        match (tensors.pop(), tensors.is_empty()) {
            (Some(tensor), true) => Ok(Some(Answer { tensor, step_id })),
            _ => Err(HopError::Nonsense("an answer is one tensor".to_owned())),
        }
    }
}

impl HopSender {
    /// See [`Hop::send`]. Dropping it may leave half a message: drop the hop, too.
    pub(crate) async fn send(&mut self, step: HopStep) -> Result<(), HopError> {
        let request = self.request(step);
        self.opened = true;
        let body = request.encode()?;
        self.bytes += body.len() as u64;
        self.stream.send(body).await?;
        Ok(())
    }

    /// The message of a step: three tensors, placeholders for absent ones, and the metadata.
    fn request(&self, step: HopStep) -> ExpertRequest {
        let tensors = vec![
            step.hidden_states,
            step.prompts.unwrap_or_else(|| placeholder(DType::F32)),
            step.reorder.unwrap_or_else(|| placeholder(DType::I64)),
        ];
        let metadata = StepMetadata {
            session_id: self.opening.session_id.clone(),
            step_id: Some(step.step_id),
            start_from_position: step.start_from_position,
            args: (!self.opened).then(|| ArgsStructure::positional(tensors.len())),
            next_servers: step.next_servers,
            pushed: false,
        };
        let metadata = if self.opened {
            metadata.encode()
        } else {
            OpenMetadata {
                max_length: self.opening.max_length,
                points: 0.0,
                active_adapter: None,
                alloc_timeout: self.opening.alloc_timeout,
                output_compression: self.opening.output_compression.map(|codec| vec![codec]),
                cache_grows: self.opening.cache_grows,
                step: metadata,
            }
            .encode()
        };
        ExpertRequest {
            uid: self.uid.clone(),
            tensors,
            metadata: metadata.into(),
        }
    }
}

/// Stands for an absent tensor, as the reference's clients send it.
pub(crate) fn placeholder(dtype: DType) -> WireTensor {
    WireTensor {
        dtype,
        shape: vec![0],
        compression: Compression::None,
        chunks: 0,
        requires_grad: false,
        buffer: Bytes::new(),
    }
}
