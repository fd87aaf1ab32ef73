//! A random walk that spreads work: longer spans are likelier, so that hops stay few.
//!
//! Matches petals 22afba6, `_make_sequence_with_max_throughput`.

use std::ops::Range;

use rand::{Rng, RngExt};

use super::Stop;
use super::admission::Entrant;
use super::candidate::Candidate;

/// Weight of a server that does not answer pings, against one per block for others.
const SILENT_WEIGHT: f64 = 1e-6;

/// A walk over `blocks`, which the entrants cover.
pub(super) fn route(
    blocks: &Range<usize>,
    candidates: &[Candidate],
    entrants: &[Entrant],
    random: &mut impl Rng,
) -> Vec<Stop> {
    let mut stops = Vec::new();
    let mut block = blocks.start;
    while block < blocks.end {
        let here: Vec<_> = entrants
            .iter()
            .filter(|entrant| entrant.blocks.contains(&block))
            .map(|entrant| (entrant, weight(&candidates[entrant.candidate])))
            .collect();
        let Some(chosen) = choose(&here, random) else {
            break;
        };
        stops.push(Stop {
            candidate: chosen.candidate,
            blocks: block..chosen.blocks.end,
        });
        block = chosen.blocks.end;
    }
    stops
}

fn weight(candidate: &Candidate) -> f64 {
    let is_silent = candidate.round_trip.is_some_and(f64::is_infinite);
    if is_silent {
        SILENT_WEIGHT
    } else {
        candidate.blocks.len() as f64
    }
}

/// One of `here`, by weight; the last one where rounding leaves a rest.
fn choose<'a>(here: &[(&'a Entrant, f64)], random: &mut impl Rng) -> Option<&'a Entrant> {
    let total: f64 = here.iter().map(|(_, weight)| weight).sum();
    let mut left = random.random::<f64>() * total;
    for (entrant, weight) in here {
        left -= weight;
        if left < 0.0 {
            return Some(entrant);
        }
    }
    here.last().map(|(entrant, _)| *entrant)
}
