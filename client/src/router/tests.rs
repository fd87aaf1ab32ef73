#![allow(
    clippy::single_range_in_vec_init,
    reason = "runs of blocks: often there is one"
)]

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use block_network::PeerId;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::admission::admit;
use super::*;

/// A server that nothing is known of but its blocks.
pub(super) fn server(peer: PeerId, blocks: Range<usize>) -> Candidate {
    Candidate {
        peer,
        blocks,
        pace: Pace::Announced(None),
        round_trip: None,
        next_round_trips: Arc::default(),
        pushes: true,
        cache_tokens_left: None,
        ban: None,
    }
}

pub(super) fn peers<const N: usize>() -> [PeerId; N] {
    std::array::from_fn(|_| PeerId::random())
}

pub(super) fn fast(peer: PeerId, blocks: Range<usize>, rate: f64) -> Candidate {
    Candidate {
        pace: Pace::Announced(Some(rate)),
        ..server(peer, blocks)
    }
}

pub(super) fn at(round_trip: f64, candidate: Candidate) -> Candidate {
    Candidate {
        round_trip: Some(round_trip),
        ..candidate
    }
}

pub(super) fn knows(next: PeerId, round_trip: f64, candidate: Candidate) -> Candidate {
    Candidate {
        next_round_trips: Arc::new(HashMap::from([(next, round_trip)])),
        ..candidate
    }
}

/// Places in the list, and blocks; and the expected seconds of a step.
pub(super) fn quickest(
    request: &RouteRequest,
    candidates: &[Candidate],
) -> (Vec<(usize, Range<usize>)>, f64) {
    let entrants = admit(request, candidates).unwrap();
    let (stops, seconds) = latency::route(request, candidates, &entrants).unwrap();
    let stops = stops.into_iter();
    (
        stops.map(|stop| (stop.candidate, stop.blocks)).collect(),
        seconds,
    )
}

fn planned(
    request: &RouteRequest,
    candidates: &[Candidate],
) -> Result<Vec<(usize, Range<usize>)>, RouteError> {
    let stops = plan(request, candidates, 8, &mut StdRng::seed_from_u64(1))?;
    let stops = stops.into_iter();
    Ok(stops.map(|stop| (stop.candidate, stop.blocks)).collect())
}

pub(super) fn assert_seconds(got: f64, expected: f64) {
    assert!((got - expected).abs() < 1e-6, "{got} != {expected}");
}

pub(super) fn whole() -> RouteRequest {
    RouteRequest::new(0..8, 100)
}

#[test]
fn without_pushes_every_hop_is_a_round_trip_of_ours() {
    let [a, b] = peers();
    let mut candidates = [
        knows(b, 0.010, at(0.020, fast(a, 0..4, 400.0))),
        at(0.040, fast(b, 4..8, 400.0)),
    ];
    let relayed = 0.010 + 0.018 + 0.010 + 0.010 + 0.020 + 0.018 + 0.010 + 0.020;
    let request = RouteRequest {
        push: false,
        ..whole()
    };
    assert_seconds(quickest(&request, &candidates).1, relayed);
    candidates[0].pushes = false;
    assert_seconds(quickest(&whole(), &candidates).1, relayed);
}

#[test]
fn a_distant_pair_with_a_short_way_between_them_wins_only_with_pushes() {
    let [a, b, c, d] = peers();
    let candidates = [
        knows(b, 0.001, at(0.100, fast(a, 0..4, 1000.0))),
        at(0.100, fast(b, 4..8, 1000.0)),
        knows(d, 0.200, at(0.060, fast(c, 0..4, 1000.0))),
        at(0.060, fast(d, 4..8, 1000.0)),
    ];
    let used = |push| {
        let request = RouteRequest { push, ..whole() };
        let (stops, _) = quickest(&request, &candidates);
        stops
            .into_iter()
            .map(|(index, _)| index)
            .collect::<Vec<_>>()
    };
    assert_eq!(used(true), [0, 1]);
    assert_eq!(used(false), [2, 3]);
}

#[test]
fn what_was_measured_goes_before_what_was_claimed() {
    let [liar, honest] = peers();
    let mut candidates = [
        at(0.010, fast(liar, 0..8, f64::MAX)),
        at(0.010, fast(honest, 0..8, 500.0)),
    ];
    assert_eq!(quickest(&whole(), &candidates).0, [(0, 0..8)]);
    candidates[0].pace = Pace::Measured(Duration::from_millis(50));
    let (stops, _) = quickest(&whole(), &candidates);
    assert_eq!(stops, [(1, 0..8)]);
    candidates[1].pace = Pace::Measured(Duration::from_millis(4));
    // One way there and back, and eight blocks; the overhead is in the measurement.
    assert_seconds(quickest(&whole(), &candidates).1, 0.042);
}

#[test]
fn absurd_claims_give_finite_costs() {
    let [a] = peers();
    for absurd in [
        0.0,
        -5.0,
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::MIN_POSITIVE,
        f64::MAX,
    ] {
        let (stops, seconds) = quickest(&whole(), &[at(absurd, fast(a, 0..8, absurd))]);
        assert_eq!(stops, [(0, 0..8)]);
        assert!(seconds.is_finite() && seconds > 0.0, "{absurd}: {seconds}");
    }
}

#[test]
fn ties_go_to_fewer_servers_then_to_the_order() {
    let [a, b, c, d] = peers();
    let candidates = [
        server(b, 0..4),
        server(a, 0..4),
        server(c, 4..8),
        server(d, 4..8),
    ];
    assert_eq!(quickest(&whole(), &candidates).0, [(0, 0..4), (2, 4..8)]);
    let free = |peer, blocks| Candidate {
        pace: Pace::Measured(Duration::ZERO),
        ..at(0.0, server(peer, blocks))
    };
    let candidates = [knows(b, 0.0, free(a, 0..4)), free(b, 4..8), free(c, 0..8)];
    assert_eq!(quickest(&whole(), &candidates).0, [(2, 0..8)]);
}

#[test]
fn the_walk_takes_servers_by_their_length_and_hardly_ever_silent_ones() {
    let [long, short, silent, rest] = peers();
    let candidates = [
        server(long, 0..6),
        server(short, 0..2),
        at(f64::INFINITY, server(silent, 0..8)),
        server(rest, 2..8),
    ];
    let request = RouteRequest {
        mode: RouteMode::MaxThroughput,
        ..whole()
    };
    let mut random = StdRng::seed_from_u64(7);
    let mut first: BTreeMap<usize, usize> = BTreeMap::new();
    for _ in 0..4000 {
        let stops = plan(&request, &candidates, 8, &mut random).unwrap();
        assert_contiguous(&stops, &request.blocks);
        *first.entry(stops[0].candidate).or_default() += 1;
    }
    // Six blocks against two: three quarters.
    assert!((2900..3100).contains(&first[&0]), "{first:?}");
    assert!(!first.contains_key(&2));
}

pub(super) fn assert_contiguous(stops: &[Stop], blocks: &Range<usize>) {
    let mut block = blocks.start;
    for stop in stops {
        assert!(
            stop.blocks.start == block && stop.blocks.end > block,
            "{stops:?}"
        );
        block = stop.blocks.end;
    }
    assert_eq!(block, blocks.end, "{stops:?}");
}

#[test]
fn a_banned_server_is_out_at_once_and_back_only_where_nobody_else_is() {
    let [fast_one, slow, other] = peers();
    let mut candidates = [
        at(0.001, fast(fast_one, 0..8, 1000.0)),
        at(0.5, fast(slow, 0..8, 10.0)),
    ];
    assert_eq!(planned(&whole(), &candidates).unwrap(), [(0, 0..8)]);
    candidates[0].ban = Some(1);
    assert_eq!(planned(&whole(), &candidates).unwrap(), [(1, 0..8)]);
    candidates[1] = at(0.5, fast(other, 0..5, 10.0));
    assert_eq!(
        planned(&whole(), &candidates).unwrap(),
        [(1, 0..5), (0, 5..8)]
    );
}

#[test]
fn of_banned_servers_the_one_that_failed_less_comes_back_and_the_avoided_last() {
    let [a, b, c] = peers();
    let banned = |failures, candidate| Candidate {
        ban: Some(failures),
        ..candidate
    };
    let mut candidates = vec![
        banned(3, at(0.001, fast(a, 0..8, 1000.0))),
        banned(1, at(0.5, fast(b, 0..8, 10.0))),
    ];
    assert_eq!(planned(&whole(), &candidates).unwrap(), [(1, 0..8)]);
    let avoiding = RouteRequest {
        avoid: vec![b],
        ..whole()
    };
    assert_eq!(planned(&avoiding, &candidates).unwrap(), [(0, 0..8)]);
    candidates.push(fast(c, 2..4, 1.0));
    assert_eq!(
        planned(&avoiding, &candidates).unwrap(),
        [(0, 0..2), (2, 2..4), (0, 4..8)]
    );
    candidates.remove(0);
    assert_eq!(
        planned(&avoiding, &candidates).unwrap(),
        [(0, 0..2), (1, 2..4), (0, 4..8)]
    );
}

#[test]
fn lists_of_servers_are_obeyed_even_if_that_leaves_no_route() {
    let [a, b] = peers();
    let candidates = [fast(a, 0..8, 1000.0), fast(b, 0..5, 10.0)];
    let blocking = RouteRequest {
        blocked: vec![a],
        ..whole()
    };
    assert_eq!(
        planned(&blocking, &candidates),
        Err(RouteError::Uncovered {
            missing: vec![5..8]
        })
    );
    let allowing = RouteRequest {
        allowed: Some(vec![a]),
        ..whole()
    };
    assert_eq!(planned(&allowing, &candidates).unwrap(), [(0, 0..8)]);
}

#[test]
fn a_route_that_does_not_exist_says_what_is_missing_and_what_to_type() {
    let [a, b] = peers();
    let candidates = [server(a, 1..3), server(b, 5..7)];
    let error = planned(&whole(), &candidates).unwrap_err();
    assert_eq!(
        error.to_string(),
        "no server is online for blocks 0:1, 3:5, 7:8"
    );
    let hint = error.hint("models/m").unwrap();
    assert!(
        hint.starts_with("block-server --model models/m --blocks 0:1 --initial-peers ADDRESS; ")
    );
    for blocks in [0..9, 3..3] {
        let request = RouteRequest::new(blocks, 1);
        let error = planned(&request, &candidates).unwrap_err();
        assert!(matches!(error, RouteError::NoSuchBlocks { .. }));
    }
}

#[test]
fn pinned_servers_are_used_in_order_whatever_their_overlap() {
    let [a, b, c] = peers();
    let candidates = [server(a, 0..8), server(b, 2..6), server(c, 3..8)];
    let pinned = |peers: &[PeerId]| {
        let request = RouteRequest {
            pinned: Some(peers.to_vec()),
            ..whole()
        };
        planned(&request, &candidates)
    };
    assert_eq!(pinned(&[a]).unwrap(), [(0, 0..8)]);
    assert_eq!(
        pinned(&[a, b, c]).unwrap(),
        [(0, 0..5), (1, 5..6), (2, 6..8)]
    );
    assert_eq!(pinned(&[a, c]).unwrap(), [(0, 0..7), (2, 7..8)]);
    assert_eq!(pinned(&[a, a]).unwrap(), [(0, 0..7), (0, 7..8)]);
    for impossible in [&[b, c][..], &[a, b], &[], &[a; 9], &[PeerId::random()]] {
        let error = pinned(impossible).unwrap_err();
        assert!(matches!(error, RouteError::Pinned(_)), "{error}");
    }
}

/// A swarm as large as the largest known model with many servers, and one as large as an attacker makes it.
#[test]
fn large_swarms_are_routed_in_time() {
    let swarm = |servers: usize, blocks: usize, known: usize| -> Vec<Candidate> {
        let peers: Vec<_> = (0..servers).map(|_| PeerId::random()).collect();
        let candidate = |index: usize| {
            let start = (index * 31) % blocks;
            let end = (start + 1 + index % 12).min(blocks);
            let next = (0..known).map(|next| (peers[(index + next) % servers], 0.01));
            Candidate {
                next_round_trips: Arc::new(next.collect()),
                ..fast(peers[index], start..end, 100.0 + index as f64)
            }
        };
        (0..servers).map(candidate).collect()
    };
    let request = RouteRequest::new(0..126, 2048);
    for (servers, known, limit) in [(200, 10, 50), (4096, 64, 2000)] {
        let candidates = swarm(servers, 126, known);
        let began = Instant::now();
        let stops = plan(&request, &candidates, 126, &mut StdRng::seed_from_u64(1)).unwrap();
        let took = began.elapsed();
        assert_contiguous(&stops, &request.blocks);
        println!("{servers} servers: {took:?}");
        // Ten times what it takes here, since test machines are shared.
        assert!(took < Duration::from_millis(limit), "{servers}: {took:?}");
    }
}
