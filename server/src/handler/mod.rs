//! The RPCs of the block service, one file each.
//!
//! Each RPC has one accept task (owner: the service) that takes calls from the node and owns the tasks it spawns for
//! them; it ends when the node stops serving or the service is dropped, and its calls with it.

mod backward;
mod forward;
mod inference;
mod info;
mod inputs;
mod push;
mod record;
mod request;
mod trust;

use std::sync::Arc;

use block_model::SpanDescription;
use block_network::{Node, PeerId, ServerStream};
use block_protocol::{ExpertRequest, Rpc};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub(crate) use push::Pusher;
use trust::{InboundCall, trusted};

use crate::activations::Activations;
use crate::cache_budget::CacheBudget;
use crate::compute::ComputeHandle;
use crate::metrics::{Code, Label, Method};
use crate::request_error::RequestError;
use crate::service::ServiceConfig;
use crate::session_table::SessionTable;

/// Calls of one RPC that wait for their task; the node refuses more as overload.
const CALL_QUEUE: usize = 64;

/// What all handlers share.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) config: ServiceConfig,
    /// What the span is; constant.
    pub(crate) description: SpanDescription,
    pub(crate) compute: ComputeHandle,
    pub(crate) budget: CacheBudget,
    pub(crate) activations: Activations,
    /// Seats of inference streams.
    pub(crate) sessions: SessionTable<PeerId, ExpertRequest>,
    /// Seats of forward calls, so that no peer takes them all.
    pub(crate) forwards: SessionTable<PeerId, ()>,
    pub(crate) pusher: Pusher,
    /// New work is refused and idle sessions end.
    pub(crate) draining: CancellationToken,
}

impl Context {
    /// Refuses new work while the server shuts down.
    ///
    /// # Errors
    /// `Draining` then.
    fn check_open(&self) -> Result<(), RequestError> {
        if self.draining.is_cancelled() {
            return Err(RequestError::Draining);
        }
        Ok(())
    }

    /// Runs `work`, and ends it with `Draining` when the server shuts down.
    async fn unless_draining<T>(
        &self,
        work: impl Future<Output = Result<T, RequestError>>,
    ) -> Result<T, RequestError> {
        tokio::select! {
            outcome = work => outcome,
            () = self.draining.cancelled() => Err(RequestError::Draining),
        }
    }

    /// Waits as long as blocks of a larger model would take.
    async fn delay(&self, num_blocks: usize) {
        let blocks = u32::try_from(num_blocks).unwrap_or(u32::MAX);
        let delay = self.config.block_delay.saturating_mul(blocks);
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
    }

    /// Fails with `TimedOut` if `work` takes longer than a request may. Dropping it drops the work.
    async fn within_request_time<T>(
        &self,
        what: &'static str,
        work: impl Future<Output = Result<T, RequestError>>,
    ) -> Result<T, RequestError> {
        let limit = self.config.request_timeout;
        let outcome = tokio::time::timeout(limit, work).await;
        outcome.unwrap_or(Err(RequestError::TimedOut { what, limit }))
    }
}

/// Serves every RPC of the block service at `node`. The tasks end when the set is dropped.
pub(crate) fn serve_all(node: &Node, context: &Arc<Context>) -> JoinSet<()> {
    let mut accepting = JoinSet::new();
    let unary = |rpc: Rpc| node.serve_unary(rpc.name(), CALL_QUEUE);
    let stream = |rpc: Rpc| node.serve_stream(rpc.name(), CALL_QUEUE);
    macro_rules! accept {
        ($kind:ident $name:ident by $serve:path) => {
            accepting.spawn(accept(
                ($kind(Rpc::$name), Method::$name),
                context.clone(),
                $serve,
            ))
        };
    }
    accept!(unary Info by info::serve);
    accept!(unary Push by push::serve);
    accept!(unary Forward by forward::serve);
    accept!(unary Backward by backward::serve);
    accept!(stream ForwardStream by forward::serve_stream);
    accept!(stream BackwardStream by backward::serve_stream);
    accept!(stream Inference by inference::serve);
    accepting
}

/// Runs one task per call of a trusted peer; a panic in one is contained there.
async fn accept<C: InboundCall, F>(
    (mut calls, method): (mpsc::Receiver<C>, Method),
    context: Arc<Context>,
    serve: impl Fn(Arc<Context>, C) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let mut running = JoinSet::new();
    loop {
        tokio::select! {
            call = calls.recv() => match call {
                Some(call) => {
                    if let Some(call) = trusted(&context, method, call) {
                        running.spawn(serve(Arc::clone(&context), call));
                    }
                }
                None => break,
            },
            Some(ended) = running.join_next() => {
                if let Err(error) = ended {
                    tracing::error!(%error, "a handler panicked");
                }
            }
        }
    }
}

/// Ends a streamed call with the outcome: the end of the stream, an error frame, or silence for who has gone.
fn end_stream(
    stream: ServerStream,
    method: Method,
    peer: PeerId,
    outcome: Result<(), RequestError>,
) {
    match outcome {
        Ok(()) => stream.finish(),
        Err(RequestError::Gone) => drop(stream),
        Err(error) => {
            log_refusal(method, peer, &error);
            stream.fail(&error.peer_text());
        }
    }
}

fn log_refusal(method: Method, peer: PeerId, error: &RequestError) {
    let method = method.label();
    if error.code() == Code::Internal {
        tracing::error!(%peer, method, %error, "request failed");
    } else {
        tracing::debug!(%peer, method, %error, "request refused");
    }
}
