//! What is new in a topology; pure.

use std::sync::Arc;

use block_client::topology::{Bottleneck, ModelState, ModelTopology, ServerRow};
use serde::Serialize;

use super::Topology;

/// Something that is new.
#[derive(Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub(super) enum Change<'a> {
    /// A server as it is now, or as it was when it was seen last.
    Server {
        model: &'a str,
        server: &'a ServerRow,
        removed: bool,
    },
    /// What a route through the model finds.
    Model {
        model: &'a str,
        state: ModelState,
        covered: usize,
        missing: &'a [String],
        bottleneck: Bottleneck,
    },
    /// Everything: models came or went.
    Topology,
}

impl Change<'_> {
    /// Its name as an event.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Server { .. } => "server",
            Self::Model { .. } => "model",
            Self::Topology => "topology",
        }
    }
}

/// The changes from `old` to `new`.
pub(super) fn between<'a>(old: &'a Topology, new: &'a Topology) -> Vec<Change<'a>> {
    let is_same = |(old, new): (&ModelTopology, &ModelTopology)| {
        (&old.id, &old.dht_prefix, old.num_blocks) == (&new.id, &new.dht_prefix, new.num_blocks)
    };
    let has_same_models = old.models.len() == new.models.len()
        && old.models.iter().zip(&new.models).all(is_same)
        && old.bootstrap == new.bootstrap
        && old.listen_addresses == new.listen_addresses;
    if !has_same_models {
        return vec![Change::Topology];
    }
    let models = old.models.iter().zip(&new.models);
    models.flat_map(|(old, new)| of_model(old, new)).collect()
}

fn of_model<'a>(old: &'a ModelTopology, new: &'a ModelTopology) -> Vec<Change<'a>> {
    let model = new.id.as_str();
    let mut changes = Vec::new();
    for server in &new.servers {
        if row(old, &server.peer_id) != Some(server) {
            changes.push(Change::Server {
                model,
                server,
                removed: false,
            });
        }
    }
    for server in &old.servers {
        if row(new, &server.peer_id).is_none() {
            changes.push(Change::Server {
                model,
                server,
                removed: true,
            });
        }
    }
    let summary = |of: &'a ModelTopology| Change::Model {
        model,
        state: of.state,
        covered: of.covered,
        missing: &of.missing,
        bottleneck: of.bottleneck,
    };
    if summary(old) != summary(new) {
        changes.push(summary(new));
    }
    changes
}

/// `new`, or `old` itself if nothing of it has changed. Round trips that tremble are not news.
pub(super) fn keep_unchanged(old: Arc<Topology>, mut new: Topology) -> Arc<Topology> {
    for model in &mut new.models {
        let Some(before) = old.models.iter().find(|old| old.id == model.id) else {
            continue;
        };
        for server in &mut model.servers {
            let was = row(before, &server.peer_id).and_then(|row| row.rtt_ms);
            if let (Some(was), Some(is)) = (was, server.rtt_ms)
                && (is - was).abs() <= (was * TREMBLE).max(TREMBLE_MS)
            {
                server.rtt_ms = Some(was);
            }
        }
    }
    if *old == new { old } else { Arc::new(new) }
}

fn row<'a>(model: &'a ModelTopology, peer_id: &str) -> Option<&'a ServerRow> {
    model.servers.iter().find(|row| row.peer_id == peer_id)
}

/// By which part a round trip has to change to be news.
const TREMBLE: f64 = 0.5;
/// By how much at least, in milliseconds.
const TREMBLE_MS: f64 = 10.0;
