//! What goes into the state machine and what comes out.
//!
//! | in                     | out                                                          |
//! |------------------------|--------------------------------------------------------------|
//! | `Start`                | `Call`s to initial peers; `Ready` at once if there are none  |
//! | `Request`              | exactly one `Reply` with its id, perhaps after a call-back   |
//! | `Response`, `Tick`     | whatever follows                                             |
//! | `Command` with an id   | exactly one `Done` with its id                               |
//! | (any)                  | at most one `WakeAt`, the last one counts                    |

use std::time::Duration;

use bytes::Bytes;

use super::id::DhtId;
use super::request::{DhtRequest, DhtResponse};
use super::value::DhtRecord;

/// Names an outgoing call between [`Action::Call`] and [`Event::Response`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub u64);

/// Names an incoming call between [`Event::Request`] and [`Action::Reply`]; chosen by the driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// Names a command between [`Event::Command`] and [`Action::Done`]; chosen by the driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OpId(pub u64);

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The driver runs and can make calls.
    Start,
    /// A peer calls us.
    Request {
        /// To be repeated in the reply.
        request_id: RequestId,
        /// Authenticated peer id of the caller, multihash bytes.
        from: Bytes,
        /// The call.
        request: DhtRequest,
    },
    /// An [`Action::Call`] has ended.
    Response {
        /// Which call.
        call: CallId,
        /// The answer, or why there is none.
        result: Result<DhtResponse, CallFailure>,
    },
    /// The process that we are part of wants something.
    Command {
        /// To be repeated when it is done.
        op: OpId,
        /// What it wants.
        command: Command,
    },
    /// A connection to this peer was made.
    Connected {
        /// Peer id, multihash bytes.
        peer: Bytes,
    },
    /// Time has passed.
    Tick,
}

/// Why a call has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallFailure {
    /// No answer in time.
    #[error("no answer in time")]
    Timeout,
    /// No connection.
    #[error("the peer cannot be reached")]
    Unreachable,
    /// The peer does not serve the DHT: it is alive, but a client.
    #[error("the peer does not serve the DHT")]
    NotServed,
    /// The peer answered with an error.
    #[error("the peer answered with an error: {0}")]
    Remote(String),
    /// The answer made no sense.
    #[error("the answer is malformed: {0}")]
    Malformed(String),
    /// We were too busy to call; says nothing about the peer.
    #[error("too many calls are under way here")]
    Overloaded,
}

/// What the process can ask of its node.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Store under `replicas` nodes.
    Store {
        /// What to store.
        entries: Vec<StoreEntry>,
    },
    /// Read.
    Get {
        /// Hashes of the keys.
        keys: Vec<DhtId>,
        /// Ask everybody near and merge, instead of stopping at the first live record.
        latest: bool,
    },
    /// Join through this peer too.
    AddInitialPeer {
        /// Peer id, multihash bytes.
        peer: Bytes,
    },
    /// No longer ping this initial peer. What else is known of it stays.
    RemoveInitialPeer {
        /// Peer id, multihash bytes.
        peer: Bytes,
    },
    /// Call `rpc_ping` on a peer.
    Ping {
        /// Peer id, multihash bytes.
        peer: Bytes,
    },
}

/// One value to store.
#[derive(Debug, Clone, PartialEq)]
pub struct StoreEntry {
    /// Hash of the key.
    pub key: DhtId,
    /// Subkey, msgpack; `None` for a regular value.
    pub subkey: Option<Bytes>,
    /// Value, msgpack.
    pub value: Bytes,
    /// Unix seconds.
    pub expiration: f64,
}

/// Something to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Call a peer and come back with [`Event::Response`], whatever happens.
    Call {
        /// To be repeated in the response.
        call: CallId,
        /// Peer id, multihash bytes.
        to: Bytes,
        /// The call.
        request: DhtRequest,
        /// Give up after this long.
        timeout: Duration,
    },
    /// Answer a peer's call.
    Reply {
        /// Which call.
        request_id: RequestId,
        /// The answer, or an error text for the caller.
        result: Result<DhtResponse, String>,
    },
    /// A command has ended.
    Done {
        /// Which one.
        op: OpId,
        /// How.
        outcome: Outcome,
    },
    /// The node has joined, or is alone by intent. Comes once.
    Ready,
    /// Send a [`Event::Tick`] at this time, Unix seconds; replaces the earlier one.
    WakeAt(f64),
    /// Something the operator should read.
    Notice(Notice),
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// Of [`Command::Store`]; one per entry.
    Stored(Vec<Stored>),
    /// Of [`Command::Get`]; one per key, in order; `None` if nobody had it.
    Found(Vec<Option<DhtRecord>>),
    /// Of [`Command::AddInitialPeer`].
    Added,
    /// Of [`Command::RemoveInitialPeer`], whether or not it was one.
    Removed,
    /// Of [`Command::Ping`]: the peer's node id, `None` in client mode.
    Pinged(Result<Option<DhtId>, CallFailure>),
    /// Too many operations or too large a one; nothing was done.
    Refused,
}

/// What became of one [`StoreEntry`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stored {
    /// Other nodes that were asked to keep it and answered.
    pub asked: usize,
    /// Other nodes that kept it.
    pub kept_by_others: usize,
    /// We kept it ourselves.
    pub kept_here: bool,
}

/// News for the log.
#[derive(Debug, Clone, PartialEq)]
pub enum Notice {
    /// An initial peer answered for the first time, or again after a failure.
    InitialPeerAnswered {
        /// Peer id, multihash bytes.
        peer: Bytes,
    },
    /// An initial peer did not answer; it will be asked again.
    InitialPeerSilent {
        /// Peer id, multihash bytes.
        peer: Bytes,
        /// Why.
        failure: CallFailure,
    },
    /// A peer's clock differs by more than hivemind nodes accept: some of them will refuse to join us.
    ClockSkew {
        /// Peer id, multihash bytes.
        peer: Bytes,
        /// Its clock minus ours, seconds.
        seconds: f64,
    },
    /// An initial peer could not call us back: others will not learn of us through it.
    NotReachable {
        /// Peer id, multihash bytes.
        peer: Bytes,
    },
}
