//! What a route can be made of, taken out of the view so that planning holds up nobody.

use std::sync::Arc;

use super::PlannedHop;
use crate::router::{self, Candidate, RouteError, RouteRequest};
use crate::server_facts::ServerFacts;

/// The online servers at one moment.
#[derive(Debug)]
pub(super) struct Graph {
    pub(super) candidates: Vec<Candidate>,
    /// Of each candidate.
    pub(super) facts: Vec<Arc<ServerFacts>>,
    pub(super) num_blocks: usize,
}

/// A route, and whether it uses servers that were to be left out.
#[derive(Debug)]
pub(super) struct Planned {
    pub(super) hops: Vec<PlannedHop>,
    pub(super) is_makeshift: bool,
}

impl Graph {
    /// A route for `request`.
    ///
    /// # Errors
    /// As [`router::plan`].
    pub(super) fn route(&self, request: &RouteRequest) -> Result<Planned, RouteError> {
        let stops = router::plan(request, &self.candidates, self.num_blocks, &mut rand::rng())?;
        let is_makeshift = stops.iter().any(|stop| {
            let server = &self.candidates[stop.candidate];
            server.ban.is_some() || request.avoid.contains(&server.peer)
        });
        let hops = stops.into_iter().map(|stop| {
            let server = &self.facts[stop.candidate];
            PlannedHop {
                peer: server.peer,
                blocks: stop.blocks,
                server: Arc::clone(server),
            }
        });
        Ok(Planned {
            hops: hops.collect(),
            is_makeshift,
        })
    }
}
