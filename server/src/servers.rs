//! Who serves what: the records of a model's blocks, put together server by server.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use block_network::{DhtError, unix_time};
use block_program::{Exit, Failure};
use block_protocol::dht::Dictionary;
use block_protocol::{ServerRecord, ServerState};

use crate::block_choice::Holding;
use crate::records::Records;

/// Every server announced under the model's blocks, by peer id in base58.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Servers(BTreeMap<String, Place>);

/// One server, by the record of its highest state.
#[derive(Debug, Clone, PartialEq)]
struct Place {
    state: ServerState,
    holding: Holding,
}

impl Servers {
    /// Reads the records of all blocks. Entries that do not decode are skipped, as Petals does.
    ///
    /// # Errors
    /// The DHT cannot be asked.
    pub(crate) async fn look_up(
        records: &impl Records,
        prefix: &str,
        num_blocks: usize,
    ) -> Result<Self, DhtError> {
        let keys = (0..num_blocks)
            .map(|block| format!("{prefix}.{block}"))
            .collect();
        let found = records.read(keys).await?;
        let mut servers = Self::default();
        for (block, entries) in found.into_iter().enumerate() {
            servers.add(block, &entries, num_blocks);
        }
        Ok(servers)
    }

    /// What the operator is told when the swarm cannot be asked.
    pub(crate) fn failure(error: &DhtError) -> Failure {
        Failure::new(Exit::Unavailable, "the swarm cannot be asked what it needs")
            .caused_by(error)
            .hint("try again, or choose with --blocks 0:20")
    }

    /// As [`Self::look_up`]; a DHT that cannot be asked has nobody, and a log line.
    pub(crate) async fn read(records: &impl Records, prefix: &str, num_blocks: usize) -> Self {
        Self::look_up(records, prefix, num_blocks)
            .await
            .unwrap_or_else(|error| {
                tracing::warn!(%error, "the other servers cannot be looked up");
                Self::default()
            })
    }

    /// Petals' rule for records that differ: the highest state counts, its own span beats the keys it stands under, and
    /// a further key of the same state at most lengthens it.
    fn add(&mut self, block: usize, entries: &Dictionary, num_blocks: usize) {
        let now = unix_time();
        for (peer_id, entry) in entries
            .text_entries()
            .filter(|(_, entry)| entry.expiration > now)
        {
            let Ok(record) = ServerRecord::decode(&entry.value) else {
                continue;
            };
            let blocks = record.info.span.map_or(block..block + 1, |span| {
                span.start().min(num_blocks)..span.end().min(num_blocks)
            });
            let place = Place {
                state: record.state,
                holding: Holding {
                    blocks,
                    throughput: record.throughput,
                },
            };
            match self.0.entry(peer_id.to_owned()) {
                Entry::Vacant(new) => {
                    new.insert(place);
                }
                Entry::Occupied(mut known) if known.get().state < place.state => {
                    known.insert(place);
                }
                Entry::Occupied(mut known) if known.get().state == place.state => {
                    let blocks = &mut known.get_mut().holding.blocks;
                    blocks.end = blocks.end.max(block + 1);
                }
                Entry::Occupied(_) => {}
            }
        }
    }

    /// Peer ids and spans of the online servers other than `own`.
    pub(crate) fn online_except<'a>(
        &'a self,
        own: &'a str,
    ) -> impl Iterator<Item = (&'a str, &'a Range<usize>)> {
        self.0
            .iter()
            .filter(move |(peer_id, place)| {
                place.state == ServerState::Online && peer_id.as_str() != own
            })
            .map(|(peer_id, place)| (peer_id.as_str(), &place.holding.blocks))
    }

    /// Online servers other than `own`.
    pub(crate) fn others(&self, own: &str) -> usize {
        self.online_except(own).count()
    }

    /// Blocks with an online server, `own_blocks` included.
    pub(crate) fn covered(&self, own: &str, own_blocks: &Range<usize>) -> usize {
        let others = self.online_except(own).flat_map(|(_, span)| span.clone());
        others
            .chain(own_blocks.clone())
            .collect::<BTreeSet<_>>()
            .len()
    }

    /// The first blocks that no online server has, `own_blocks` included.
    pub(crate) fn first_gap(
        &self,
        own: &str,
        own_blocks: &Range<usize>,
        num_blocks: usize,
    ) -> Option<Range<usize>> {
        let is_covered = |block: &usize| {
            let mut others = self.online_except(own);
            own_blocks.contains(block) || others.any(|(_, span)| span.contains(block))
        };
        let start = (0..num_blocks).find(|block| !is_covered(block))?;
        let end = (start..num_blocks).find(is_covered).unwrap_or(num_blocks);
        Some(start..end)
    }

    /// What all servers bring that serve or are about to, in the order of their peer ids.
    pub(crate) fn holdings(&self) -> Vec<Holding> {
        self.balanced()
            .map(|(_, holding)| holding.clone())
            .collect()
    }

    /// As [`Self::holdings`], without `own`.
    pub(crate) fn holdings_except(&self, own: &str) -> Vec<Holding> {
        self.balanced()
            .filter(|(peer_id, _)| *peer_id != own)
            .map(|(_, holding)| holding.clone())
            .collect()
    }

    /// As [`Self::holdings`], with `mine` in the place of `own`, and its number in the list.
    pub(crate) fn holdings_with(&self, own: &str, mine: Holding) -> (Vec<Holding>, usize) {
        let before = self
            .balanced()
            .filter(|(peer_id, _)| *peer_id < own)
            .count();
        let mut holdings = self.holdings_except(own);
        holdings.insert(before, mine);
        (holdings, before)
    }

    fn balanced(&self) -> impl Iterator<Item = (&str, &Holding)> {
        self.0
            .iter()
            .filter(|(_, place)| place.state >= ServerState::Joining)
            .map(|(peer_id, place)| (peer_id.as_str(), &place.holding))
    }

    /// A swarm without a DHT.
    #[cfg(test)]
    pub(crate) fn made_up(entries: &[(&str, ServerState, Range<usize>)]) -> Self {
        let place = |state: &ServerState, blocks: &Range<usize>| Place {
            state: *state,
            holding: Holding {
                blocks: blocks.clone(),
                throughput: 10.0,
            },
        };
        Self(
            entries
                .iter()
                .map(|(id, state, span)| ((*id).to_owned(), place(state, span)))
                .collect(),
        )
    }
}

#[cfg(test)]
mod tests {
    use block_protocol::dht::{DictionaryEntry, text_subkey};
    use block_protocol::{ServerInfo, Span};

    use super::*;
    use crate::block_choice::{block_throughputs, weakest_start};

    /// A record of `peer_id` with a throughput of 10, as it stands under the key of a block.
    fn record(peer_id: &str, state: ServerState, span: Option<Range<usize>>) -> Dictionary {
        let record = ServerRecord {
            state,
            throughput: 10.0,
            info: ServerInfo {
                span: span.map(|span| Span::new(span.start, span.end).unwrap()),
                ..ServerInfo::default()
            },
        };
        let entry = DictionaryEntry {
            value: record.encode().unwrap().into(),
            expiration: unix_time() + 60.0,
        };
        let mut dictionary = Dictionary::default();
        dictionary.insert_fresher(text_subkey(peer_id), entry);
        dictionary
    }

    fn read(records: &[(usize, Dictionary)]) -> Servers {
        let mut servers = Servers::default();
        for (block, entries) in records {
            servers.add(*block, entries, 8);
        }
        servers
    }

    fn start_for(servers: &Servers, count: usize) -> usize {
        let throughputs = block_throughputs(&servers.holdings_except("own"), 8);
        weakest_start(&throughputs, count)
    }

    #[test]
    fn joining_servers_count_for_the_choice_and_leaving_ones_do_not() {
        let under_each_key = |state| -> Vec<_> {
            (0..5)
                .map(|block| (block, record("A", state, Some(0..5))))
                .collect()
        };
        let joining = read(&under_each_key(ServerState::Joining));
        assert_eq!(start_for(&joining, 3), 5);
        let offline = read(&under_each_key(ServerState::Offline));
        assert_eq!(start_for(&offline, 3), 0);
        assert_eq!(offline.holdings_except("own"), []);
    }

    #[test]
    fn the_highest_state_counts_and_its_own_span_beats_the_keys() {
        let servers = read(&[
            (0, record("A", ServerState::Offline, Some(0..4))),
            (4, record("A", ServerState::Online, Some(4..80))),
            (5, record("A", ServerState::Joining, Some(5..6))),
            (1, record("B", ServerState::Online, None)),
            (2, record("B", ServerState::Online, None)),
        ]);
        let spans: Vec<_> = servers.online_except("own").collect();
        assert_eq!(spans, [("A", &(4..8)), ("B", &(1..3))]);
    }

    #[test]
    fn what_this_server_itself_once_announced_is_replaced() {
        let servers = read(&[
            (0, record("a", ServerState::Online, Some(0..4))),
            (0, record("own", ServerState::Online, Some(0..4))),
            (4, record("z", ServerState::Joining, Some(4..8))),
        ]);
        assert_eq!(servers.holdings_except("own").len(), 2);
        let mine = Holding {
            blocks: 2..3,
            throughput: 1.0,
        };
        let (holdings, own) = servers.holdings_with("own", mine.clone());
        assert_eq!((holdings.len(), own, &holdings[own]), (3, 1, &mine));
    }

    #[test]
    fn the_view_counts_online_servers_and_covered_blocks() {
        let view = Servers::made_up(&[
            ("own", ServerState::Online, 0..4),
            ("a", ServerState::Online, 4..6),
            ("b", ServerState::Joining, 6..8),
        ]);
        assert_eq!(view.others("own"), 1);
        assert_eq!(view.covered("own", &(0..4)), 6);
        assert_eq!(Servers::default().covered("own", &(0..4)), 4);
        assert_eq!(view.first_gap("own", &(0..4), 8), Some(6..8));
        assert_eq!(view.first_gap("own", &(5..8), 8), Some(0..4));
        assert_eq!(view.first_gap("own", &(2..3), 8), Some(0..2));
        assert_eq!(view.first_gap("own", &(0..8), 8), None);
    }
}
