//! One session over a route: hidden states in, hidden states out, through servers that may die.

use std::ops::Range;
use std::time::Duration;

use block_network::{Node, PeerId};

use crate::link_codec::ActivationCodec;
use crate::model_view::ModelView;
use crate::session_error::SessionError;

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
    /// If set, the route goes through exactly these servers, in this order, and a lost one must come back.
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

/// One stop of a session's route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteStop {
    /// The server.
    pub peer: PeerId,
    /// The blocks that it runs.
    pub blocks: Range<usize>,
}

/// What a session has done so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChainStats {
    /// The servers in use now, in order of blocks.
    pub route: Vec<RouteStop>,
    /// Steps answered by the whole chain.
    pub steps: u64,
    /// Repairs that succeeded after a server was lost.
    pub failovers: u64,
    /// Tokens per sequence that were sent again to fill another server's cache, once for each hop that got them.
    pub replayed_tokens: u64,
    /// Longest time of one step; the first one, which carries the prompt, does not count.
    pub max_stall: Duration,
    /// Bytes of the messages sent to servers.
    pub bytes_sent: u64,
    /// Bytes of the messages received from servers.
    pub bytes_received: u64,
    /// How hidden states travel, as asked for.
    pub codec: ActivationCodec,
}

/// One session over a route of servers. Dropping it ends its streams, and the servers free its caches.
#[derive(Debug)]
pub struct Chain {}

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
        let _ = (view, node, config);
        unimplemented!()
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
        let _ = (hidden, reorder);
        unimplemented!()
    }

    /// Tokens in the session, per sequence.
    #[must_use]
    pub fn position(&self) -> usize {
        unimplemented!()
    }

    /// Tokens that the session may ever hold, per sequence.
    #[must_use]
    pub fn max_length(&self) -> usize {
        unimplemented!()
    }

    /// Forgets the tokens from `position` on. Takes effect with the next step.
    ///
    /// # Errors
    /// `BadInput` if `position` is ahead of the session's.
    pub fn roll_back(&mut self, position: usize) -> Result<(), SessionError> {
        let _ = position;
        unimplemented!()
    }

    /// What it has done so far.
    #[must_use]
    pub fn stats(&self) -> ChainStats {
        unimplemented!()
    }

    /// Ends the session at every server, politely and within a bounded time.
    pub async fn close(self) {
        unimplemented!()
    }
}
