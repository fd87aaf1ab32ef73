//! Work of our own that takes several calls: gets, stores, and lookups for the routing table.

use super::DhtNode;
use super::calls::Purpose;
use super::get::GetState;
use super::store::StoreState;
use crate::dht::id::DhtId;
use crate::dht::limits::{MAX_OPERATIONS, OPERATION_TIMEOUT};
use crate::dht::lookup::{Lookup, Visit};
use crate::dht::request::{DhtRequest, DhtResponse, FindRequest, NodeContact};

/// Names an operation inside the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct OperationKey(u64);

/// A lookup and what it is for.
#[derive(Debug)]
pub(super) struct Operation {
    lookup: Lookup,
    goal: Goal,
    /// Unix seconds at which it ends with what it has.
    deadline: f64,
}

/// What to do with the nodes and values that a lookup finds.
#[derive(Debug)]
pub(super) enum Goal {
    /// Join: nothing, the table has learned.
    OwnId,
    /// Look into a quiet bucket: nothing, the table has learned.
    Bucket,
    /// Collect values.
    Get(GetState),
    /// Write to the nodes found.
    Store(StoreState),
}

impl DhtNode {
    /// Begins a lookup of one key for the routing table; false if there are too many operations.
    pub(super) fn begin_lookup(&mut self, goal: Goal, key: DhtId, now: f64) -> bool {
        let room = self.operations.len() < MAX_OPERATIONS;
        if room {
            self.begin(goal, vec![key], now);
        }
        room
    }

    pub(super) fn begin(&mut self, goal: Goal, keys: Vec<DhtId>, now: f64) {
        let key = OperationKey(self.next_operation);
        self.next_operation = self.next_operation.wrapping_add(1);
        let known = |key: &DhtId| self.table.nearest(key, self.config.beam, None);
        let lookup = Lookup::new(keys, self.config.beam, self.config.parallel_calls, known);
        let deadline = now + OPERATION_TIMEOUT.as_secs_f64();
        self.advance(
            key,
            Operation {
                lookup,
                goal,
                deadline,
            },
            now,
        );
    }

    pub(super) fn visit_answered(
        &mut self,
        key: OperationKey,
        visit: &Visit,
        response: DhtResponse,
        now: f64,
    ) {
        let (DhtResponse::Find(response), Some(mut operation)) =
            (response, self.operations.remove(&key))
        else {
            return;
        };
        let mut near = Vec::with_capacity(response.results.len());
        for (key, result) in visit.keys.iter().zip(response.results) {
            let own = (self.config.node_id, &self.config.peer);
            let usable = |node: &NodeContact| node.is_not(own.0, own.1);
            near.push(
                result
                    .nearest
                    .into_iter()
                    .filter(usable)
                    .collect::<Vec<_>>(),
            );
            if let (Goal::Get(get), Some(record)) = (&mut operation.goal, result.record)
                && get.offer(key, record, Some(visit.node.node_id), now)
            {
                operation.lookup.finish(key);
            }
        }
        operation.lookup.answered(visit, near);
        self.advance(key, operation, now);
    }

    pub(super) fn visit_failed(&mut self, key: OperationKey, visit: &Visit, now: f64) {
        if let Some(mut operation) = self.operations.remove(&key) {
            operation.lookup.failed(visit);
            self.advance(key, operation, now);
        }
    }

    pub(super) fn replicas_answered(
        &mut self,
        key: OperationKey,
        entries: &[usize],
        response: &DhtResponse,
        now: f64,
    ) {
        if let Some(mut operation) = self.operations.remove(&key) {
            if let (Goal::Store(store), DhtResponse::Store(response)) =
                (&mut operation.goal, response)
            {
                store.answered(entries, &response.accepted);
            }
            self.advance(key, operation, now);
        }
    }

    pub(super) fn replicas_failed(&mut self, key: OperationKey, entries: &[usize], now: f64) {
        if let Some(mut operation) = self.operations.remove(&key) {
            if let Goal::Store(store) = &mut operation.goal {
                store.failed(entries);
            }
            self.advance(key, operation, now);
        }
    }

    /// When the first operation runs out of time.
    pub(super) fn next_deadline(&self) -> Option<f64> {
        self.operations
            .values()
            .map(|operation| operation.deadline)
            .reduce(f64::min)
    }

    /// Ends the operations that have run out of time.
    pub(super) fn end_overdue_operations(&mut self, now: f64) {
        let overdue = self
            .operations
            .iter()
            .filter(|(_, operation)| operation.deadline <= now);
        for key in overdue.map(|(key, _)| *key).collect::<Vec<_>>() {
            if let Some(operation) = self.operations.remove(&key) {
                self.finish(operation, now);
            }
        }
    }

    /// Makes the calls that can be made now, then keeps the operation or ends it.
    fn advance(&mut self, key: OperationKey, mut operation: Operation, now: f64) {
        if operation.deadline <= now {
            self.finish(operation, now);
            return;
        }
        while let Some(visit) = operation
            .lookup
            .next_visit(|peer| self.failed_peers.is_excluded(peer, now))
        {
            let keys = visit.keys.clone();
            let request = DhtRequest::Find(FindRequest {
                node_id: self.told_id(),
                keys,
            });
            if !self.call(
                visit.node.peer.clone(),
                request,
                Purpose::Visit(key, visit.clone()),
                now,
            ) {
                operation.lookup.failed(&visit);
            }
        }
        let is_over = operation.lookup.is_finished()
            && match &mut operation.goal {
                Goal::OwnId | Goal::Bucket | Goal::Get(_) => true,
                Goal::Store(store) => self.advance_store(key, store, &operation.lookup, now),
            };
        if is_over {
            self.finish(operation, now);
        } else {
            self.operations.insert(key, operation);
        }
    }

    fn finish(&mut self, operation: Operation, now: f64) {
        match operation.goal {
            Goal::OwnId => self.own_id_searched(),
            Goal::Bucket => {}
            Goal::Get(get) => self.end_get(get, &operation.lookup, now),
            Goal::Store(store) => self.end_store(store),
        }
    }
}
