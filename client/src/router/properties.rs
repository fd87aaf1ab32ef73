//! Random swarms: the search against the plain enumeration of every route.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use block_network::PeerId;
use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::admission::{Entrant, admit};
use super::candidate::unknown_delay;
use super::tests::{assert_contiguous, server};
use super::*;

const BLOCKS: usize = 7;

fn a_time() -> impl Strategy<Value = Option<f64>> {
    prop_oneof![
        3 => (0.0..0.4_f64).prop_map(Some),
        1 => Just(None),
        1 => prop::sample::select(vec![f64::INFINITY, f64::NAN, -1.0, 1e300, 0.0]).prop_map(Some),
    ]
}

fn a_pace() -> impl Strategy<Value = Pace> {
    prop_oneof![
        (0_u64..500).prop_map(|milliseconds| Pace::Measured(Duration::from_millis(milliseconds))),
        a_time().prop_map(|claim| Pace::Announced(claim.map(|claim| claim * 1e4))),
    ]
}

fn a_server() -> impl Strategy<Value = (Candidate, Vec<Option<f64>>)> {
    (
        (0..BLOCKS, 1..=BLOCKS),
        a_pace(),
        a_time(),
        prop::option::of(0_u64..3000),
        prop::option::weighted(0.2, 1_u32..4),
        any::<bool>(),
        prop::collection::vec(a_time(), 6),
    )
        .prop_map(
            |((start, len), pace, round_trip, cache, ban, pushes, next)| {
                let blocks = start..(start + len).min(BLOCKS);
                let candidate = Candidate {
                    pace,
                    round_trip,
                    cache_tokens_left: cache,
                    ban,
                    pushes,
                    ..server(PeerId::random(), blocks)
                };
                (candidate, next)
            },
        )
}

/// Up to six servers that know some of their distances.
fn a_swarm() -> impl Strategy<Value = Vec<Candidate>> {
    prop::collection::vec(a_server(), 1..=6).prop_map(|servers| {
        let peers: Vec<_> = servers.iter().map(|(server, _)| server.peer).collect();
        servers
            .into_iter()
            .map(|(server, next)| {
                let known = peers.iter().zip(next);
                let known = known.filter_map(|(peer, time)| Some((*peer, time?)));
                let known: HashMap<_, _> = known.collect();
                Candidate {
                    next_round_trips: Arc::new(known),
                    ..server
                }
            })
            .collect()
    })
}

/// The least seconds of any route that goes on from `block`, having left `before`.
fn cheapest(
    request: &RouteRequest,
    candidates: &[Candidate],
    entrants: &[Entrant],
    block: usize,
    before: Option<usize>,
) -> Option<f64> {
    if block == request.blocks.end {
        return before.map(|before| candidates[entrants[before].candidate].delay());
    }
    let mut best: Option<f64> = None;
    for (index, entrant) in entrants.iter().enumerate() {
        if !entrant.blocks.contains(&block) {
            continue;
        }
        let next = &candidates[entrant.candidate];
        let way = match before.map(|before| &candidates[entrants[before].candidate]) {
            None => next.delay(),
            Some(last) if request.push && last.pushes => {
                last.delay_to(&next.peer).unwrap_or(unknown_delay())
            }
            Some(last) => last.delay() + next.delay(),
        };
        let run = entrant.blocks.end - block;
        let needed = 2 * request.max_length as u64 * request.batch as u64;
        let here =
            way + next.entry_cost(needed, run) + entrant.penalty + next.block_cost() * run as f64;
        let rest = cheapest(
            request,
            candidates,
            entrants,
            entrant.blocks.end,
            Some(index),
        );
        let Some(rest) = rest else { continue };
        best = Some(best.map_or(here + rest, |best| best.min(here + rest)));
    }
    best
}

proptest! {
    #[test]
    fn the_search_finds_what_enumeration_finds(
        candidates in a_swarm(),
        start in 0..BLOCKS,
        len in 1..=BLOCKS,
        push in any::<bool>(),
        max_length in 0_usize..300,
    ) {
        let blocks = start..(start + len).min(BLOCKS);
        let request = RouteRequest { push, ..RouteRequest::new(blocks.clone(), max_length) };
        let Ok(entrants) = admit(&request, &candidates) else {
            // Not even those who are banned cover it.
            let covers = |block| candidates.iter().any(|server| server.blocks.contains(&block));
            prop_assert!(!blocks.into_iter().all(covers));
            return Ok(());
        };
        let expected = cheapest(&request, &candidates, &entrants, blocks.start, None);
        let found = latency::route(&request, &candidates, &entrants);
        prop_assert!(expected.is_some() && found.is_some());
        let (stops, seconds) = found.unwrap();
        prop_assert!((seconds - expected.unwrap()).abs() <= 1e-9 * seconds.max(1.0));
        assert_contiguous(&stops, &blocks);
        let again = latency::route(&request, &candidates, &entrants);
        prop_assert_eq!(again, Some((stops, seconds)));
    }

    #[test]
    fn routes_keep_to_what_servers_offer_and_to_the_lists(
        candidates in a_swarm(),
        blocked in prop::collection::vec(any::<prop::sample::Index>(), 0..2),
        avoided in prop::collection::vec(any::<prop::sample::Index>(), 0..3),
        throughput in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let pick = |chosen: &[prop::sample::Index]| -> Vec<PeerId> {
            chosen.iter().map(|index| index.get(&candidates).peer).collect()
        };
        let request = RouteRequest {
            blocked: pick(&blocked),
            avoid: pick(&avoided),
            mode: if throughput { RouteMode::MaxThroughput } else { RouteMode::MinLatency },
            ..RouteRequest::new(0..BLOCKS, 10)
        };
        let mut random = StdRng::seed_from_u64(seed);
        let Ok(stops) = plan(&request, &candidates, BLOCKS, &mut random) else {
            return Ok(());
        };
        assert_contiguous(&stops, &request.blocks);
        for stop in &stops {
            let server = &candidates[stop.candidate];
            prop_assert!(server.blocks.start <= stop.blocks.start);
            prop_assert!(stop.blocks.end <= server.blocks.end);
            prop_assert!(!request.blocked.contains(&server.peer));
            if server.ban.is_some() || request.avoid.contains(&server.peer) {
                // Only where nobody better is.
                let is_better = |other: &Candidate| {
                    other.ban.is_none()
                        && !request.avoid.contains(&other.peer)
                        && !request.blocked.contains(&other.peer)
                };
                let covers = |block: usize| {
                    candidates.iter().any(|other| is_better(other) && other.blocks.contains(&block))
                };
                prop_assert!(!stop.blocks.clone().any(covers));
            }
        }
    }

    #[test]
    fn a_pinned_route_is_found_if_there_is_one(
        candidates in a_swarm(),
        order in prop::collection::vec(any::<prop::sample::Index>(), 0..5),
    ) {
        let peers: Vec<_> = order.iter().map(|index| index.get(&candidates).peer).collect();
        let spans: Vec<_> = order.iter().map(|index| index.get(&candidates).blocks.clone()).collect();
        let request = RouteRequest {
            pinned: Some(peers.clone()),
            ..RouteRequest::new(0..BLOCKS, 10)
        };
        let found = plan(&request, &candidates, BLOCKS, &mut StdRng::seed_from_u64(0));
        prop_assert_eq!(found.is_ok(), can_cut(&spans, 0));
        if let Ok(stops) = found {
            assert_contiguous(&stops, &request.blocks);
            let used: Vec<_> = stops.iter().map(|stop| candidates[stop.candidate].peer).collect();
            prop_assert_eq!(used, peers);
            for (stop, span) in stops.iter().zip(&spans) {
                prop_assert!(span.start <= stop.blocks.start && stop.blocks.end <= span.end);
            }
        }
    }
}

fn can_cut(spans: &[Range<usize>], block: usize) -> bool {
    let Some((first, rest)) = spans.split_first() else {
        return block == BLOCKS;
    };
    first.contains(&block) && (block + 1..=first.end).any(|exit| can_cut(rest, exit))
}
