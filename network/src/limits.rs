//! Every bound of this crate in one table: how much a peer can make us hold, and for how long.

use std::time::Duration;

/// Streams we keep open to one peer at a time; further calls wait for a free one.
/// Half of what go-yamux and older rust-yamux take before they end the connection (512).
pub(crate) const MAX_OUTBOUND_STREAMS_PER_PEER: usize = 256;

/// yamux ends a connection whose peer opens more streams than this, in both directions together.
/// Well above our own streams plus [`MAX_HALF_OPEN_PER_PEER`], so that a flood of streams is
/// answered by resets and the calls beside it go on; yamux' window accounting ends at 4,096.
pub(crate) const MAX_YAMUX_STREAMS: usize = 2048;

/// Inbound streams of one connection that are still negotiating a name.
pub(crate) const MAX_NEGOTIATING_STREAMS: usize = 128;

/// Inbound streams of one peer whose first request has not arrived in full, or that no handler
/// has taken yet; more are refused. Twice what one of our own callers has open at a time.
pub(crate) const MAX_HALF_OPEN_PER_PEER: usize = 512;

/// The same for all peers together: each costs a task and up to 8 KiB.
pub(crate) const MAX_HALF_OPEN: usize = 4096;

/// Streams that are being told so; more are reset without a word.
pub(crate) const MAX_REFUSING: usize = 1024;

/// Bytes of one peer's requests that wait here for the rest of their frame.
/// Room for the largest frame, 257 MiB, beside small ones.
pub(crate) const MAX_RECEIVE_BYTES_PER_PEER: usize = 384 << 20;

/// The same for all peers together.
pub(crate) const MAX_RECEIVE_BYTES: usize = 1 << 30;

/// What a receive buffer may hold without asking for its share of the two bounds above.
pub(crate) const FREE_RECEIVE_BYTES: usize = 64 << 10;

/// Open connections, and those of one peer: two come from dialing each other at once, two more
/// leave room for a relayed connection beside a direct one.
pub(crate) const MAX_CONNECTIONS: u32 = 1024;
pub(crate) const MAX_CONNECTIONS_PER_PEER: u32 = 4;

/// Connections in their handshake, for each direction.
pub(crate) const MAX_PENDING_CONNECTIONS: u32 = 256;

/// Peers that calls are waiting to be connected to.
pub(crate) const MAX_PENDING_PEERS: usize = 1024;

/// Peers whose addresses are remembered, least recently learned first to go, and addresses of each.
pub(crate) const MAX_KNOWN_PEERS: usize = 4096;
pub(crate) const MAX_ADDRESSES_PER_PEER: usize = 16;

/// Peers of the local network that are remembered; those found beyond it are not asked. As many as the DHT has
/// initial peers.
pub(crate) const MAX_LOCAL_PEERS: usize = 64;

/// Peers remembered at one address: a machine with a server for each of many cards, and a fourth of all that are remembered.
pub(crate) const MAX_LOCAL_PEERS_PER_IP: usize = 16;

/// Records that libp2p's mDNS may hold, which it does not bound itself; beyond it somebody floods the network, and
/// mDNS is turned off. A peer has one for each of its addresses. What libp2p has read and not yet told is not counted: a
/// machine of the local network that sends packets faster than they are handled takes memory of whoever uses `--lan`.
pub(crate) const MAX_MDNS_RECORDS: usize = 1024;

/// How often the local network is asked who is there, if nobody else asks: libp2p's 5 min would be long for somebody
/// who waits after another program has answered first.
pub(crate) const MDNS_QUERY_INTERVAL: Duration = Duration::from_secs(30);

/// Commands waiting for the event loop; senders wait beyond it.
pub(crate) const COMMAND_QUEUE: usize = 256;

/// Dial, security and muxer handshake of one connection. Petals' client gives up after 5 s.
pub(crate) const CONNECTION_TIMEOUT: Duration = Duration::from_secs(10);

/// The first call on a connection waits this long for identify; then it goes ahead without. Shorter than a client waits for a
/// server that it has not tried yet (1.5 s).
pub(crate) const IDENTIFY_TIMEOUT: Duration = Duration::from_secs(1);

/// A peer of which kad's table has no room is taken in after this, unless the one that was silent for longest can be dialed
/// by then. libp2p's 60 s let a swarm whose servers come and go fill the table with dead ones, among which nobody who asks
/// finds the living.
pub(crate) const KAD_REPLACE_AFTER: Duration = Duration::from_secs(3);

/// One FIND_NODE lookup in the kad table.
pub(crate) const LOOKUP_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection without streams is closed after this; go-libp2p's grace period is the same.
/// Open streams keep their connection, however idle they are.
pub(crate) const IDLE_CONNECTION_TIMEOUT: Duration = Duration::from_secs(120);

/// Keeps address translators on the path from forgetting idle connections (the usual 60 s and up).
pub(crate) const PING_INTERVAL: Duration = Duration::from_secs(15);

/// Pings in a row without an answer after which a connection counts as dead, and the time for one.
pub(crate) const MAX_FAILED_PINGS: u32 = 3;
pub(crate) const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// A unary request must be here in full: 4 MiB at 1 Mbit/s take 35 s.
pub(crate) const UNARY_REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// The first frame of a streamed call: a client opens the streams of its whole route before its
/// first step reaches the last server. Petals waits as long.
pub(crate) const FIRST_FRAME_TIMEOUT: Duration = Duration::from_secs(300);

/// A request that no handler takes within this is refused as overload.
pub(crate) const QUEUE_TIMEOUT: Duration = Duration::from_secs(10);

/// A writer gives up on a peer that takes not one byte for this long.
pub(crate) const WRITE_STALL_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a callee that has answered waits for the end of the caller's input before it closes:
/// hivemind's daemon drops a caller that is still writing then, and with it the answer.
pub(crate) const SETTLE_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a finished stream waits for the peer to close its side, so that the last bytes are
/// not overtaken by a reset.
pub(crate) const LINGER_TIMEOUT: Duration = Duration::from_secs(5);

/// Closing all connections and ending all streams at shutdown.
pub(crate) const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(3);
