//! Which blocks a server should hold: those where the swarm is weakest. Pure.
//!
//! - `T[b]`: sum of the throughputs of all servers whose span holds block `b`, in the order of their peer ids, so that
//!   every server adds up the same floats to the same sum
//! - a new server of `n` blocks begins where the sorted window `T[i..i + n]` is the smallest, compared from its weakest
//!   block on; of equal windows the first
//! - a running server moves if, once everybody had moved to where they are most needed, the weakest block of the model
//!   would be better off by more than the operator's `balance quality` says
//!
//! Source: Petals main, `server/block_selection.py`; `tests` has vectors made with it.

use std::cmp::Ordering;
use std::ops::Range;

/// What one server brings: a span, and tokens per second for each of its blocks.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Holding {
    /// Blocks, half open; may be empty.
    pub(crate) blocks: Range<usize>,
    /// Announced throughput; finite, at least 0, and capped on the way into the sums.
    pub(crate) throughput: f64,
}

/// `T`, for a model of `num_blocks`. What lies beyond the model is not counted.
pub(crate) fn block_throughputs<'a>(
    holdings: impl IntoIterator<Item = &'a Holding>,
    num_blocks: usize,
) -> Vec<f64> {
    let mut throughputs = vec![0.0; num_blocks];
    for holding in holdings {
        add(&mut throughputs, holding, 1.0);
    }
    throughputs
}

/// First block of the weakest window of `count` blocks; 0 if the model has no more than those.
pub(crate) fn weakest_start(throughputs: &[f64], count: usize) -> usize {
    let sorted = |start: usize| {
        let mut window = throughputs[start..start + count].to_vec();
        window.sort_unstable_by(f64::total_cmp);
        window
    };
    if count == 0 || count >= throughputs.len() {
        return 0;
    }
    let (mut best, mut weakest) = (0, sorted(0));
    for start in 1..=throughputs.len() - count {
        let window = sorted(start);
        if by_values(&window, &weakest) == Ordering::Less {
            (best, weakest) = (start, window);
        }
    }
    best
}

/// Where the server number `own` should go; `None` if it should stay.
///
/// `quality` is the share of the reachable throughput that the swarm may have and still be left alone; above 1 always
/// moves, which is for trying it out. `shuffle` puts the servers in the order in which their moves are thought through.
pub(crate) fn better_start(
    holdings: &[Holding],
    own: usize,
    num_blocks: usize,
    quality: f64,
    shuffle: &mut dyn FnMut(&mut [usize]),
) -> Option<usize> {
    let mut holdings = holdings.to_vec();
    let mine = holdings.get(own)?.clone();
    let count = mine.blocks.len();
    let mut throughputs = block_throughputs(&holdings, num_blocks);
    let before = weakest(&throughputs);
    // Slightly more than was added: a remainder of rounding must not look like a server.
    add(&mut throughputs, &mine, -(1.0 + EPSILON));
    let start = weakest_start(&throughputs, count);
    if quality > 1.0 {
        return Some(start);
    }
    let cuts_the_chain = before > EPSILON && weakest(&throughputs) <= 0.0;
    if cuts_the_chain || start == mine.blocks.start {
        return None;
    }
    add(&mut throughputs, &mine, EPSILON);
    holdings[own].blocks = start..start + count;
    add(&mut throughputs, &holdings[own], 1.0);
    settle(&mut holdings, &mut throughputs, shuffle)?;
    let after = weakest(&throughputs);
    let is_gain = after >= before && after >= EPSILON;
    (is_gain && before / after < quality - EPSILON).then_some(start)
}

/// Lets every server move to where it is most needed until none wants to; `None` if they never come to rest.
fn settle(
    holdings: &mut [Holding],
    throughputs: &mut [f64],
    shuffle: &mut dyn FnMut(&mut [usize]),
) -> Option<()> {
    let mut order: Vec<usize> = (0..holdings.len()).collect();
    for _ in 0..MAX_ROUNDS {
        let mut has_moved = false;
        shuffle(&mut order);
        for server in &order {
            let holding = &mut holdings[*server];
            let count = holding.blocks.len();
            add(throughputs, holding, -(1.0 + EPSILON));
            let start = weakest_start(throughputs, count);
            add(throughputs, holding, EPSILON);
            if start != holding.blocks.start && count > 0 {
                holding.blocks = start..start + count;
                has_moved = true;
            }
            add(throughputs, holding, 1.0);
        }
        if !has_moved {
            return Some(());
        }
    }
    None
}

fn add(throughputs: &mut [f64], holding: &Holding, share: f64) {
    let end = holding.blocks.end.min(throughputs.len());
    let start = holding.blocks.start.min(end);
    for throughput in &mut throughputs[start..end] {
        *throughput += share * holding.throughput.min(MAX_THROUGHPUT);
    }
}

fn weakest(throughputs: &[f64]) -> f64 {
    throughputs.iter().copied().fold(f64::INFINITY, f64::min)
}

fn by_values(left: &[f64], right: &[f64]) -> Ordering {
    let unequal = left.iter().zip(right).map(|(l, r)| l.total_cmp(r));
    unequal
        .into_iter()
        .find(|order| order.is_ne())
        .unwrap_or(Ordering::Equal)
}

/// Petals' margin against rounding, as a share of a throughput and in tokens per second.
const EPSILON: f64 = 1e-3;
/// Rounds of moves that are thought through; real swarms rest after two or three. Petals has no bound, but records can
/// be made up so that two servers dodge each other for ever.
const MAX_ROUNDS: usize = 100;
/// Largest throughput that counts, tokens per second: far above any machine, and sums of it stay finite.
const MAX_THROUGHPUT: f64 = 1e12;

#[cfg(test)]
mod tests;
