//! What one live view of a model shows.
//!
//! Several views may live in one process, so what is not named after the model (versions, bans) is added up: a series
//! moves by the difference to what the same view has shown before, and falls back when the view is dropped.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use metrics::gauge;

use super::labels::{Label, RateKind, SeenState};

/// Most version texts that one process ever exports: servers choose them, and a series never goes away.
const MAX_VERSIONS: usize = 32;
/// Longest version text that is exported, bytes.
const MAX_VERSION_LENGTH: usize = 32;
/// Stands for versions over those limits.
const OTHER_VERSIONS: &str = "other";

/// What a refresh found out about a model.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ViewFigures {
    /// Servers by state; states that are not named have none.
    pub servers: Vec<(SeenState, usize)>,
    /// Blocks of the model.
    pub blocks: usize,
    /// Blocks with an online server.
    pub covered: usize,
    /// Online servers of the block that has fewest.
    pub replicas_min: usize,
    /// Announced tokens per second, summed over the servers of the weakest block, by kind.
    pub bottleneck: Vec<(RateKind, f64)>,
    /// Servers by announced version.
    pub versions: BTreeMap<String, usize>,
}

/// The series of one view. Dropping it sets them to zero.
#[derive(Debug)]
pub struct ViewSeries {
    model: String,
    versions: BTreeMap<String, usize>,
    banned: usize,
}

impl ViewSeries {
    /// The series of a view of `model`: its name as the user gave it, or its DHT prefix.
    #[must_use]
    pub fn new(model: String) -> Self {
        Self {
            model,
            versions: BTreeMap::new(),
            banned: 0,
        }
    }

    /// Shows what a refresh found.
    pub fn show(&mut self, figures: &ViewFigures) {
        for state in SeenState::ALL {
            let named = figures.servers.iter().filter(|(named, _)| named == state);
            let servers: usize = named.map(|(_, servers)| servers).sum();
            gauge!("swarm_servers", "model" => self.model.clone(), "state" => state.label())
                .set(servers as f64);
        }
        for (name, value) in [
            ("swarm_model_blocks", figures.blocks),
            ("swarm_model_blocks_covered", figures.covered),
            ("swarm_model_block_replicas_min", figures.replicas_min),
        ] {
            gauge!(name, "model" => self.model.clone()).set(value as f64);
        }
        for kind in RateKind::ALL {
            let named = figures.bottleneck.iter().find(|(named, _)| named == kind);
            gauge!(
                "swarm_model_bottleneck_tokens_per_second",
                "model" => self.model.clone(), "kind" => kind.label()
            )
            .set(named.map_or(0.0, |(_, rate)| *rate));
        }
        self.show_versions(&figures.versions);
    }

    /// Shows how many peers are banned now.
    pub fn show_banned(&mut self, peers: usize) {
        gauge!("block_client_banned_peers").increment(peers as f64 - self.banned as f64);
        self.banned = peers;
    }

    fn show_versions(&mut self, found: &BTreeMap<String, usize>) {
        static EXPORTED: Mutex<VersionLabels> = Mutex::new(VersionLabels(BTreeSet::new()));
        let mut shown: BTreeMap<String, usize> = BTreeMap::new();
        {
            let mut exported = EXPORTED.lock().unwrap_or_else(PoisonError::into_inner);
            for (version, servers) in found {
                *shown.entry(exported.label(version)).or_default() += servers;
            }
        }
        let labels: BTreeSet<&String> = self.versions.keys().chain(shown.keys()).collect();
        for label in labels {
            let before = self.versions.get(label).copied().unwrap_or_default();
            let now = shown.get(label).copied().unwrap_or_default();
            gauge!("swarm_servers_by_version", "version" => label.clone())
                .increment(now as f64 - before as f64);
        }
        self.versions = shown;
    }
}

impl Drop for ViewSeries {
    fn drop(&mut self) {
        self.show(&ViewFigures::default());
        self.show_banned(0);
    }
}

/// The version texts that this process exports.
#[derive(Debug, Default)]
struct VersionLabels(BTreeSet<String>);

impl VersionLabels {
    /// The text to export for an announced version.
    fn label(&mut self, version: &str) -> String {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b".+-_".contains(&byte);
        let is_fit =
            (1..=MAX_VERSION_LENGTH).contains(&version.len()) && version.bytes().all(is_plain);
        if is_fit && (self.0.contains(version) || self.0.len() < MAX_VERSIONS) {
            self.0.insert(version.to_owned());
            return version.to_owned();
        }
        OTHER_VERSIONS.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_cannot_grow_the_set_of_versions() {
        let mut labels = VersionLabels::default();
        for unfit in ["", "quote\" and\nnewline", "x".repeat(33).as_str()] {
            assert_eq!(labels.label(unfit), OTHER_VERSIONS);
        }
        let shown: BTreeSet<String> = (0..1000)
            .map(|number| labels.label(&format!("9.{number}")))
            .collect();
        assert_eq!(shown.len(), MAX_VERSIONS + 1);
        assert_eq!(labels.label("9.0"), "9.0");
        assert_eq!(labels.label("9.999"), OTHER_VERSIONS);
    }
}
