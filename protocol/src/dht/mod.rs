//! The Hivemind DHT as a state machine, without sockets, clocks or randomness of its own.
//!
//! In reading order: identifiers ([`DhtId`]), values ([`DhtRecord`]), messages ([`DhtRequest`], [`DhtResponse`]),
//! what a node keeps ([`Storage`]) and whom it knows ([`RoutingTable`]), how it searches ([`Lookup`]), and the node
//! itself ([`DhtNode`]), which takes [`Event`]s and returns [`Action`]s.

pub mod limits;

mod bucket;
mod codec;
mod config;
mod event;
mod failed_peers;
mod id;
mod lookup;
mod node;
mod raw_msgpack;
mod request;
mod routing_table;
mod storage;
mod value;

pub use config::DhtConfig;
pub use event::{
    Action, CallFailure, CallId, Command, Event, Notice, OpId, Outcome, RequestId, StoreEntry,
    Stored,
};
pub use failed_peers::FailedPeers;
pub use id::{DHT_ID_BYTES, DhtId, Distance};
pub use lookup::{Lookup, Visit};
pub use node::DhtNode;
pub use request::{
    DhtRequest, DhtResponse, FindRequest, FindResponse, FindResult, NodeContact, PingRequest,
    PingResponse, StoreRecord, StoreRequest, StoreResponse, Subkey,
};
pub use routing_table::{Added, RoutingTable};
pub use storage::{Storage, StorageLimits};
pub use value::{DhtRecord, DhtValue, Dictionary, DictionaryEntry, text_of, text_subkey};
