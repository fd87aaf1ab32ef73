//! A run of blocks between two boundaries, and the server that runs it now.

use block_network::PeerId;
use block_protocol::compression::encode_i64;
use block_protocol::{NextServer, Span, WireTensor};

use super::log::{Log, compose};
use super::witness::Witness;
use crate::error::HopError;
use crate::hop::{Hop, HopStep};
use crate::link_codec::{Format, Terms};
use crate::model_view::PlannedHop;

/// Steps in a row that may come late by push before the client takes them there itself: one may be bad luck, and each
/// costs its wait.
const MAX_LATE_PUSHES: usize = 3;

/// A run of blocks. Its boundaries never go away: what crossed them was rounded there, and the text depends on it. A
/// repair may cut it into several, with lossless boundaries between them.
#[derive(Debug)]
pub(super) struct Segment {
    /// How the numbers that leave it are rounded, whoever runs it.
    pub(super) output: Format,
    /// What it was given.
    pub(super) log: Log,
    /// Bytes sent to and received from servers that ran it before.
    pub(super) past: (u64, u64),
    /// Who runs it.
    pub(super) seat: Seat,
}

/// Who runs a segment.
#[derive(Debug)]
pub(super) enum Seat {
    /// A session is open there.
    Taken(Box<LiveHop>),
    /// Its server was lost: another one must take over.
    Lost(PlannedHop),
    /// The server is well, but its session ended or its cache is not known: the same one may take over.
    Stale(PlannedHop),
}

/// An open session at one server.
#[derive(Debug)]
pub(super) struct LiveHop {
    pub(super) hop: Hop,
    pub(super) plan: PlannedHop,
    pub(super) session_id: String,
    pub(super) terms: Terms,
    /// Which answers have come.
    pub(super) witness: Witness,
    /// Tokens per sequence in its cache.
    pub(super) held: usize,
    /// A reorder that its cache lacks.
    pub(super) owed: Option<Vec<usize>>,
    /// A step is on its way to it, and nobody has seen yet that all went well.
    pub(super) touched: bool,
    /// Steps in a row that the server before it was to hand over and that did not come in time.
    pub(super) late_pushes: usize,
}

impl Segment {
    /// The session that is open, if one is.
    pub(super) fn live(&self) -> Option<&LiveHop> {
        match &self.seat {
            Seat::Taken(live) => Some(live),
            Seat::Lost(_) | Seat::Stale(_) => None,
        }
    }

    /// The same, to use it.
    pub(super) fn live_mut(&mut self) -> Option<&mut LiveHop> {
        match &mut self.seat {
            Seat::Taken(live) => Some(live),
            Seat::Lost(_) | Seat::Stale(_) => None,
        }
    }

    /// The server and blocks of now, or of before it was lost.
    pub(super) fn plan(&self) -> &PlannedHop {
        match &self.seat {
            Seat::Taken(live) => &live.plan,
            Seat::Lost(plan) | Seat::Stale(plan) => plan,
        }
    }

    /// Ends the session, whose server is lost.
    pub(super) fn lose(&mut self) {
        self.past = self.traffic();
        self.seat = Seat::Lost(self.plan().clone());
    }

    /// Ends the session; its server may go on with another one.
    pub(super) fn expire(&mut self) {
        if self.live().is_some() {
            self.past = self.traffic();
            self.seat = Seat::Stale(self.plan().clone());
        }
    }

    /// Bytes sent and received for it so far.
    pub(super) fn traffic(&self) -> (u64, u64) {
        let (sent, received) = self.live().map_or((0, 0), |live| live.hop.traffic());
        (self.past.0 + sent, self.past.1 + received)
    }
}

impl LiveHop {
    pub(super) fn peer(&self) -> PeerId {
        self.plan.peer
    }

    /// Whether the server before it may hand steps over to it. Some pairs of servers cannot reach each other.
    pub(super) fn is_reached_from(&self, before: &Self) -> bool {
        // A server does not dial itself.
        self.peer() != before.peer() && self.late_pushes < MAX_LATE_PUSHES
    }

    /// The reorder to send so that the cache becomes what the step means.
    pub(super) fn reorder_for(&self, reorder: Option<&[usize]>) -> Option<Vec<usize>> {
        compose(self.owed.clone(), reorder)
    }

    /// How others name this session in a route.
    ///
    /// # Errors
    /// Never: a planned hop has blocks.
    pub(super) fn as_next_server(&self) -> Result<NextServer, HopError> {
        Ok(NextServer {
            peer_id: self.plan.peer.to_base58(),
            session_id: self.session_id.clone(),
            span: Span::new(self.plan.blocks.start, self.plan.blocks.end)?,
        })
    }
}

/// A step without a route.
///
/// # Errors
/// Never: row numbers are small.
pub(super) fn plain_step(
    tensor: WireTensor,
    step_id: String,
    reorder: Option<&[usize]>,
    cut: Option<usize>,
) -> Result<HopStep, HopError> {
    let reorder = match reorder {
        None => None,
        Some(rows) => {
            let rows: Vec<i64> = rows
                .iter()
                .map(|&row| i64::try_from(row).unwrap_or(i64::MAX))
                .collect();
            Some(encode_i64(&rows, &[rows.len()])?)
        }
    };
    Ok(HopStep {
        hidden_states: tensor,
        prompts: None,
        reorder,
        step_id,
        start_from_position: cut,
        next_servers: Vec::new(),
    })
}
