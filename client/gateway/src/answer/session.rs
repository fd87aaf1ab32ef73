//! The session of a choice: one that waited for this turn of its conversation, or a new one.

use block_client::{PlannedHop, RouteRequest, Session, SessionConfig};

use super::choice::ChoicePlan;
use crate::api_error::ApiError;
use crate::gateway::Gateway;
use crate::room;
use crate::served_model::ServedModel;

/// Where the sessions of a choice come from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sessions<'a> {
    pub(super) gateway: &'a Gateway,
    pub(super) model: &'a ServedModel,
    pub(super) plan: &'a ChoicePlan,
}

/// A session and how many tokens of the prompt it holds.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) session: Session,
    pub(super) held: usize,
    /// Those of them that servers need not run again: the last of an answer they have not seen yet, and the last of a
    /// prompt brings the first of the next.
    pub(super) cached: usize,
}

impl Sessions<'_> {
    /// One that holds the beginning of the prompt, or else a new one.
    ///
    /// # Errors
    /// There is no way through the swarm.
    pub(super) async fn find(self) -> Result<Found, ApiError> {
        // Also for one that waited: blocks without a server are told early.
        let route = self.route().await?;
        if let Some(owner) = &self.plan.keep
            && let kept = self.gateway.kept()
            && let Some((session, held)) = kept.take(owner, &self.plan.prompt, self.length())
        {
            let seen = held.min(session.position());
            return Ok(Found {
                cached: seen.min(self.plan.prompt.len().saturating_sub(1)),
                session,
                held,
            });
        }
        self.open_on(&route).await
    }

    /// A new one.
    ///
    /// # Errors
    /// There is no way through the swarm.
    pub(super) async fn open(self) -> Result<Found, ApiError> {
        let route = self.route().await?;
        self.open_on(&route).await
    }

    /// Tokens of prompt and answer.
    fn length(self) -> usize {
        let ChoicePlan { prompt, config, .. } = self.plan;
        prompt.len().saturating_add(config.max_tokens).max(1)
    }

    async fn route(self) -> Result<Vec<PlannedHop>, ApiError> {
        let blocks = 0..self.model.remote().view.num_blocks();
        let request = RouteRequest {
            pinned: self.plan.route.clone(),
            allowed: self.plan.allowed.clone(),
            ..RouteRequest::new(blocks, self.length())
        };
        Ok(room::route((self.gateway, self.model), &request).await?)
    }

    async fn open_on(self, route: &[PlannedHop]) -> Result<Found, ApiError> {
        let config = self.gateway.config();
        let length = self.length();
        let session = SessionConfig {
            pinned: self.plan.route.clone(),
            allowed: self.plan.allowed.clone(),
            open_deadline: config.open_deadline,
            repair_deadline: config.repair_deadline,
            ..SessionConfig::new(length + self.room(route))
        };
        let session = room::open((self.gateway, self.model), session, length).await?;
        Ok(Found {
            session,
            held: 0,
            cached: 0,
        })
    }

    /// Tokens for later turns. A session cannot grow beyond what it was opened for, and one that is full gives way to
    /// one that is filled from the beginning: with as much again each time, no token of a conversation runs more than
    /// about twice. Servers of ours hold only what is used; Petals' reserve all of it, so that this would keep others
    /// out: there it is none.
    fn room(self, route: &[PlannedHop]) -> usize {
        let keeps = self.plan.keep.is_some() && self.gateway.kept().keeps_any();
        if !keeps || !route.iter().all(|hop| hop.server.lists_codecs()) {
            return 0;
        }
        let left = self.model.max_model_len().saturating_sub(self.length());
        self.length().clamp(MIN_ROOM, MAX_ROOM).min(left)
    }
}

/// Tokens for later turns: a few short questions and answers, and some pages of text. Routers take servers whose free
/// cache is larger, so that it is not more than most have.
const MIN_ROOM: usize = 1024;
const MAX_ROOM: usize = 4096;
