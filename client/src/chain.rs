//! One session over a route: hidden states in, hidden states out, through servers that may die.
//!
//! ```text
//! hidden → │ segment 0 → server │ segment 1 → server │ … → hidden       │ boundary: rounded here, for the session's life
//!            └ log of its steps   └ log of its steps                     a lost server's successor is filled from the log
//! ```
//!
//! | module     | what is in it                                                      |
//! |------------|--------------------------------------------------------------------|
//! | `segment`  | blocks between two boundaries, the server that runs them           |
//! | `log`      | what a segment was given                                           |
//! | `opening`  | sessions at servers, several at once                               |
//! | `pass`     | one step through all segments                                      |
//! | `step`, `packing` | the same as the caller sees it, numbers to tensors and back |
//! | `wait`, `patience` | one answer, and how long it may take                       |
//! | `witness`  | whether it is the answer to that step                              |
//! | `failover`, `tries`, `replay` | another server for a segment                    |

mod config;
mod failover;
mod log;
mod opening;
mod packing;
mod pass;
mod patience;
mod replay;
mod segment;
mod stats;
mod step;
mod tries;
mod wait;
mod witness;

use std::ops::Range;
use std::time::Duration;

use block_network::Node;
use futures::future::join_all;
use tokio::time::timeout;

pub use config::ChainConfig;
pub use stats::{ChainStats, RouteStop};

use self::log::Log;
use self::opening::{boundaries, first_replies, open_all};
use self::segment::{LiveHop, Seat, Segment};
use self::tries::{Stop, Tries};
use crate::error::HopError;
use crate::link_codec::Terms;
use crate::metrics::{OpenSession, SessionOutcome};
use crate::model_view::ModelView;
use crate::router::RouteRequest;
use crate::session_error::SessionError;

/// Saying goodbye to all servers.
const CLOSE_TIME: Duration = Duration::from_secs(3);

/// One session over a route of servers. Dropping it ends its streams, and the servers free its caches.
#[derive(Debug)]
pub struct Chain {
    context: Context,
    segments: Vec<Segment>,
    /// What the first server of all took: the format of the first boundary.
    entrance: Terms,
    /// Tokens per sequence.
    position: usize,
    /// A reorder that came without tokens.
    pending: Option<Vec<usize>>,
    /// Where a step began that was cut into several and has not ended.
    unfinished: Option<usize>,
    steps_begun: u64,
    /// Why the session is over, if it is.
    ended: Option<String>,
    stats: ChainStats,
    open_session: Option<OpenSession>,
}

/// What all parts of a chain need.
#[derive(Debug)]
struct Context {
    node: Node,
    view: ModelView,
    config: ChainConfig,
}

impl Context {
    fn request(&self, blocks: Range<usize>) -> RouteRequest {
        RouteRequest {
            batch: self.config.batch,
            push: self.config.push,
            allowed: self.config.allowed.clone(),
            blocked: self.config.blocked.clone(),
            ..RouteRequest::new(blocks, self.config.max_length)
        }
    }
}

impl Chain {
    /// Finds a route and opens a session at each of its servers: cache memory is reserved when this returns. Dropping it
    /// opens nothing.
    ///
    /// # Errors
    /// `NoRoute`; `Rejected` if every server refuses the request as such; `Unsupported`; `BadInput`.
    pub async fn open(
        view: ModelView,
        node: Node,
        config: ChainConfig,
    ) -> Result<Self, SessionError> {
        if config.batch == 0 || config.hidden == 0 || config.blocks.is_empty() {
            return Err(SessionError::BadInput(
                "a session needs a row, a width and a block at least".to_owned(),
            ));
        }
        let context = Context { node, view, config };
        let config = &context.config;
        let mut tries = Tries::new(config.open_deadline, config.attempts, Vec::new());
        let hops = loop {
            let request = RouteRequest {
                pinned: config.pinned.clone(),
                ..context.request(config.blocks.clone())
            };
            let route = match tries.next_route(&context, request, None).await {
                Ok(route) => route,
                Err(stop) => return Err(no_route(stop, tries)),
            };
            let replies = first_replies(&context, &route);
            match open_all(&context, &route, &replies, &tries).await {
                Ok(hops) => break hops,
                Err(failed) => tries.failed(&context, failed),
            }
        };
        Ok(Self::over(context, hops))
    }

    fn over(context: Context, hops: Vec<LiveHop>) -> Self {
        let entrance = hops.first().map(|hop| hop.terms.clone());
        let outputs = boundaries(&context.config, &hops);
        let segments = hops.into_iter().zip(outputs).map(|(live, output)| Segment {
            output,
            log: Log::default(),
            past: (0, 0),
            seat: Seat::Taken(Box::new(live)),
        });
        Self {
            segments: segments.collect(),
            entrance: entrance.unwrap_or_default(),
            position: 0,
            pending: None,
            unfinished: None,
            steps_begun: 0,
            ended: None,
            stats: ChainStats {
                codec: context.config.codec,
                ..ChainStats::default()
            },
            open_session: Some(OpenSession::begin()),
            context,
        }
    }

    /// Tokens in the session, per sequence.
    #[must_use]
    pub fn position(&self) -> usize {
        self.unfinished.unwrap_or(self.position)
    }

    /// Tokens that the session may ever hold, per sequence.
    #[must_use]
    pub fn max_length(&self) -> usize {
        self.context.config.max_length
    }

    /// Forgets the tokens from `position` on. Takes effect with the next step.
    ///
    /// # Errors
    /// `BadInput` if `position` is ahead of the session's.
    pub fn roll_back(&mut self, position: usize) -> Result<(), SessionError> {
        if position > self.position() {
            return Err(SessionError::BadInput(format!(
                "{} tokens are in the session, it cannot go back to {position}",
                self.position()
            )));
        }
        self.unfinished = None;
        self.position = position;
        let max_length = self.context.config.max_length;
        let cut = |segment: &mut Segment| segment.log.cut(position, max_length);
        let cut: Result<(), HopError> = self.segments.iter_mut().try_for_each(cut);
        cut.map_err(|error| {
            self.end(SessionError::RouteLost {
                why: error.to_string(),
                tried: Vec::new(),
            })
        })
    }

    /// Whether the session has ended with an error.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.ended.is_some()
    }

    /// What it has done so far.
    #[must_use]
    pub fn stats(&self) -> ChainStats {
        let mut stats = self.stats.clone();
        for segment in &self.segments {
            let (sent, received) = segment.traffic();
            stats.bytes_sent += sent;
            stats.bytes_received += received;
            let plan = segment.plan();
            stats.route.push(RouteStop {
                peer: plan.peer,
                blocks: plan.blocks.clone(),
            });
        }
        stats
    }

    /// Ends the session at every server, politely and within 3 s.
    pub async fn close(mut self) {
        if let Some(open) = self.open_session.take() {
            open.end(SessionOutcome::Ok);
        }
        let hops = self
            .segments
            .drain(..)
            .filter_map(|segment| match segment.seat {
                Seat::Taken(live) => Some(live.hop.close()),
                Seat::Lost(_) | Seat::Stale(_) => None,
            });
        // What a server says now is of no use to anybody.
        let _ = timeout(CLOSE_TIME, join_all(hops)).await;
    }

    /// Ends the session with an error.
    fn end(&mut self, error: SessionError) -> SessionError {
        self.ended = Some(error.to_string());
        if let Some(open) = self.open_session.take() {
            open.end(SessionOutcome::Failed);
        }
        error
    }

    fn next_step_id(&mut self) -> String {
        self.steps_begun += 1;
        self.steps_begun.to_string()
    }
}

fn no_route(stop: Stop, tries: Tries) -> SessionError {
    match stop {
        Stop::Rejected(by, text) => SessionError::Rejected { by, text },
        Stop::Exhausted(why) => SessionError::NoRoute {
            missing: Vec::new(),
            why,
            tried: tries.into_tried(),
        },
        Stop::NoRoute(error) => match SessionError::from(error) {
            SessionError::NoRoute { missing, why, .. } => SessionError::NoRoute {
                missing,
                why,
                tried: tries.into_tried(),
            },
            other => other,
        },
    }
}
