//! One unary call, as its callee.
//!
//! Task per stream. Ends when the reply is written, when the caller gives up, on a deadline, or
//! when the node stops.

use block_protocol::{
    EncodeError,
    frame::{CALL_ID_BYTES, UnaryReply, decode_request, encode_reply},
};
use bytes::{Bytes, BytesMut};
use libp2p::{PeerId, Stream};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::{
    frame_reader::FrameReader,
    frame_writer::{close_and_linger, write_all},
    halves::{self, ReadHalf, WriteHalf},
};
use crate::{
    admission::{HalfOpen, Share},
    error::ReadError,
    limits::{QUEUE_TIMEOUT, UNARY_REQUEST_TIMEOUT},
};

/// A request to be answered with [`UnaryCall::respond`]. Dropped without it, the caller is told
/// that there is no answer.
#[derive(Debug)]
pub struct UnaryCall {
    /// The caller, as authenticated by the connection.
    pub peer: PeerId,
    /// The request's protobuf, at most 4 MiB.
    pub body: Bytes,
    reply: oneshot::Sender<Result<Bytes, String>>,
    cancelled: CancellationToken,
}

impl UnaryCall {
    /// Answers with the response's protobuf, or with the text of an error. An answer over 4 MiB
    /// reaches the caller as an error that says so.
    pub fn respond(self, result: Result<Bytes, String>) {
        // A caller that is gone needs no answer.
        let _ = self.reply.send(result);
    }

    /// Waits until the caller has given up. Dropping it loses nothing.
    pub async fn cancelled(&self) {
        self.cancelled.cancelled().await;
    }

    /// Whether the caller has given up.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.is_cancelled()
    }
}

/// Reads the request, waits for the handler's answer, writes it.
pub(crate) async fn serve_unary(
    peer: PeerId,
    stream: Stream,
    permit: HalfOpen,
    share: Share,
    calls: mpsc::Sender<UnaryCall>,
) {
    let (reader, writer) = halves::split(stream);
    let mut reader = FrameReader::new(reader, Some(share));
    let request = match timeout(UNARY_REQUEST_TIMEOUT, reader.next(decode_request)).await {
        Ok(Ok(Some(request))) => request,
        Ok(Err(error @ (ReadError::Decode(_) | ReadError::OverBudget))) => {
            tracing::debug!(%peer, %error, "unary request refused");
            return deliver(reader, writer, peer, &unary_refusal(&error.to_string())).await;
        }
        Ok(Ok(None) | Err(ReadError::Io(_) | ReadError::Truncated)) | Err(_) => {
            tracing::debug!(%peer, "stream ended without a whole request");
            return;
        }
    };
    let (reply, answer) = oneshot::channel();
    let cancelled = CancellationToken::new();
    // Tells the handler also when this task itself is dropped.
    let _guard = cancelled.clone().drop_guard();
    let call = UnaryCall {
        peer,
        body: request.body,
        reply,
        cancelled,
    };
    let answered = async {
        if timeout(QUEUE_TIMEOUT, calls.send(call)).await.is_err() {
            return Err("overloaded: no handler took the request; try another server".to_owned());
        }
        drop(permit);
        let unanswered = || Err("the handler ended without an answer".to_owned());
        answer.await.unwrap_or_else(|_| unanswered())
    };
    let result = tokio::select! {
        () = reader.disturbed() => return,
        result = answered => result,
    };
    let reply = encode_reply(&UnaryReply {
        call_id: request.call_id.to_vec(),
        result,
    });
    let reply = reply.unwrap_or_else(|error| unary_refusal(&too_large(&error)));
    deliver(reader, writer, peer, &reply).await;
}

/// An encoded reply to a request that was not read. Callers do not compare its id.
pub(crate) fn unary_refusal(text: &str) -> BytesMut {
    let reply = UnaryReply {
        call_id: vec![0; CALL_ID_BYTES],
        result: Err(text.to_owned()),
    };
    encode_reply(&reply).expect("invariant: the encoder cuts error text below the limit")
}

async fn deliver(reader: FrameReader<ReadHalf>, mut writer: WriteHalf, peer: PeerId, reply: &[u8]) {
    match write_all(&mut writer, reply).await {
        Ok(()) => close_and_linger(reader.into_stream(), writer).await,
        Err(error) => tracing::debug!(%peer, %error, "reply not delivered"),
    }
}

fn too_large(error: &EncodeError) -> String {
    format!(
        "the answer cannot be sent ({error}); ask for it through the stream variant of this RPC"
    )
}
