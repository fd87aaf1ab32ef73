//! The map as data: the model object that pages and monitors read, too.
//!
//! Field names follow Petals' announcement, so that nothing is renamed. A model is healthy when every block has an
//! online server that answers, else broken. `health` is green for a server that can take work; amber for one that is
//! coming, banned by this client, or out of cache; red for one that is gone or does not answer.

use std::collections::BTreeMap;

use block_client::{ServerStatus, ViewSnapshot};
use block_protocol::ServerState;
use serde::Serialize;

use super::{Contact, Contacts};

/// A model and its servers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct ModelTopology {
    /// As the user named it.
    pub(crate) id: String,
    pub(crate) dht_prefix: String,
    pub(crate) num_blocks: usize,
    pub(crate) state: ModelState,
    /// Blocks with an online server that answers.
    pub(crate) covered: usize,
    /// Runs of blocks without one: `12:20`.
    pub(crate) missing: Vec<String>,
    pub(crate) bottleneck: Bottleneck,
    pub(crate) servers: Vec<ServerRow>,
}

/// Whether a model can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ModelState {
    Healthy,
    Broken,
}

impl ModelState {
    /// For tables.
    pub(crate) const fn in_words(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Broken => "BROKEN",
        }
    }
}

/// Announced tokens per second, summed over the servers of the weakest block.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Bottleneck {
    pub(crate) inference: f64,
    pub(crate) forward: f64,
}

/// One server.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct ServerRow {
    pub(crate) peer_id: String,
    pub(crate) public_name: Option<String>,
    /// The program if it is ours, else the Petals version.
    pub(crate) version: Option<String>,
    /// `online`, `joining`, `offline` or `unreachable`.
    pub(crate) state: &'static str,
    pub(crate) start_block: usize,
    pub(crate) end_block: usize,
    pub(crate) throughput: f64,
    pub(crate) inference_rps: Option<f64>,
    pub(crate) forward_rps: Option<f64>,
    pub(crate) network_rps: Option<f64>,
    pub(crate) dtype: Option<String>,
    pub(crate) quant_type: Option<String>,
    pub(crate) adapters: Vec<String>,
    pub(crate) using_relay: Option<bool>,
    pub(crate) cache_tokens_left: Option<u64>,
    /// Seconds; `null` for a server that it could not reach.
    pub(crate) next_pings: BTreeMap<String, Option<f64>>,
    /// `green`, `amber` or `red`.
    pub(crate) health: &'static str,
    /// Packings of activations that it lists.
    pub(crate) codecs: Vec<String>,
    /// Multiaddrs that it tells of.
    pub(crate) addresses: Vec<String>,
    /// Round trip from here, milliseconds.
    pub(crate) rtt_ms: Option<f64>,
}

impl ModelTopology {
    /// The model `id` as a view and its servers show it.
    pub(crate) fn new(id: &str, snapshot: &ViewSnapshot, contacts: &Contacts) -> Self {
        let unknown = Contact::default();
        let servers: Vec<ServerRow> = snapshot
            .servers
            .iter()
            .map(|server| {
                let contact = contacts.get(&server.peer.to_string());
                ServerRow::new(server, contact.unwrap_or(&unknown))
            })
            .collect();
        let blocks = 0..snapshot.num_blocks;
        let missing: Vec<usize> = blocks
            .filter(|block| !servers.iter().any(|server| server.offers(*block)))
            .collect();
        Self {
            id: id.to_owned(),
            dht_prefix: snapshot.dht_prefix.clone(),
            num_blocks: snapshot.num_blocks,
            state: if missing.is_empty() {
                ModelState::Healthy
            } else {
                ModelState::Broken
            },
            covered: snapshot.num_blocks - missing.len(),
            missing: runs(&missing),
            bottleneck: Bottleneck {
                inference: weakest(snapshot.num_blocks, &servers, |server| server.inference_rps),
                forward: weakest(snapshot.num_blocks, &servers, |server| server.forward_rps),
            },
            servers,
        }
    }
}

impl ServerRow {
    fn new(server: &ServerStatus, contact: &Contact) -> Self {
        let info = &server.info;
        let answers = contact.rtt.is_some();
        let state = match (server.state, answers) {
            (ServerState::Offline, _) => "offline",
            (ServerState::Joining, true) => "joining",
            (ServerState::Online, true) => "online",
            (ServerState::Joining | ServerState::Online, false) => "unreachable",
        };
        let is_full = info.cache_tokens_left == Some(0);
        let health = match state {
            "online" if !is_full && server.banned_for.is_none() => "green",
            "online" | "joining" => "amber",
            _ => "red",
        };
        let finite = |seconds: f64| seconds.is_finite().then_some(seconds);
        Self {
            peer_id: server.peer.to_string(),
            public_name: info.public_name.clone(),
            version: info.implementation.clone().or_else(|| info.version.clone()),
            state,
            start_block: server.blocks.start,
            end_block: server.blocks.end,
            throughput: server.throughput,
            inference_rps: info.inference_rps,
            forward_rps: info.forward_rps,
            network_rps: info.network_rps,
            dtype: info.torch_dtype.clone(),
            quant_type: info.quant_type.clone(),
            adapters: info.adapters.clone(),
            using_relay: info.using_relay,
            cache_tokens_left: info.cache_tokens_left,
            next_pings: info
                .next_pings
                .iter()
                .map(|(peer, seconds)| (peer.clone(), finite(*seconds)))
                .collect(),
            health,
            codecs: info.codecs.clone(),
            addresses: contact.addresses.clone(),
            rtt_ms: contact.rtt.map(|rtt| rtt.as_micros() as f64 / 1e3),
        }
    }

    /// Whether a block can be run here.
    pub(crate) fn offers(&self, block: usize) -> bool {
        self.state == "online" && (self.start_block..self.end_block).contains(&block)
    }
}

/// The sum of a rate over the servers of the block where it is least.
fn weakest(
    num_blocks: usize,
    servers: &[ServerRow],
    rate: impl Fn(&ServerRow) -> Option<f64>,
) -> f64 {
    (0..num_blocks)
        .map(|block| {
            let offering = servers.iter().filter(|server| server.offers(block));
            // Not `sum`: that of nothing is minus zero.
            offering.filter_map(&rate).fold(0.0, |sum, rate| sum + rate)
        })
        .min_by(f64::total_cmp)
        .unwrap_or_default()
}

/// Runs of consecutive numbers, half open: `3:5`.
fn runs(blocks: &[usize]) -> Vec<String> {
    blocks
        .chunk_by(|left, right| left + 1 == *right)
        .filter_map(|run| Some(format!("{}:{}", run.first()?, run.last()? + 1)))
        .collect()
}

#[cfg(test)]
mod tests;
