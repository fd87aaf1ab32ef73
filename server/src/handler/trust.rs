//! Who is answered: everybody, or only the peers that the operator trusts. The DHT answers everybody all the same, or the
//! trusted could not find this server.

use block_network::{PeerId, StreamCall, UnaryCall};

use super::record::Record;
use super::{Context, log_refusal};
use crate::metrics::Method;
use crate::request_error::RequestError;

/// A call that has come in, of either kind.
pub(super) trait InboundCall {
    /// Who calls, as authenticated by the connection.
    fn peer(&self) -> PeerId;
    /// Answers with an error's text.
    fn refuse(self, text: &str);
}

impl InboundCall for UnaryCall {
    fn peer(&self) -> PeerId {
        self.peer
    }

    fn refuse(self, text: &str) {
        self.respond(Err(text.to_owned()));
    }
}

impl InboundCall for StreamCall {
    fn peer(&self) -> PeerId {
        self.peer
    }

    fn refuse(self, text: &str) {
        self.stream.fail(text);
    }
}

/// The call, unless its peer is not trusted: then it has been refused and counted.
pub(super) fn trusted<C: InboundCall>(context: &Context, method: Method, call: C) -> Option<C> {
    let peer = call.peer();
    let trusted = context.config.trusted_peers.as_ref();
    if trusted.is_none_or(|trusted| trusted.contains(&peer)) {
        return Some(call);
    }
    let error = RequestError::Untrusted {
        peer: peer.to_string(),
    };
    Record::begin(method, 0).end(Err(&error));
    log_refusal(method, peer, &error);
    call.refuse(&error.peer_text());
    None
}
