//! Who serves which blocks, from the records found in the DHT. Pure.
//!
//! Matches petals 22afba6, `utils/dht.py` (`compute_spans`): of a peer's records under different blocks the one with
//! the highest state counts; its announced span, clamped to the model, goes before the blocks it was found under.

mod reading;

use std::collections::BTreeMap;
use std::ops::Range;

use block_protocol::{ServerInfo, ServerRecord, ServerState};

pub use reading::Reading;

/// Valid records by block number, then by peer id in base58.
pub type Records = BTreeMap<usize, BTreeMap<String, ServerRecord>>;

/// One server and the run of blocks it offers.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerSpan {
    /// Peer id in base58.
    pub peer_id: String,
    /// Blocks offered, inside the model.
    pub blocks: Range<usize>,
    /// Whether it can be used, or is only coming.
    pub state: ServerState,
    /// What it announced as its throughput: see the record.
    pub throughput: f64,
    /// The rest of its record.
    pub info: ServerInfo,
}

/// The spans of all servers that are at least in `lowest` state, in order of peer ids. Routes take `Online`; the
/// choice of blocks counts `Joining`, too. Spans without a block of the model are left out.
#[must_use]
pub fn server_spans(records: &Records, num_blocks: usize, lowest: ServerState) -> Vec<ServerSpan> {
    let mut spans: BTreeMap<&str, ServerSpan> = BTreeMap::new();
    for (&block, servers) in records.range(..num_blocks) {
        for (peer_id, record) in servers {
            if record.state < lowest {
                continue;
            }
            match spans.get_mut(peer_id.as_str()) {
                Some(known) if known.state > record.state => {}
                Some(known) if known.state == record.state => {
                    known.blocks.end = known.blocks.end.max(block + 1);
                }
                Some(_) | None => {
                    spans.insert(peer_id, span_of(peer_id, block, record, num_blocks));
                }
            }
        }
    }
    spans
        .into_values()
        .filter(|span| !span.blocks.is_empty())
        .collect()
}

fn span_of(peer_id: &str, block: usize, record: &ServerRecord, num_blocks: usize) -> ServerSpan {
    let blocks = match record.info.span {
        Some(span) => span.start()..span.end().min(num_blocks),
        None => block..block + 1,
    };
    ServerSpan {
        peer_id: peer_id.to_owned(),
        blocks,
        state: record.state,
        throughput: record.throughput,
        info: record.info.clone(),
    }
}

/// The blocks that no server of `spans` offers.
#[must_use]
pub fn uncovered_blocks(spans: &[ServerSpan], num_blocks: usize) -> Vec<usize> {
    (0..num_blocks)
        .filter(|block| !spans.iter().any(|span| span.blocks.contains(block)))
        .collect()
}

#[cfg(test)]
mod tests {
    use block_protocol::Span;

    use super::*;

    fn record(state: ServerState, span: Option<(usize, usize)>) -> ServerRecord {
        ServerRecord {
            state,
            throughput: 1.0,
            info: ServerInfo {
                span: span.map(|(start, end)| Span::new(start, end).unwrap()),
                ..ServerInfo::default()
            },
        }
    }

    fn records(entries: &[(usize, &str, ServerRecord)]) -> Records {
        let mut records = Records::new();
        for (block, peer, record) in entries {
            let servers = records.entry(*block).or_default();
            servers.insert((*peer).to_owned(), record.clone());
        }
        records
    }

    fn blocks(records: &Records, lowest: ServerState) -> Vec<(String, Range<usize>)> {
        server_spans(records, 8, lowest)
            .into_iter()
            .map(|span| (span.peer_id, span.blocks))
            .collect()
    }

    #[test]
    fn one_server_under_many_blocks_is_one_span() {
        use ServerState::Online;
        let found = records(&[
            (0, "a", record(Online, Some((0, 3)))),
            (1, "a", record(Online, Some((0, 3)))),
            (2, "b", record(Online, None)),
            (3, "b", record(Online, None)),
            (7, "c", record(Online, Some((6, 20)))),
        ]);
        assert_eq!(
            blocks(&found, Online),
            [
                ("a".to_owned(), 0..3),
                ("b".to_owned(), 2..4),
                ("c".to_owned(), 6..8)
            ]
        );
        let spans = server_spans(&found, 8, Online);
        assert_eq!(uncovered_blocks(&spans, 8), [4, 5]);
    }

    #[test]
    fn the_highest_state_counts_and_low_ones_are_left_out() {
        use ServerState::{Joining, Offline, Online};
        let found = records(&[
            (0, "a", record(Joining, Some((0, 2)))),
            (1, "a", record(Online, Some((1, 4)))),
            (2, "a", record(Offline, Some((0, 8)))),
            (3, "b", record(Joining, Some((3, 5)))),
            (4, "c", record(Offline, Some((4, 5)))),
        ]);
        assert_eq!(blocks(&found, Online), [("a".to_owned(), 1..4)]);
        assert_eq!(
            blocks(&found, Joining),
            [("a".to_owned(), 1..4), ("b".to_owned(), 3..5)]
        );
    }

    #[test]
    fn spans_outside_the_model_are_left_out() {
        let found = records(&[
            (0, "a", record(ServerState::Online, Some((100, 120)))),
            (9, "b", record(ServerState::Online, Some((0, 8)))),
        ]);
        assert_eq!(blocks(&found, ServerState::Online), []);
    }
}
