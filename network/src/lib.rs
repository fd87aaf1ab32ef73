//! libp2p for a Petals peer: transport, calls and the DHT driver.
//!
//! From the outside in:
//! - [`Node`], [`NodeTask`], [`NodeConfig`]: a running peer and how to start one
//! - [`ClientStream`], [`ServerStream`], [`UnaryCall`]: calls, as caller and as callee
//! - [`ReachabilityService`], [`check_direct`]: can others dial us?
//! - [`LocalPeers`], [`search_local`]: who is on the local network
//! - [`identity`]: key pairs and the files that hold them
//! - [`unix_time`]: the wall clock
//!
//! Inside: `rpc` moves frames on streams, `rpc_streams` accepts and opens them, `services` brings
//! inbound ones to their handler under the caps of `admission`, `swarm` is the libp2p task, `bare_names` the translation of
//! hivemind's handler names, `limits` every bound.

mod address_book;
mod admission;
mod bare_names;
mod config;
mod dht;
mod error;
pub mod identity;
mod limits;
mod links;
mod local_peers;
mod node;
mod opening;
mod reachability;
mod rpc;
mod rpc_streams;
mod services;
mod swarm;
mod time;
mod traffic;

pub use config::NodeConfig;
pub use dht::{Dht, DhtConfig, DhtError, subkey_entry};
pub use error::{CallError, NetworkError};
pub use identity::IdentityError;
pub use libp2p::{Multiaddr, PeerId, identity::Keypair};
pub use local_peers::{LocalPeers, LocalSearch, multicast_source, search_local};
pub use node::{Node, NodeTask};
pub use reachability::{Reachability, ReachabilityService, check_direct};
pub use rpc::{
    ClientReceiver, ClientSender, ClientStream, ReceiveError, Received, SendError, ServerReceiver,
    ServerSender, ServerStream, StreamCall, UnaryCall,
};
pub use time::unix_time;
