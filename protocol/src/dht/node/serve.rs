//! Answering others: ping (with call-back), store, find.

use bytes::Bytes;

use super::DhtNode;
use super::calls::Purpose;
use crate::dht::event::{Action, RequestId};
use crate::dht::id::DhtId;
use crate::dht::limits::{MAX_ANSWER_BYTES, MAX_VALIDATIONS, MAX_WAITERS_PER_VALIDATION};
use crate::dht::request::{
    DhtRequest, DhtResponse, FindRequest, FindResponse, FindResult, NodeContact, PingRequest,
    PingResponse, StoreRequest, StoreResponse,
};
use crate::dht::storage::NewRecord;

/// A call-back under way and the pings that wait for it.
#[derive(Debug)]
pub(super) struct Validation {
    claimed: DhtId,
    waiters: Vec<RequestId>,
}

impl DhtNode {
    pub(super) fn serve(
        &mut self,
        request_id: RequestId,
        from: Bytes,
        request: DhtRequest,
        now: f64,
    ) {
        if self.config.client_mode {
            let refusal = Err("protocol not supported".to_owned());
            self.actions.push(Action::Reply {
                request_id,
                result: refusal,
            });
            return;
        }
        match request {
            DhtRequest::Ping(ping) => self.serve_ping(request_id, &from, ping, now),
            DhtRequest::Store(store) => {
                self.heard(store.node_id, &from, now);
                let accepted = self.keep(&store, &from, now);
                let response = StoreResponse {
                    node_id: self.told_id(),
                    accepted,
                };
                self.reply(request_id, DhtResponse::Store(response));
            }
            DhtRequest::Find(find) => {
                self.heard(find.node_id, &from, now);
                let response = self.look_up(&find, now);
                self.reply(request_id, DhtResponse::Find(response));
            }
        }
    }

    /// Ends a call-back: everybody who waited for it is answered.
    pub(super) fn validated(&mut self, peer: &Bytes, is_true: bool, now: f64) {
        let Some(Validation { claimed, waiters }) = self.validations.remove(peer) else {
            return;
        };
        if is_true {
            self.heard(Some(claimed), peer, now);
        }
        for request_id in waiters {
            self.reply_to_ping(request_id, is_true, now);
        }
    }

    pub(super) fn plain_ping(&self) -> DhtRequest {
        PingRequest {
            node_id: self.told_id(),
            validate: false,
        }
        .into()
    }

    fn serve_ping(&mut self, request_id: RequestId, from: &Bytes, ping: PingRequest, now: f64) {
        let claimed = ping
            .node_id
            .filter(|_| ping.validate && self.is_other_peer(from));
        let Some(claimed) = claimed else {
            self.heard(ping.node_id, from, now);
            self.reply_to_ping(request_id, false, now);
            return;
        };
        if let Some(validation) = self.validations.get_mut(from) {
            let same = validation.claimed == claimed
                && validation.waiters.len() < MAX_WAITERS_PER_VALIDATION;
            if same {
                validation.waiters.push(request_id);
            } else {
                self.reply_to_ping(request_id, false, now);
            }
            return;
        }
        let request = self.plain_ping();
        let room = self.validations.len() < MAX_VALIDATIONS;
        if room && self.call(from.clone(), request, Purpose::Validate(claimed), now) {
            self.validations.insert(
                from.clone(),
                Validation {
                    claimed,
                    waiters: vec![request_id],
                },
            );
        } else {
            self.reply_to_ping(request_id, false, now);
        }
    }

    fn reply_to_ping(&mut self, request_id: RequestId, available: bool, now: f64) {
        let response = PingResponse {
            node_id: self.told_id(),
            dht_time: now,
            available,
        };
        self.reply(request_id, DhtResponse::Ping(response));
    }

    fn reply(&mut self, request_id: RequestId, response: DhtResponse) {
        self.actions.push(Action::Reply {
            request_id,
            result: Ok(response),
        });
    }

    fn keep(&mut self, store: &StoreRequest, writer: &Bytes, now: f64) -> Vec<bool> {
        let mut accepted = Vec::with_capacity(store.records.len());
        for record in &store.records {
            let shelf = if record.in_cache {
                &mut self.cache
            } else {
                &mut self.storage
            };
            let (key, subkey, value, expiration) =
                (record.key, &record.subkey, &record.value, record.expiration);
            accepted.push(shelf.store(
                NewRecord {
                    key,
                    subkey,
                    value,
                    expiration,
                    writer,
                },
                now,
            ));
        }
        accepted
    }

    /// What we know about some keys. Results that no longer fit into one answer are cut to nothing, never left out:
    /// the caller counts them.
    fn look_up(&self, find: &FindRequest, now: f64) -> FindResponse {
        let mut results = Vec::with_capacity(find.keys.len());
        // Every result takes a few bytes even when it is empty.
        let mut room_bytes = MAX_ANSWER_BYTES.saturating_sub(find.keys.len().saturating_mul(16));
        for key in &find.keys {
            let nearest = self
                .table
                .nearest(key, self.config.bucket_size, find.node_id);
            let mut result = FindResult {
                record: None,
                nearest,
            };
            let near_bytes = result.wire_bytes();
            if near_bytes > room_bytes {
                results.push(FindResult::default());
                continue;
            }
            let fresher_copy = self.cache.expiration(key, now) > self.storage.expiration(key, now);
            let shelf = if fresher_copy {
                &self.cache
            } else {
                &self.storage
            };
            result.record = shelf.record(key, now);
            let mut bytes = result.wire_bytes();
            if bytes > room_bytes {
                result.record = None;
                bytes = near_bytes;
            }
            room_bytes = room_bytes.saturating_sub(bytes);
            results.push(result);
        }
        FindResponse {
            node_id: self.told_id(),
            results,
        }
    }
}

impl From<PingRequest> for DhtRequest {
    fn from(request: PingRequest) -> Self {
        Self::Ping(request)
    }
}

impl NodeContact {
    /// True if a node can be called: it is not us, by id or by peer.
    pub(super) fn is_not(&self, own_id: DhtId, own_peer: &Bytes) -> bool {
        self.node_id != own_id && self.peer != *own_peer && !self.peer.is_empty()
    }
}
