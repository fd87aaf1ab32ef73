//! Every limit of the wire in one table: unit in the name, reason beside it.
//!
//! Decoders check these before they allocate. Limits marked "reference" are
//! enforced by Petals or Hivemind too; the others are ours and generous.

/// One unary envelope without its length prefix, inclusive. Reference: the Go daemon
/// silently stops reading at one byte more.
pub const MAX_UNARY_BYTES: usize = 4_194_304;

/// One stream frame's body. `rpc_inference` sends whole tensors: 8192 tokens of the widest
/// known model (hidden 16384) in 2-byte floats are 256 MiB; the rest is for the message around it.
pub const MAX_STREAM_FRAME_BYTES: usize = 268_435_456 + 1_048_576;

/// One tensor's buffer, whole or joined from parts; see [`MAX_STREAM_FRAME_BYTES`].
pub const MAX_TENSOR_BYTES: usize = 268_435_456;

/// One part's buffer that we send in stream calls. Reference: Petals slices at 4 MiB.
pub const MAX_PART_BYTES: usize = 4_194_304;

/// Dimensions of one tensor; deep prompts have the most, four.
pub const MAX_TENSOR_DIMS: usize = 8;

/// Tensors in one message; the reference sends three.
pub const MAX_TENSORS_PER_MESSAGE: usize = 64;

/// Error text of either framing, as we send and keep it; longer text is cut.
pub const MAX_ERROR_TEXT_BYTES: usize = 8_192;

/// One error frame's body. Python puts whole arguments into its messages, so it may be long.
pub const MAX_ERROR_FRAME_BYTES: usize = 65_536;

/// Name of an RPC handler; the longest in use has 48 bytes.
pub const MAX_RPC_NAME_BYTES: usize = 256;

/// One block uid or prefix; a Hugging Face repository name has at most 96 bytes plus its owner.
pub const MAX_UID_BYTES: usize = 256;

/// Blocks named by one chain; the deepest known model has 126.
pub const MAX_BLOCKS_IN_CHAIN: usize = 512;

/// One chain of block uids with its separators.
pub const MAX_CHAIN_BYTES: usize = MAX_BLOCKS_IN_CHAIN * (MAX_UID_BYTES + 1);

/// Largest block number; far above [`MAX_BLOCKS_IN_CHAIN`], far below overflow.
pub const MAX_BLOCK_INDEX: usize = 65_535;

/// Metadata of one message; a route over 512 servers fits.
pub const MAX_METADATA_BYTES: usize = 65_536;

/// One server record or model record in the DHT; the reference writes about 300 bytes.
pub const MAX_RECORD_BYTES: usize = 65_536;

/// The payload of `rpc_info`; the reference writes about 800 bytes.
pub const MAX_RPC_INFO_BYTES: usize = 65_536;

/// Nesting of one msgpack value, not counting extension bodies, which are decoded on their own.
pub const MAX_MSGPACK_DEPTH: usize = 32;

/// Values inside one msgpack value: bounds memory at about 5 MB, since one byte may stand for
/// a value that takes 40 bytes in memory.
pub const MAX_MSGPACK_VALUES: usize = 65_536;

/// Session ids and step ids; the reference uses UUID text of 36 bytes.
pub const MAX_ID_BYTES: usize = 128;

/// Short names in records and metadata: versions, public names, adapters, peer ids.
pub const MAX_NAME_BYTES: usize = 512;

/// Servers after this one in a pushed route: at most one per block.
pub const MAX_NEXT_SERVERS: usize = MAX_BLOCKS_IN_CHAIN;

/// Positional arguments of one call; the reference uses three.
pub const MAX_POSITIONAL_ARGS: usize = 64;

/// Entries of a record's `next_pings`; the reference measures ten.
pub const MAX_NEXT_PINGS: usize = 1_024;

/// Adapter or codec names in one record.
pub const MAX_LISTED_NAMES: usize = 256;

/// Repeated fields at the top of one DHT message: keys of one find or store, results of one answer.
pub const MAX_DHT_FIELDS: usize = 16_384;

/// One peer id as multihash bytes; those in use have 34 to 38.
pub const MAX_PEER_ID_BYTES: usize = 64;

/// Elements of one tensor: as many as [`MAX_TENSOR_BYTES`] holds in 2-byte floats. Keeps the 1-byte
/// codecs from unpacking to more than 512 MiB of 4-byte floats.
pub const MAX_TENSOR_ELEMENTS: usize = MAX_TENSOR_BYTES / 2;
