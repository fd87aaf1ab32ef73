//! Vectors made by running Petals' own code (main of 2024-08-25) with made-up records.

use proptest::prelude::*;

use super::*;

/// A span of one of the vectors, written as they are: `A 0:4@10`.
fn holding(text: &str) -> Holding {
    let (_, text) = text.split_once(' ').unwrap();
    let (span, throughput) = text.split_once('@').unwrap();
    let (start, end) = span.split_once(':').unwrap();
    Holding {
        blocks: start.parse().unwrap()..end.parse().unwrap(),
        throughput: throughput.parse().unwrap(),
    }
}

fn holdings(texts: &[&str]) -> Vec<Holding> {
    texts.iter().map(|text| holding(text)).collect()
}

fn chosen(num_blocks: usize, count: usize, servers: &[&str]) -> Range<usize> {
    let throughputs = block_throughputs(&holdings(servers), num_blocks);
    let start = weakest_start(&throughputs, count);
    start..start + count
}

/// Whether the first server should move; the answer of every vector is the same in any order.
fn moves(servers: &[&str], quality: f64) -> bool {
    moves_as(0, servers, quality)
}

fn moves_as(own: usize, servers: &[&str], quality: f64) -> bool {
    let holdings = holdings(servers);
    let forwards = better_start(&holdings, own, 8, quality, &mut |_| {});
    let backwards = better_start(&holdings, own, 8, quality, &mut <[usize]>::reverse);
    assert_eq!(forwards, backwards);
    forwards.is_some()
}

#[test]
fn a_new_server_begins_where_petals_would() {
    assert_eq!(chosen(8, 3, &[]), 0..3);
    assert_eq!(chosen(8, 4, &["A 0:4@10"]), 4..8);
    assert_eq!(chosen(8, 3, &["A 0:4@10", "B 4:8@5"]), 4..7);
    assert_eq!(chosen(8, 4, &["A 0:4@10", "B 2:8@5"]), 4..8);
    // JOINING counts, OFFLINE does not: it is not in the list at all.
    assert_eq!(chosen(8, 3, &["A 0:5@10"]), 5..8);
    let three = ["A 0:6@10", "B 6:12@10", "C 3:9@1"];
    assert_eq!(chosen(12, 5, &three), 0..5);
}

#[test]
fn a_running_server_moves_when_petals_would() {
    assert!(moves(&["A 0:4@10", "B 0:4@10"], 0.75));
    assert!(!moves(&["A 0:4@10", "B 0:4@10"], 0.0));
    assert!(!moves(&["A 0:4@10", "B 4:8@10"], 0.75));
    assert!(moves(&["A 0:4@10", "B 4:8@10"], 1.1));
    let with_c_at = |c: &'static str| ["A 0:4@10", "B 0:4@10", c];
    assert!(moves(&with_c_at("C 4:8@5"), 0.75));
    assert!(!moves(&with_c_at("C 4:8@9"), 0.75));
    assert!(!moves_as(2, &with_c_at("C 4:8@5"), 0.75));
    let four = ["A 0:4@10", "B 0:4@10", "C 0:4@10", "D 4:8@10"];
    for own in 0..3 {
        assert!(moves_as(own, &four, 0.75));
    }
}

#[test]
fn a_server_goes_to_the_weakest_blocks() {
    let two = holdings(&["A 0:4@10", "B 0:4@10"]);
    assert_eq!(better_start(&two, 1, 8, 0.75, &mut |_| {}), Some(4));
    assert_eq!(better_start(&two, 2, 8, 0.75, &mut |_| {}), None);
}

#[test]
fn a_server_of_all_blocks_stays() {
    let two = holdings(&["A 0:8@10", "B 0:4@10"]);
    assert_eq!(better_start(&two, 0, 8, 0.75, &mut |_| {}), None);
    assert_eq!(chosen(8, 8, &["A 0:4@10"]), 0..8);
    assert_eq!(weakest_start(&[1.0, 0.0], 3), 0);
}

proptest! {
    /// Whatever strangers announce: an answer, and a span inside the model.
    #[test]
    fn any_swarm_gives_an_answer(
        servers in proptest::collection::vec((0usize..12, 0usize..12, prop_oneof![0.0..50.0, Just(f64::MAX)]), 1..12),
        num_blocks in 1usize..10,
        count in 1usize..12,
        quality in 0.0..1.2,
    ) {
        let holdings: Vec<_> = servers
            .into_iter()
            .map(|(start, len, throughput)| Holding { blocks: start..start + len, throughput })
            .collect();
        let throughputs = block_throughputs(&holdings, num_blocks);
        prop_assert!(throughputs.iter().all(|throughput| throughput.is_finite()));
        let count = count.min(num_blocks);
        prop_assert!(weakest_start(&throughputs, count) + count <= num_blocks);
        let own = Holding { blocks: 0..count, throughput: 10.0 };
        let all: Vec<_> = std::iter::once(own).chain(holdings).collect();
        if let Some(start) = better_start(&all, 0, num_blocks, quality, &mut <[usize]>::reverse) {
            prop_assert!(start + count <= num_blocks);
        }
    }
}
