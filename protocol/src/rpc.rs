//! The RPC handlers of a swarm: their names on the wire and their framing.
//!
//! A name is `Service.method` without a leading slash. A call whose request and response are
//! single messages is unary; the others use stream framing in both directions.
//!
//! Source: hivemind 1.1.12 and Petals main (2.3.0.dev2).

/// Every handler that a Petals swarm knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rpc {
    /// Is a DHT node alive, what time has it, can it call back.
    DhtPing,
    /// Write records.
    DhtStore,
    /// Read records and learn about neighbours.
    DhtFind,
    /// What a server offers.
    Info,
    /// Blocks without a cache, one message each way.
    Forward,
    /// Blocks without a cache, tensors in parts.
    ForwardStream,
    /// Gradients, one message each way.
    Backward,
    /// Gradients, tensors in parts.
    BackwardStream,
    /// A session: steps through the blocks with a cache.
    Inference,
    /// A step handed on by the server before.
    Push,
    /// Can you dial that peer.
    ReachabilityCheck,
}

/// Which framing a handler uses; see [`crate::frame`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RpcKind {
    /// One envelope each way.
    Unary,
    /// Any number of frames each way.
    Stream,
}

impl Rpc {
    /// All handlers.
    pub const ALL: [Self; 11] = [
        Self::DhtPing,
        Self::DhtStore,
        Self::DhtFind,
        Self::Info,
        Self::Forward,
        Self::ForwardStream,
        Self::Backward,
        Self::BackwardStream,
        Self::Inference,
        Self::Push,
        Self::ReachabilityCheck,
    ];

    /// The handler's name as libp2p negotiates it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::DhtPing => "DHTProtocol.rpc_ping",
            Self::DhtStore => "DHTProtocol.rpc_store",
            Self::DhtFind => "DHTProtocol.rpc_find",
            Self::Info => "TransformerConnectionHandler.rpc_info",
            Self::Forward => "TransformerConnectionHandler.rpc_forward",
            Self::ForwardStream => "TransformerConnectionHandler.rpc_forward_stream",
            Self::Backward => "TransformerConnectionHandler.rpc_backward",
            Self::BackwardStream => "TransformerConnectionHandler.rpc_backward_stream",
            Self::Inference => "TransformerConnectionHandler.rpc_inference",
            Self::Push => "TransformerConnectionHandler.rpc_push",
            Self::ReachabilityCheck => "ReachabilityProtocol.rpc_check",
        }
    }

    /// The handler with that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|rpc| rpc.name() == name)
    }

    /// The handler's framing.
    #[must_use]
    pub const fn kind(self) -> RpcKind {
        match self {
            Self::ForwardStream | Self::BackwardStream | Self::Inference => RpcKind::Stream,
            Self::DhtPing
            | Self::DhtStore
            | Self::DhtFind
            | Self::Info
            | Self::Forward
            | Self::Backward
            | Self::Push
            | Self::ReachabilityCheck => RpcKind::Unary,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_distinct_and_bare() {
        for rpc in Rpc::ALL {
            assert_eq!(Rpc::from_name(rpc.name()), Some(rpc));
            assert!(!rpc.name().starts_with('/'));
            assert!(rpc.name().len() <= crate::limits::MAX_RPC_NAME_BYTES);
        }
        assert_eq!(Rpc::from_name("/DHTProtocol.rpc_ping"), None);
    }
}
