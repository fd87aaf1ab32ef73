//! `rpc_backward` and its stream variant: gradients are not built yet, and the caller is told so at once.

use std::sync::Arc;

use block_network::{StreamCall, UnaryCall};

use super::record::Record;
use super::{Context, end_stream, log_refusal};
use crate::metrics::Method;
use crate::request_error::RequestError;

fn not_built() -> RequestError {
    RequestError::Unsupported(
        "gradients (rpc_backward) are not built into this server; train through another one"
            .to_owned(),
    )
}

/// Refuses one `rpc_backward`.
pub(super) async fn serve(_: Arc<Context>, call: UnaryCall) {
    let record = Record::begin(Method::Backward, call.body.len());
    let error = not_built();
    record.end(Err(&error));
    log_refusal(Method::Backward, call.peer, &error);
    call.respond(Err(error.peer_text()));
}

/// Refuses one `rpc_backward_stream`.
pub(super) async fn serve_stream(_: Arc<Context>, call: StreamCall) {
    let record = Record::begin(Method::BackwardStream, 0);
    let error = not_built();
    record.end(Err(&error));
    end_stream(call.stream, Method::BackwardStream, call.peer, Err(error));
}
