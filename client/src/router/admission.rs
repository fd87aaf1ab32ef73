//! Who takes part in a route.
//!
//! Servers that are banned or to be avoided stay out. Where that leaves blocks without any server, they come back for
//! just those blocks: first the banned ones, then those that this request asked to avoid.

use std::collections::HashSet;
use std::ops::Range;

use block_network::PeerId;

use super::candidate::Candidate;
use super::{RouteError, RouteRequest};

/// A server that may be used, and for what.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entrant {
    /// Place in the list of candidates.
    pub(super) candidate: usize,
    /// Blocks that it may be used for, inside those asked for.
    pub(super) blocks: Range<usize>,
    /// Seconds to add to its costs.
    pub(super) penalty: f64,
}

/// Added per consecutive failure of a banned server that comes back, so that of several the least bad is taken.
const PENALTY_PER_FAILURE: f64 = 30.0;
/// Added for a server that was to be avoided and comes back.
const PENALTY_FOR_AVOIDED: f64 = 60.0;

/// The entrants, in the order of the candidates.
///
/// # Errors
/// `Uncovered`, if not even those left out would do.
pub(super) fn admit(
    request: &RouteRequest,
    candidates: &[Candidate],
) -> Result<Vec<Entrant>, RouteError> {
    let avoid: HashSet<&PeerId> = request.avoid.iter().collect();
    let mut entrants = Vec::new();
    let mut banned = Vec::new();
    let mut avoided = Vec::new();
    for (index, candidate) in candidates.iter().enumerate() {
        let blocks = overlap(&candidate.blocks, &request.blocks);
        if blocks.is_empty() || !is_permitted(request, &candidate.peer) {
            continue;
        }
        let failures = f64::from(candidate.ban.unwrap_or(0));
        let is_avoided = avoid.contains(&candidate.peer);
        let avoided_penalty = if is_avoided { PENALTY_FOR_AVOIDED } else { 0.0 };
        let entrant = Entrant {
            candidate: index,
            blocks,
            penalty: failures * PENALTY_PER_FAILURE + avoided_penalty,
        };
        if is_avoided {
            avoided.push(entrant);
        } else if candidate.ban.is_some() {
            banned.push(entrant);
        } else {
            entrants.push(entrant);
        }
    }
    let mut missing = gaps(&entrants, &request.blocks);
    for left_out in [banned, avoided] {
        if missing.is_empty() {
            break;
        }
        let returning = left_out.iter().flat_map(|entrant| {
            missing.iter().map(|run| Entrant {
                blocks: overlap(&entrant.blocks, run),
                ..entrant.clone()
            })
        });
        let returning: Vec<_> = returning
            .filter(|entrant| !entrant.blocks.is_empty())
            .collect();
        entrants.extend(returning);
        missing = gaps(&entrants, &request.blocks);
    }
    if !missing.is_empty() {
        return Err(RouteError::Uncovered { missing });
    }
    entrants.sort_by_key(|entrant| (entrant.candidate, entrant.blocks.start));
    Ok(entrants)
}

/// Whether the lists of the request let `peer` take part at all.
pub(super) fn is_permitted(request: &RouteRequest, peer: &PeerId) -> bool {
    let is_allowed = request
        .allowed
        .as_ref()
        .is_none_or(|allowed| allowed.contains(peer));
    is_allowed && !request.blocked.contains(peer)
}

/// Blocks in both.
pub(super) fn overlap(one: &Range<usize>, other: &Range<usize>) -> Range<usize> {
    one.start.max(other.start)..one.end.min(other.end)
}

/// Runs of `wanted` that no entrant covers.
fn gaps(entrants: &[Entrant], wanted: &Range<usize>) -> Vec<Range<usize>> {
    let mut spans: Vec<_> = entrants.iter().map(|entrant| &entrant.blocks).collect();
    spans.sort_by_key(|span| span.start);
    let mut covered = wanted.start;
    let mut gaps = Vec::new();
    for span in spans {
        if span.start > covered {
            gaps.push(covered..span.start);
        }
        covered = covered.max(span.end);
    }
    if covered < wanted.end {
        gaps.push(covered..wanted.end);
    }
    gaps
}
