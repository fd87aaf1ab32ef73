//! The caller's numbers to the first boundary's tensor, and the last one's tensor back, off the network threads when
//! large.

use block_protocol::compression::{decode_f32, encode_f32};
use block_protocol::{Compression, WireTensor};

use super::ChainConfig;
use crate::link_codec::Terms;
use crate::session_error::SessionError;

/// Numbers above this are packed on the blocking pool: at about 1 GB/s it stands for a quarter of a millisecond.
const MAX_INLINE_BYTES: usize = 256 * 1024;

/// `hidden`, f32 `[batch, seq, hidden]`, as the first server takes it.
///
/// # Errors
/// `BadInput` for more numbers than one tensor can have.
pub(super) async fn pack(
    config: &ChainConfig,
    entrance: &Terms,
    hidden: &[f32],
    seq: usize,
) -> Result<WireTensor, SessionError> {
    let shape = [config.batch, seq, config.hidden];
    let dtype = entrance.input.dtype;
    let codec = if entrance.codecs.is_empty() {
        entrance.input.codec
    } else {
        // By one token, so that a token is rounded alike whatever is sent with it.
        let token = [config.batch, 1, config.hidden];
        let listed = |codec: Compression| entrance.codecs.contains(&codec);
        config.codec.choose(dtype, token, listed)
    };
    let packed = if is_small(hidden.len()) {
        encode_f32(hidden, &shape, dtype, codec)
    } else {
        let hidden = hidden.to_vec();
        off_thread(move || encode_f32(&hidden, &shape, dtype, codec)).await?
    };
    packed.map_err(|error| SessionError::BadInput(error.to_string()))
}

/// The numbers of a tensor.
///
/// # Errors
/// `Unsupported` if they are of a kind that has no numbers: never, a tensor is checked when it comes.
pub(super) async fn unpack(tensor: WireTensor) -> Result<Vec<f32>, SessionError> {
    let numbers = if is_small(tensor.numel().unwrap_or(usize::MAX)) {
        decode_f32(&tensor)
    } else {
        off_thread(move || decode_f32(&tensor)).await?
    };
    numbers.map_err(|error| SessionError::Unsupported(error.to_string()))
}

fn is_small(numbers: usize) -> bool {
    numbers <= MAX_INLINE_BYTES / size_of::<f32>()
}

async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, SessionError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| SessionError::Unsupported(format!("packing numbers failed: {error}")))
}
