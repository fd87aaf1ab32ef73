//! The cuts of a route whose servers are given.

use std::collections::HashMap;
use std::ops::Range;

use block_network::PeerId;

use super::admission::{is_permitted, overlap};
use super::candidate::Candidate;
use super::{RouteError, RouteRequest, Stop};

/// Each server is left at its last block, or earlier where those after it could not go on otherwise.
///
/// # Errors
/// `Pinned` with the server that does not fit.
pub(super) fn route(
    request: &RouteRequest,
    peers: &[PeerId],
    candidates: &[Candidate],
) -> Result<Vec<Stop>, RouteError> {
    let online: HashMap<&PeerId, usize> = candidates
        .iter()
        .enumerate()
        .map(|(index, candidate)| (&candidate.peer, index))
        .collect();
    let mut spans = Vec::with_capacity(peers.len());
    for peer in peers {
        let index = online.get(peer).copied();
        let index = index.filter(|_| is_permitted(request, peer));
        let Some(index) = index else {
            return Err(RouteError::Pinned(format!(
                "{peer} is not online, or is blocked"
            )));
        };
        spans.push((index, overlap(&candidates[index].blocks, &request.blocks)));
    }
    cut(&spans, &request.blocks).ok_or_else(|| RouteError::Pinned(mismatch(request, peers, &spans)))
}

/// From the last server to the first: at which blocks may it be entered? Those blocks are always one run. Then, from the
/// first to the last, each is left as late as it can be.
fn cut(spans: &[(usize, Range<usize>)], wanted: &Range<usize>) -> Option<Vec<Stop>> {
    // Blocks at which the rest of the route may begin, both ends included; after the last server only the end.
    let mut doors = vec![(wanted.end, wanted.end)];
    for (_, span) in spans.iter().rev() {
        let &(lowest, highest) = doors.last()?;
        let latest_exit = span.end.min(highest);
        if latest_exit < lowest || latest_exit <= span.start {
            return None;
        }
        doors.push((span.start, latest_exit - 1));
    }
    doors.reverse();
    let &(lowest, highest) = doors.first()?;
    if !(lowest..=highest).contains(&wanted.start) {
        return None;
    }
    let mut block = wanted.start;
    let mut stops = Vec::with_capacity(spans.len());
    for ((candidate, span), &(_, highest)) in spans.iter().zip(doors.get(1..)?) {
        let exit = span.end.min(highest);
        stops.push(Stop {
            candidate: *candidate,
            blocks: block..exit,
        });
        block = exit;
    }
    Some(stops)
}

fn mismatch(request: &RouteRequest, peers: &[PeerId], spans: &[(usize, Range<usize>)]) -> String {
    let texts: Vec<_> = peers
        .iter()
        .zip(spans)
        .map(|(peer, (_, span))| format!("{}:{} at {peer}", span.start, span.end))
        .collect();
    format!(
        "{} do not make up blocks {}:{} in this order",
        texts.join(", "),
        request.blocks.start,
        request.blocks.end
    )
}
