//! `rpc_push` in both directions: a step handed over by the server before us, and our output handed to the next one.
//!
//! In: the step goes to the inbox of its session and the caller is answered at once; what the session makes of it is
//! not the pusher's business. A session that is not here is ignored, as in the reference.
//!
//! Out: before the answer, as the next server can begin only then, while the client waits for the last one; in the codec
//! of the step that caused it, which the client chose for its route. For a short step the way to the next server is opened
//! while it is computed. Bounded in number; what cannot be pushed is counted and logged only, since the client sends the
//! same step to the next server itself. The [`Pusher`] owns its tasks.

use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use block_network::{Node, PeerId, UnaryCall};
use block_protocol::compression::longest_buffer;
use block_protocol::limits::{MAX_BLOCKS_IN_CHAIN, MAX_UNARY_BYTES};
use block_protocol::{
    BlockChain, Compression, ExpertRequest, NextServer, Rpc, StepMetadata, WireTensor,
};
use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::JoinSet;

use super::record::Record;
use super::{Context, log_refusal};
use crate::codec;
use crate::metrics::{self, Method, PushOutcome};
use crate::request_error::RequestError;
use crate::session_table::{Delivery, PUSH_INBOX_STEPS};

/// Pushes under way from this server, at most 4 MiB each; more are left to the client.
const MAX_PUSHES: usize = 64;

/// Pushes under way of one session. Its next step comes when the client has brought this one to the end of the route, so a
/// push that is still under way by then leads nowhere, and those of one session may not take the places of all.
const MAX_PUSHES_PER_SESSION: usize = 2;

/// Ways that wait for their output. A crowd needs none: what opening takes is nothing beside a turn of many steps.
const MAX_WAYS: usize = 16;

/// A push that takes longer is useless: the client's own copy has arrived by then.
const MAX_PUSH_TIME: Duration = Duration::from_secs(30);

/// Takes one pushed step.
pub(super) async fn serve(context: Arc<Context>, call: UnaryCall) {
    let record = Record::begin(Method::Push, call.body.len());
    let outcome = deliver(&context, call.body.clone());
    record.end(outcome.as_ref().map(|()| 0));
    if let Err(error) = &outcome {
        log_refusal(Method::Push, call.peer, error);
    }
    call.respond(
        outcome
            .map(|()| Bytes::new())
            .map_err(|error| error.peer_text()),
    );
}

fn deliver(context: &Context, body: Bytes) -> Result<(), RequestError> {
    let request = ExpertRequest::decode(body)?;
    let metadata = StepMetadata::decode(&request.metadata)?;
    let (Some(session_id), Some(_)) = (&metadata.session_id, &metadata.step_id) else {
        // Without an identity the step could run twice: here and when the client's own copy comes.
        return Err(RequestError::Invalid(
            "a pushed step needs session_id and step_id".to_owned(),
        ));
    };
    match context.sessions.deliver(session_id, request) {
        Delivery::Taken | Delivery::Unknown => Ok(()),
        Delivery::Full => Err(RequestError::Overloaded {
            what: "too many pushed steps wait for this session",
            limit: Some(PUSH_INBOX_STEPS),
        }),
    }
}

/// What one session may push at once.
#[derive(Debug)]
pub(super) struct PushPlaces(Arc<Semaphore>);

impl PushPlaces {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(MAX_PUSHES_PER_SESSION)))
    }
}

/// Whether an output can be pushed in a codec at all: a push is one unary call. What is too large comes from the client.
pub(super) fn fits(output: &WireTensor, codec: Compression) -> bool {
    let bytes = if codec == output.compression {
        Ok(output.buffer.len())
    } else {
        longest_buffer(output.dtype, &output.shape, codec)
    };
    bytes.is_ok_and(|bytes| bytes < MAX_UNARY_BYTES)
}

/// An open way to a next server, for one output. Dropping it closes the way.
#[derive(Debug)]
pub(super) struct Way(oneshot::Sender<Outgoing>);

/// What goes a way: an encoded request.
#[derive(Debug)]
struct Outgoing {
    body: Bytes,
    /// Those of its session and of all.
    places: [OwnedSemaphorePermit; 2],
}

/// Hands outputs to next servers.
#[derive(Debug)]
pub(crate) struct Pusher {
    node: Node,
    dht_prefix: String,
    timeout: Duration,
    places: Arc<Semaphore>,
    ways: Arc<Semaphore>,
    running: Mutex<JoinSet<()>>,
}

impl Pusher {
    /// A pusher for outputs of the model announced as `dht_prefix`.
    pub(crate) fn new(node: Node, dht_prefix: String, request_timeout: Duration) -> Self {
        Self {
            node,
            dht_prefix,
            timeout: request_timeout.min(MAX_PUSH_TIME),
            places: Arc::new(Semaphore::new(MAX_PUSHES)),
            ways: Arc::new(Semaphore::new(MAX_WAYS)),
            running: Mutex::new(JoinSet::new()),
        }
    }

    /// Begins to open the way to the next server of a step's route. Returns at once; `None` if that has to wait until there
    /// is an output.
    pub(super) fn open_way(&self, metadata: &StepMetadata) -> Option<Way> {
        let next = metadata.next_servers.first()?;
        let peer = PeerId::from_str(&next.peer_id).ok()?;
        let place = Arc::clone(&self.ways).try_acquire_owned().ok()?;
        Some(self.start(peer, Some(place)))
    }

    /// Pushes a step's output on, if its route goes on, on the way that was opened for it; `tensors` are the step's own, of
    /// which the first is replaced. Waits for nothing but its encoding.
    pub(super) async fn push(
        &self,
        session: &PushPlaces,
        way: Option<Way>,
        metadata: &StepMetadata,
        output: WireTensor,
        mut tensors: Vec<WireTensor>,
    ) {
        let Some((next, metadata)) = metadata.for_push() else {
            return;
        };
        let tokens: usize = output.shape.iter().take(2).product();
        let codec = output.compression.name();
        if let Some(first) = tensors.first_mut() {
            *first = output;
        }
        match self.outgoing(session, &next, &metadata, tensors).await {
            Ok((peer, outgoing)) => {
                tracing::debug!(codec, tokens, to = next.peer_id, "step pushed on");
                let Way(way) = way.unwrap_or_else(|| self.start(peer, None));
                // An error means that the tasks have ended, and the server with them.
                way.send(outgoing).ok();
            }
            Err(reason) => {
                tracing::debug!(to = next.peer_id, reason, "not pushed, left to the client");
                metrics::record_push(PushOutcome::Error);
            }
        }
    }

    async fn outgoing(
        &self,
        session: &PushPlaces,
        next: &NextServer,
        metadata: &StepMetadata,
        tensors: Vec<WireTensor>,
    ) -> Result<(PeerId, Outgoing), String> {
        if next.span.len() > MAX_BLOCKS_IN_CHAIN {
            return Err(format!("a chain of {} blocks", next.span.len()));
        }
        let peer = PeerId::from_str(&next.peer_id).map_err(|error| error.to_string())?;
        let place = |places: &Arc<Semaphore>, limit| {
            let place = Arc::clone(places).try_acquire_owned();
            place.map_err(|_| format!("{limit} pushes are under way"))
        };
        let places = [
            place(&session.0, MAX_PUSHES_PER_SESSION)?,
            place(&self.places, MAX_PUSHES)?,
        ];
        let chain = BlockChain {
            prefix: self.dht_prefix.clone(),
            span: next.span,
        };
        let request = ExpertRequest {
            uid: chain.to_string(),
            tensors,
            metadata: metadata.encode().into(),
        };
        let body = encode(request).await.map_err(|error| error.to_string())?;
        Ok((peer, Outgoing { body, places }))
    }

    /// Starts the task of one way, which counts what becomes of its output.
    fn start(&self, peer: PeerId, place: Option<OwnedSemaphorePermit>) -> Way {
        let (way, outgoing) = oneshot::channel::<Outgoing>();
        let (node, timeout) = (self.node.clone(), self.timeout);
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        while running.try_join_next().is_some() {}
        running.spawn(async move {
            let mut places = None;
            let body = async {
                let outgoing = outgoing.await.ok()?;
                drop(place);
                places = Some(outgoing.places);
                Some(outgoing.body)
            };
            let outcome = node.call_ahead(peer, Rpc::Push.name(), body, timeout).await;
            match outcome {
                // The step failed: there is no output.
                Ok(None) => {}
                Ok(Some(_)) => metrics::record_push(PushOutcome::Ok),
                Err(error) => {
                    tracing::debug!(%peer, %error, "push failed, the client's own copy will do");
                    metrics::record_push(PushOutcome::Error);
                }
            }
            drop(places);
        });
        Way(way)
    }

    /// Waits for the pushes under way. Dropping it changes nothing.
    pub(crate) async fn idle(&self) {
        let all = u32::try_from(MAX_PUSHES).unwrap_or(u32::MAX);
        // An error means that the semaphore is closed, which nobody does.
        self.places.acquire_many(all).await.ok();
    }
}

async fn encode(request: ExpertRequest) -> Result<Bytes, RequestError> {
    let tensors = request.tensors.iter();
    let size_bytes = tensors.map(|tensor| tensor.buffer.len()).sum();
    let encoded = codec::off_thread_if_large(size_bytes, move || {
        request
            .encode()
            .map_err(|error| RequestError::Internal(error.to_string()))
    });
    encoded.await
}
