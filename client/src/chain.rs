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
//! | `wait`, `patience` | one answer, and how long it may take                       |
//! | `failover`, `tries`, `replay` | another server for a segment                    |

mod failover;
mod log;
mod opening;
mod pass;
mod patience;
mod replay;
mod segment;
mod stats;
mod tries;
mod wait;

use std::ops::Range;
use std::time::Duration;

use block_network::{Node, PeerId};
use block_protocol::compression::{decode_f32, encode_f32};
use block_protocol::{Compression, WireTensor};
use futures::future::join_all;
use tokio::time::{Instant, timeout};

pub use stats::{ChainStats, RouteStop};

use self::log::{Log, compose};
use self::opening::{first_replies, open_all};
use self::segment::{LiveHop, Seat, Segment};
use self::tries::{Stop, Tries};
use crate::error::HopError;
use crate::link_codec::{ActivationCodec, Terms};
use crate::metrics::{self, OpenSession, Phase, SessionOutcome};
use crate::model_view::ModelView;
use crate::router::RouteRequest;
use crate::session_error::SessionError;

/// Tokens (batch × seq) in one step; longer inputs are cut. Servers take no more at once by default, the reference's
/// without grouped queries included.
const MAX_STEP_TOKENS: usize = 2048;

/// Saying goodbye to all servers.
const CLOSE_TIME: Duration = Duration::from_secs(3);

/// What a session asks for.
#[derive(Debug, Clone)]
pub struct ChainConfig {
    /// Blocks to run, half-open. The whole model: `0..view.num_blocks()`.
    pub blocks: Range<usize>,
    /// Tokens per sequence that the session may ever hold.
    pub max_length: usize,
    /// Sequences side by side.
    pub batch: usize,
    /// Width of the hidden states.
    pub hidden: usize,
    /// How hidden states travel.
    pub codec: ActivationCodec,
    /// Whether servers hand hidden states on to each other where they can.
    pub push: bool,
    /// If set, the session opens on exactly these servers, in this order. A lost one may be replaced by any server that
    /// `allowed` and `blocked` admit.
    pub pinned: Option<Vec<PeerId>>,
    /// Servers never used.
    pub blocked: Vec<PeerId>,
    /// If set, no other servers are used.
    pub allowed: Option<Vec<PeerId>>,
    /// How long opening may take, waiting for servers included. Default 60 s.
    pub open_deadline: Duration,
    /// How long one repair may take, waiting for servers included. Default 120 s.
    pub repair_deadline: Duration,
    /// How often one repair, or the opening, tries a route. Default 8.
    pub attempts: usize,
}

impl ChainConfig {
    /// One sequence of at most `max_length` tokens through `blocks`, codec `Auto`, pushes on, any server.
    #[must_use]
    pub fn new(blocks: Range<usize>, hidden: usize, max_length: usize) -> Self {
        Self {
            blocks,
            max_length,
            batch: 1,
            hidden,
            codec: ActivationCodec::Auto,
            push: true,
            pinned: None,
            blocked: Vec::new(),
            allowed: None,
            open_deadline: Duration::from_secs(60),
            repair_deadline: Duration::from_secs(120),
            attempts: 8,
        }
    }
}

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
            match open_all(&context, &route, &first_replies(&context, &route)).await {
                Ok(hops) => break hops,
                Err(failed) => tries.failed(&context, failed),
            }
        };
        Ok(Self::over(context, hops))
    }

    fn over(context: Context, hops: Vec<LiveHop>) -> Self {
        let entrance = hops.first().map(|hop| hop.terms.clone());
        let segments = hops.into_iter().map(|live| Segment {
            output: live.terms.output,
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

    /// Runs `hidden`, f32 `[batch, seq, hidden]`, through all blocks as the next `seq` tokens and returns the outputs in
    /// the same shape. `reorder`: for each row, which row's cache it continues. Without tokens, a reorder takes effect
    /// with the next step. Dropping it leaves the session as before the step; the next step repairs what it left.
    ///
    /// # Errors
    /// [`SessionError`]; [`SessionError::leaves_session_usable`] says whether the session goes on.
    pub async fn step(
        &mut self,
        hidden: &[f32],
        reorder: Option<&[usize]>,
    ) -> Result<Vec<f32>, SessionError> {
        let seq = self.check_step(hidden, reorder)?;
        let reorder = compose(self.pending.clone(), reorder);
        if seq == 0 {
            self.pending = reorder;
            return Ok(Vec::new());
        }
        if let Some(position) = self.unfinished.take() {
            self.roll_back(position)?;
        }
        let began = Instant::now();
        let start = self.position;
        let most = (MAX_STEP_TOKENS / self.context.config.batch).max(1);
        let output = if seq <= most || reorder.is_some() {
            self.one_step(hidden, seq, reorder.as_deref()).await?
        } else {
            self.unfinished = Some(start);
            let output = self.many_steps(hidden, seq, most).await?;
            self.unfinished = None;
            output
        };
        self.pending = None;
        self.note_step(began, seq);
        Ok(output)
    }

    fn check_step(&self, hidden: &[f32], reorder: Option<&[usize]>) -> Result<usize, SessionError> {
        if let Some(why) = &self.ended {
            return Err(SessionError::Closed(why.clone()));
        }
        let config = &self.context.config;
        let row = config.batch * config.hidden;
        if !hidden.len().is_multiple_of(row) {
            return Err(SessionError::BadInput(format!(
                "{} numbers are no hidden states of {} rows of width {}",
                hidden.len(),
                config.batch,
                config.hidden
            )));
        }
        if let Some(rows) = reorder
            && (rows.len() != config.batch || rows.iter().any(|&row| row >= config.batch))
        {
            return Err(SessionError::BadInput(format!(
                "a reorder names one of {0} rows for each of {0} rows",
                config.batch
            )));
        }
        let seq = hidden.len() / row;
        let position = self.unfinished.unwrap_or(self.position);
        if seq > config.max_length.saturating_sub(position) {
            return Err(SessionError::TooLong {
                position,
                new: seq,
                max_length: config.max_length,
            });
        }
        Ok(seq)
    }

    /// One step through the chain.
    async fn one_step(
        &mut self,
        hidden: &[f32],
        seq: usize,
        reorder: Option<&[usize]>,
    ) -> Result<Vec<f32>, SessionError> {
        let input = self.pack(hidden, seq)?;
        let output = self.pass(input, seq, reorder).await?;
        decode_f32(&output).map_err(|error| {
            // Its length was checked: a server's numbers are always some numbers.
            self.end(SessionError::RouteLost {
                why: error.to_string(),
                tried: Vec::new(),
            })
        })
    }

    /// A long input, cut along its tokens.
    async fn many_steps(
        &mut self,
        hidden: &[f32],
        seq: usize,
        most: usize,
    ) -> Result<Vec<f32>, SessionError> {
        let width = self.context.config.hidden;
        let row = seq * width;
        let mut output = vec![0.0; hidden.len()];
        let mut done = 0;
        while done < seq {
            let count = most.min(seq - done);
            let part = done * width..(done + count) * width;
            let rows = hidden.chunks(row).filter_map(|row| row.get(part.clone()));
            let piece: Vec<f32> = rows.flatten().copied().collect();
            let answer = self.one_step(&piece, count, None).await?;
            let places = output
                .chunks_mut(row)
                .filter_map(|row| row.get_mut(part.clone()));
            for (place, values) in places.zip(answer.chunks(count * width)) {
                place.copy_from_slice(values);
            }
            done += count;
        }
        Ok(output)
    }

    /// The input in the first boundary's format.
    fn pack(&self, hidden: &[f32], seq: usize) -> Result<WireTensor, SessionError> {
        let config = &self.context.config;
        let shape = [config.batch, seq, config.hidden];
        let Terms { codecs, input, .. } = &self.entrance;
        let codec = if codecs.is_empty() {
            input.codec
        } else {
            let listed = |codec: Compression| codecs.contains(&codec);
            config.codec.choose(input.dtype, shape, listed)
        };
        encode_f32(hidden, &shape, input.dtype, codec)
            .map_err(|error| SessionError::BadInput(error.to_string()))
    }

    fn note_step(&mut self, began: Instant, seq: usize) {
        let took = began.elapsed();
        if self.stats.steps > 0 {
            self.stats.max_stall = self.stats.max_stall.max(took);
        }
        self.stats.steps += 1;
        if let Some(phase) = Phase::of_step(seq) {
            metrics::record_step(phase, took);
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
