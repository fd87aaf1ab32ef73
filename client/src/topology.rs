//! The map as data: the model object that pages and monitors read, too.
//!
//! Field names follow Petals' announcement, so that nothing is renamed. A model is healthy when every block has an
//! online server that answers, else broken. `health` is green for a server that can take work; amber for one that is
//! coming, banned by this client, or out of cache; red for one that is gone or does not answer.
//!
//! What servers write of themselves is cut to a length that fits a page, without what could move a cursor or turn text
//! round; it is still to be shown as text and never as markup.

mod contact;

use std::collections::BTreeMap;

use block_protocol::ServerState;
use serde::Serialize;

use crate::model_view::{ServerStatus, ViewSnapshot};

pub use contact::{Asking, Contact, Contacts, ask, ping};

/// A model and its servers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ModelTopology {
    /// As the user named it.
    pub id: String,
    /// Key prefix of its blocks.
    pub dht_prefix: String,
    /// Blocks of the whole model.
    pub num_blocks: usize,
    /// Whether it can be used.
    pub state: ModelState,
    /// Blocks with an online server that answers.
    pub covered: usize,
    /// Runs of blocks without one: `12:20`.
    pub missing: Vec<String>,
    /// What its weakest block can do.
    pub bottleneck: Bottleneck,
    /// Every server with a live record.
    pub servers: Vec<ServerRow>,
}

/// Whether a model can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ModelState {
    /// Every block has a server.
    Healthy,
    /// At least one has none.
    Broken,
}

impl ModelState {
    /// For tables.
    #[must_use]
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Broken => "BROKEN",
        }
    }
}

/// Announced tokens per second, summed over the servers of the weakest block.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Bottleneck {
    /// One at a time, as in generation.
    pub inference: f64,
    /// Many at a time.
    pub forward: f64,
}

/// One server.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ServerRow {
    /// Who it is.
    pub peer_id: String,
    /// What it calls itself.
    pub public_name: Option<String>,
    /// The program if it is ours, else the Petals version.
    pub version: Option<String>,
    /// `online`, `joining`, `offline` or `unreachable`.
    pub state: &'static str,
    /// First block that it serves.
    pub start_block: usize,
    /// The block after the last.
    pub end_block: usize,
    /// Tokens per second, as announced.
    pub throughput: f64,
    /// Of one block, one token at a time.
    pub inference_rps: Option<f64>,
    /// Of one block, many tokens at a time.
    pub forward_rps: Option<f64>,
    /// What its line can carry.
    pub network_rps: Option<f64>,
    /// Of its arithmetic.
    pub dtype: Option<String>,
    /// Of its weights.
    pub quant_type: Option<String>,
    /// Adapters that it has.
    pub adapters: Vec<String>,
    /// Whether others reach it through a relay.
    pub using_relay: Option<bool>,
    /// Room for more sessions.
    pub cache_tokens_left: Option<u64>,
    /// Seconds; `null` for a server that it could not reach.
    pub next_pings: BTreeMap<String, Option<f64>>,
    /// `green`, `amber` or `red`.
    pub health: &'static str,
    /// Packings of activations that it lists.
    pub codecs: Vec<String>,
    /// Multiaddrs that it tells of.
    pub addresses: Vec<String>,
    /// Round trip from here, milliseconds.
    pub rtt_ms: Option<f64>,
}

impl ModelTopology {
    /// The model `id` as a view and its servers show it.
    #[must_use]
    pub fn new(id: &str, snapshot: &ViewSnapshot, contacts: &Contacts) -> Self {
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
            public_name: info.public_name.as_deref().map(plain),
            version: info
                .implementation
                .as_deref()
                .or(info.version.as_deref())
                .map(plain),
            state,
            start_block: server.blocks.start,
            end_block: server.blocks.end,
            throughput: server.throughput,
            inference_rps: info.inference_rps,
            forward_rps: info.forward_rps,
            network_rps: info.network_rps,
            dtype: info.torch_dtype.as_deref().map(plain),
            quant_type: info.quant_type.as_deref().map(plain),
            adapters: plain_list(&info.adapters),
            using_relay: info.using_relay,
            cache_tokens_left: info.cache_tokens_left,
            next_pings: info
                .next_pings
                .iter()
                .take(MAX_LISTED)
                .map(|(peer, seconds)| (plain(peer), finite(*seconds)))
                .collect(),
            health,
            codecs: plain_list(&info.codecs),
            addresses: contact.addresses.clone(),
            rtt_ms: contact.rtt.map(|rtt| rtt.as_micros() as f64 / 1e3),
        }
    }

    /// Whether a block can be run here.
    #[must_use]
    pub fn offers(&self, block: usize) -> bool {
        self.state == "online" && (self.start_block..self.end_block).contains(&block)
    }
}

/// A stranger's text, cut to a length that fits a page, without control characters and marks of direction.
fn plain(text: &str) -> String {
    let turns_text = |c: char| matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}');
    text.chars()
        .filter(|c| !c.is_control() && !turns_text(*c))
        .take(MAX_CHARS)
        .collect()
}

fn plain_list(texts: &[String]) -> Vec<String> {
    let texts = texts.iter().take(MAX_LISTED);
    texts.map(|text| plain(text)).collect()
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

/// Longest text of a server, in characters: a peer id has 52.
const MAX_CHARS: usize = 64;
/// Most adapters, packings or pings of a server.
const MAX_LISTED: usize = 64;

#[cfg(test)]
mod tests;
