//! Every bound of the DHT in one table: unit and reason.

use std::time::Duration;

/// Largest answer to `rpc_find`, bytes: the unary envelope holds 4 MiB; the rest is room for the envelope itself.
pub const MAX_ANSWER_BYTES: usize = 4 * 1024 * 1024 - 64 * 1024;
/// Largest `rpc_store` that we send, bytes: a quarter of the envelope, so that one slow link delays little.
pub const MAX_STORE_CALL_BYTES: usize = 1024 * 1024;
/// Most records in one `rpc_store`, sent or accepted: three fields each, within `limits::MAX_DHT_FIELDS`.
pub const MAX_RECORDS_PER_STORE: usize = 4096;
/// Most keys in one `rpc_find` that we answer. The reference asks for the square root of its keys at once.
pub const MAX_KEYS_PER_FIND: usize = 256;
/// Most keys in one `rpc_find` that we send: the reference's chunk size.
pub const MAX_KEYS_PER_VISIT: usize = 16;
/// Most keys of one get or entries of one store. Eight announcements of the longest model.
pub const MAX_ITEMS_PER_COMMAND: usize = 4096;
/// Most nodes taken from one `rpc_find` result: three times the bucket size of the reference.
pub const MAX_NEAREST_PER_RESULT: usize = 60;
/// Longest peer id, bytes. An identity multihash of Ed25519 has 38, SHA-256 ones have 34.
pub const MAX_PEER_ID_BYTES: usize = 64;
/// Longest subkey, bytes: a signed subkey of the reference has about 400.
pub const MAX_SUBKEY_BYTES: usize = 4096;
/// Largest dictionary that is kept or decoded, entries.
pub const MAX_SUBKEYS: usize = 8192;

/// Most operations (store, get, own lookups) at a time; more are refused as overload.
pub const MAX_OPERATIONS: usize = 256;
/// Most calls without an answer; background calls stop at half of it.
pub const MAX_PENDING_CALLS: usize = 4096;
/// Most call-backs to validate newcomers at a time; a caller beyond it is told "not available".
pub const MAX_VALIDATIONS: usize = 128;
/// Most pings of one peer that wait for the same call-back.
pub const MAX_WAITERS_PER_VALIDATION: usize = 8;
/// Most hand-overs in progress; a newcomer beyond it gets the records with the next announcement.
pub const MAX_HAND_OVERS: usize = 16;
/// Most initial peers.
pub const MAX_INITIAL_PEERS: usize = 64;
/// Most nodes in the routing table, replacements included.
pub const MAX_TABLE_NODES: usize = 8192;
/// Most peers whose failures are remembered.
pub const MAX_FAILED_PEERS: usize = 4096;
/// Most cached keys that are refreshed before they expire.
pub const MAX_REFRESHED_KEYS: usize = 1024;
/// Most nodes that one lookup asks for one key: six full beams, so that a liar cannot lead it on for ever.
pub const MAX_VISITS_PER_QUERY: usize = 120;
/// Nodes remembered per key during a lookup: four full beams, spare ones for those that do not answer.
pub const MAX_CANDIDATES_PER_QUERY: usize = 80;
/// Store calls of one operation at a time: the widest that the reference's client uses.
pub const MAX_STORE_CALLS: usize = 32;

/// How long a node that validates may wait: less than the 3 s that its caller waits for the whole ping.
pub const VALIDATION_TIMEOUT: Duration = Duration::from_secs(2);
/// A call that the driver has not answered this long after its own timeout is given up.
pub const DRIVER_GRACE: Duration = Duration::from_secs(5);
/// One operation may last this long, then it ends with what it has.
pub const OPERATION_TIMEOUT: Duration = Duration::from_secs(60);
/// Allowed difference of clocks between peers: the reference refuses to join beyond it.
pub const MAX_CLOCK_SKEW: Duration = Duration::from_secs(3);
/// Expired records are swept this often.
pub const SWEEP_PERIOD: Duration = Duration::from_secs(10);
/// The same peer is handed records at most this often, whatever node ids it claims.
pub const HAND_OVER_PAUSE: Duration = Duration::from_secs(10);
/// Cached records in use are fetched again this long before they expire.
pub const CACHE_REFRESH_MARGIN: Duration = Duration::from_secs(5);
