//! The quickest route.
//!
//! A server may be entered at any block and is left at its last one (Petals' rule, which keeps the graph small). So
//! routes change servers only at blocks where some span ends, and going through those in order visits every edge of
//! Petals' graph once: Dijkstra's result without its queue.
//!
//! | edge                    | seconds                                                                  |
//! |-------------------------|--------------------------------------------------------------------------|
//! | here → first server     | one way, entry                                                           |
//! | through a block         | measured, or by the announced rate                                       |
//! | server → next, pushed   | one way between them, entry                                              |
//! | server → next, by us    | one way back, one way there, entry: Petals forgets that this is two ways |
//! | last server → here      | one way                                                                  |

use std::collections::HashMap;

use block_network::PeerId;

use super::admission::Entrant;
use super::candidate::{Candidate, unknown_delay};
use super::{RouteRequest, Stop};

/// The best way found so far to have gone through an entrant.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Arrival {
    /// Seconds from the start to the end of the entrant's blocks.
    seconds: f64,
    /// Servers used, this one included.
    hops: usize,
    /// Block at which it is entered.
    entered: usize,
    /// The entrant before it.
    before: Option<usize>,
}

impl Arrival {
    /// Ties go to fewer servers, then to whoever came first in order.
    fn beats(&self, other: Option<&Self>) -> bool {
        other.is_none_or(|other| (self.seconds, self.hops) < (other.seconds, other.hops))
    }
}

/// The stops and the expected seconds of one step; `None` if the entrants do not lead from one end to the other.
pub(super) fn route(
    request: &RouteRequest,
    candidates: &[Candidate],
    entrants: &[Entrant],
) -> Option<(Vec<Stop>, f64)> {
    let search = Search {
        request,
        candidates,
        entrants,
        cache_tokens: cache_tokens(request),
    };
    let mut arrivals: Vec<Option<Arrival>> = vec![None; entrants.len()];
    let mut stations: Vec<_> = entrants
        .iter()
        .map(|entrant| entrant.blocks.end)
        .filter(|&block| block < request.blocks.end)
        .collect();
    stations.push(request.blocks.start);
    stations.sort_unstable();
    stations.dedup();
    for station in stations {
        let ways = search.ways_on(station, &arrivals);
        for (index, entrant) in entrants.iter().enumerate() {
            if !entrant.blocks.contains(&station) {
                continue;
            }
            let Some(way) = ways.to(&search, index) else {
                continue;
            };
            let arrival = search.through(index, station, way);
            if arrival.beats(arrivals[index].as_ref()) {
                arrivals[index] = Some(arrival);
            }
        }
    }
    search.trace(&arrivals)
}

/// Tokens of cache that a session needs for each block: keys and values of every sequence.
fn cache_tokens(request: &RouteRequest) -> u64 {
    [2, request.max_length, request.batch]
        .iter()
        .fold(1, |product: u64, &factor| {
            product.saturating_mul(factor as u64)
        })
}

struct Search<'a> {
    request: &'a RouteRequest,
    candidates: &'a [Candidate],
    entrants: &'a [Entrant],
    cache_tokens: u64,
}

/// Seconds until the door of a next server, and the entrant that leads there.
#[derive(Debug, Clone, Copy)]
struct Way {
    seconds: f64,
    hops: usize,
    before: Option<usize>,
}

impl Way {
    fn beats(&self, other: &Option<Self>) -> bool {
        let rank = |way: &Self| (way.seconds, way.hops, way.before);
        other.as_ref().is_none_or(|other| rank(self) < rank(other))
    }

    fn further(self, seconds: f64) -> Self {
        Self {
            seconds: self.seconds + seconds,
            ..self
        }
    }
}

/// The ways on from a station, so prepared that each next server costs a few look-ups, not one per pair.
#[derive(Default)]
struct Ways {
    /// Here at the door: the start of the route.
    start: bool,
    /// The best way back to us, for a next server that we send to.
    through_us: Option<Way>,
    /// Servers that push, best first.
    pushing: Vec<Way>,
    /// Where a server before knows the distance: the best such way.
    known: HashMap<PeerId, Way>,
}

impl Ways {
    /// The best way to the door of an entrant.
    fn to(&self, search: &Search<'_>, entrant: usize) -> Option<Way> {
        let next = search.candidate(entrant);
        if self.start {
            return Some(Way {
                seconds: next.delay(),
                hops: 0,
                before: None,
            });
        }
        let relayed = self.through_us.map(|way| way.further(next.delay()));
        let known = self.known.get(&next.peer).copied();
        // Of those that do not know the distance the first is the best.
        let guessed = self.pushing.iter().find(|way| {
            let before = way.before.map(|before| search.candidate(before));
            before.is_some_and(|before| before.delay_to(&next.peer).is_none())
        });
        let guessed = guessed.map(|way| way.further(unknown_delay()));
        let mut best = None;
        for way in [relayed, known, guessed].into_iter().flatten() {
            if way.beats(&best) {
                best = Some(way);
            }
        }
        best
    }
}

impl Search<'_> {
    fn candidate(&self, entrant: usize) -> &Candidate {
        &self.candidates[self.entrants[entrant].candidate]
    }

    /// The ways on from everything that ends at `station`.
    fn ways_on(&self, station: usize, arrivals: &[Option<Arrival>]) -> Ways {
        if station == self.request.blocks.start {
            return Ways {
                start: true,
                ..Ways::default()
            };
        }
        let mut ways = Ways::default();
        for (index, arrival) in arrivals.iter().enumerate() {
            let Some(arrival) = arrival else { continue };
            if self.entrants[index].blocks.end != station {
                continue;
            }
            let way = Way {
                seconds: arrival.seconds,
                hops: arrival.hops,
                before: Some(index),
            };
            let server = self.candidate(index);
            if self.request.push && server.pushes {
                ways.pushing.push(way);
            } else {
                let back = way.further(server.delay());
                if back.beats(&ways.through_us) {
                    ways.through_us = Some(back);
                }
            }
        }
        for way in &ways.pushing {
            let Some(before) = way.before else { continue };
            let server = self.candidate(before);
            for peer in server.next_round_trips.keys() {
                let Some(delay) = server.delay_to(peer) else {
                    continue;
                };
                let known = way.further(delay);
                if known.beats(&ways.known.get(peer).copied()) {
                    ways.known.insert(*peer, known);
                }
            }
        }
        ways.pushing
            .sort_by(|one, other| one.seconds.total_cmp(&other.seconds));
        ways
    }

    /// Having entered an entrant at `station` by `way` and gone through its blocks.
    fn through(&self, entrant: usize, station: usize, way: Way) -> Arrival {
        let server = self.candidate(entrant);
        let Entrant {
            blocks, penalty, ..
        } = &self.entrants[entrant];
        let run = blocks.end - station;
        let inside = run as f64 * server.block_cost();
        Arrival {
            seconds: way.seconds + server.entry_cost(self.cache_tokens, run) + penalty + inside,
            hops: way.hops + 1,
            entered: station,
            before: way.before,
        }
    }

    /// The best arrival at the end, and the way that led there.
    fn trace(&self, arrivals: &[Option<Arrival>]) -> Option<(Vec<Stop>, f64)> {
        let mut last: Option<(usize, Arrival)> = None;
        for (index, arrival) in arrivals.iter().enumerate() {
            let Some(arrival) = arrival else { continue };
            if self.entrants[index].blocks.end != self.request.blocks.end {
                continue;
            }
            let home = Arrival {
                seconds: arrival.seconds + self.candidate(index).delay(),
                ..*arrival
            };
            if home.beats(last.as_ref().map(|(_, best)| best)) {
                last = Some((index, home));
            }
        }
        let (mut index, Arrival { seconds, .. }) = last?;
        let mut stops = Vec::new();
        loop {
            let arrival = arrivals[index]?;
            let entrant = &self.entrants[index];
            stops.push(Stop {
                candidate: entrant.candidate,
                blocks: arrival.entered..entrant.blocks.end,
            });
            match arrival.before {
                Some(before) => index = before,
                None => break,
            }
        }
        stops.reverse();
        Some((stops, seconds))
    }
}
