//! Beam search towards several keys at once.
//!
//! Per key the nodes seen so far are ordered by distance. The nearest `beam` of those that have not failed are the
//! beam; a key is finished when all of its beam has answered, or when the caller says so (a get that found enough).
//! Each visit serves the key with the fewest visits under way and takes along other keys near the visited node.
//!
//! Source: hivemind 1.1.12, `dht/traverse.py`. Ours: nodes that fail make room for farther ones, and a key has a
//! budget of visits, so that invented nodes cannot keep a search going.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::id::{DhtId, Distance};
use super::limits::{MAX_CANDIDATES_PER_QUERY, MAX_KEYS_PER_VISIT, MAX_VISITS_PER_QUERY};
use super::request::NodeContact;

/// One call of a lookup: ask `node` for `keys`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Visit {
    /// Whom to ask.
    pub node: NodeContact,
    /// What for, the key that chose the node first.
    pub keys: Vec<DhtId>,
}

/// A search for the nodes nearest to some keys.
#[derive(Debug, Clone)]
pub struct Lookup {
    queries: BTreeMap<DhtId, Query>,
    beam: usize,
    parallel_calls: usize,
    visits_under_way: usize,
    keys_per_visit: usize,
}

#[derive(Debug, Clone, Default)]
struct Query {
    candidates: BTreeMap<Distance, Candidate>,
    /// Nodes that failed; kept apart so that others' answers do not bring them back.
    failed: BTreeSet<DhtId>,
    visits_under_way: usize,
    visits: usize,
    finished: bool,
}

#[derive(Debug, Clone)]
struct Candidate {
    node: NodeContact,
    progress: Progress,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    Unvisited,
    Asked,
    Answered,
}

impl Lookup {
    /// A search for `keys` with at most `parallel_calls` calls at a time; `known` gives the nodes to begin with.
    pub fn new(
        keys: impl IntoIterator<Item = DhtId>,
        beam: usize,
        parallel_calls: usize,
        known: impl Fn(&DhtId) -> Vec<NodeContact>,
    ) -> Self {
        let mut queries = BTreeMap::new();
        for key in keys {
            let mut query = Query::default();
            for node in known(&key) {
                query.add(&key, node);
            }
            queries.insert(key, query);
        }
        let keys_per_visit = queries.len().isqrt().clamp(1, MAX_KEYS_PER_VISIT);
        Self {
            queries,
            beam: beam.max(1),
            parallel_calls: parallel_calls.max(1),
            visits_under_way: 0,
            keys_per_visit,
        }
    }

    /// The next call to make now, if any. Nodes for which `is_excluded` holds count as failed.
    pub fn next_visit(&mut self, is_excluded: impl Fn(&Bytes) -> bool) -> Option<Visit> {
        while self.visits_under_way < self.parallel_calls {
            let (_, distance, key) = self
                .queries
                .iter()
                .filter_map(|(key, query)| {
                    Some((query.visits_under_way, query.next(self.beam)?, *key))
                })
                .min()?;
            let query = self.queries.get_mut(&key)?;
            let node = query.candidates.get(&distance)?.node.clone();
            if is_excluded(&node.peer) {
                query.fail(&key, &node.node_id);
                continue;
            }
            let mut keys = vec![key];
            keys.extend(self.companions(&key, &node.node_id));
            for key in &keys {
                if let Some(query) = self.queries.get_mut(key) {
                    query.ask(key, &node);
                }
            }
            self.visits_under_way = self.visits_under_way.saturating_add(1);
            return Some(Visit { node, keys });
        }
        None
    }

    /// Takes the answer to a visit: for each key the nodes that were named as near.
    pub fn answered(&mut self, visit: &Visit, nearest: impl IntoIterator<Item = Vec<NodeContact>>) {
        self.visits_under_way = self.visits_under_way.saturating_sub(1);
        for (key, nodes) in visit.keys.iter().zip(nearest) {
            let Some(query) = self.queries.get_mut(key) else {
                continue;
            };
            query.visits_under_way = query.visits_under_way.saturating_sub(1);
            query.answer(key, &visit.node);
            for node in nodes {
                query.add(key, node);
            }
        }
    }

    /// Takes the failure of a visit.
    pub fn failed(&mut self, visit: &Visit) {
        self.visits_under_way = self.visits_under_way.saturating_sub(1);
        for key in &visit.keys {
            if let Some(query) = self.queries.get_mut(key) {
                query.visits_under_way = query.visits_under_way.saturating_sub(1);
                query.fail(key, &visit.node.node_id);
            }
        }
    }

    /// Ends the search for one key: enough was found.
    pub fn finish(&mut self, key: &DhtId) {
        if let Some(query) = self.queries.get_mut(key) {
            query.finished = true;
        }
    }

    /// True if nothing is left to ask and no answer of interest is under way.
    pub fn is_finished(&self) -> bool {
        self.queries.values().all(|query| {
            query.finished || (query.visits_under_way == 0 && query.next(self.beam).is_none())
        })
    }

    /// Nodes that answered for a key, nearest first, at most the beam.
    pub fn nearest(&self, key: &DhtId) -> Vec<NodeContact> {
        let Some(query) = self.queries.get(key) else {
            return Vec::new();
        };
        let answered = query
            .candidates
            .values()
            .filter(|candidate| candidate.progress == Progress::Answered);
        answered
            .take(self.beam)
            .map(|candidate| candidate.node.clone())
            .collect()
    }

    /// Other keys that the node has not been asked for, those nearest to it.
    fn companions(&self, key: &DhtId, node_id: &DhtId) -> Vec<DhtId> {
        let mut others: Vec<DhtId> = self
            .queries
            .iter()
            .filter(|(other, query)| **other != *key && query.wants(other, node_id))
            .map(|(other, _)| *other)
            .collect();
        others.sort_unstable_by_key(|other| other.distance(node_id));
        others.truncate(self.keys_per_visit.saturating_sub(1));
        others
    }
}

impl Query {
    fn add(&mut self, key: &DhtId, node: NodeContact) {
        if !self.failed.contains(&node.node_id) {
            let distance = key.distance(&node.node_id);
            self.candidates.entry(distance).or_insert(Candidate {
                node,
                progress: Progress::Unvisited,
            });
            if self.candidates.len() > MAX_CANDIDATES_PER_QUERY {
                self.candidates.pop_last();
            }
        }
    }

    /// Distance of the nearest node in the beam that was not asked yet.
    fn next(&self, beam: usize) -> Option<Distance> {
        if self.finished || self.visits >= MAX_VISITS_PER_QUERY {
            return None;
        }
        let mut in_beam = self.candidates.iter().take(beam);
        in_beam
            .find(|(_, candidate)| candidate.progress == Progress::Unvisited)
            .map(|(distance, _)| *distance)
    }

    fn wants(&self, key: &DhtId, node_id: &DhtId) -> bool {
        let unvisited = |candidate: &Candidate| candidate.progress == Progress::Unvisited;
        !self.finished
            && self.visits < MAX_VISITS_PER_QUERY
            && !self.failed.contains(node_id)
            && self
                .candidates
                .get(&key.distance(node_id))
                .is_none_or(unvisited)
    }

    fn ask(&mut self, key: &DhtId, node: &NodeContact) {
        self.visits = self.visits.saturating_add(1);
        self.visits_under_way = self.visits_under_way.saturating_add(1);
        let asked = Candidate {
            node: node.clone(),
            progress: Progress::Asked,
        };
        self.candidates.insert(key.distance(&node.node_id), asked);
    }

    fn answer(&mut self, key: &DhtId, node: &NodeContact) {
        let answered = Candidate {
            node: node.clone(),
            progress: Progress::Answered,
        };
        self.candidates
            .insert(key.distance(&node.node_id), answered);
    }

    fn fail(&mut self, key: &DhtId, node_id: &DhtId) {
        self.candidates.remove(&key.distance(node_id));
        self.failed.insert(*node_id);
    }
}

#[cfg(test)]
mod tests;
