//! Frames onto a stream, never waiting for ever.

use std::io;

use block_protocol::frame::message_header;
use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use crate::limits::{LINGER_TIMEOUT, WRITE_STALL_TIMEOUT};

/// A header and as much of its body as fits are copied together, so that they leave as one muxer frame, of this size at
/// most: a frame of the header alone would cost the peer a wake-up.
const MUXER_FRAME_BYTES: usize = 16 << 10;

/// Writes all of `bytes` and flushes.
///
/// # Errors
/// `TimedOut` if the peer takes nothing for [`WRITE_STALL_TIMEOUT`], else the stream's own error.
pub(crate) async fn write_all<W: AsyncWrite + Unpin>(
    stream: &mut W,
    bytes: &[u8],
) -> io::Result<()> {
    write_some(stream, bytes).await?;
    timeout(WRITE_STALL_TIMEOUT, stream.flush()).await?
}

/// Writes one stream frame with `body` and flushes. Errors as [`write_all`].
pub(crate) async fn write_message<W: AsyncWrite + Unpin>(
    stream: &mut W,
    body: &[u8],
) -> io::Result<()> {
    let header = message_header(body.len());
    let joined = body.len().min(MUXER_FRAME_BYTES - header.len());
    let (start, rest) = body.split_at(joined);
    let frame = [&header, start].concat();
    if rest.is_empty() {
        return write_all(stream, &frame).await;
    }
    write_some(stream, &frame).await?;
    write_all(stream, rest).await
}

/// Closes our side, then waits a while for the peer to close its own: dropping a stream that is
/// open on one side resets it, and a reset may overtake what was sent before.
pub(crate) async fn close_and_linger<R, W>(mut reader: R, mut writer: W)
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut ignored = [0; 1024];
    let _ = timeout(LINGER_TIMEOUT, async {
        writer.close().await?;
        while reader.read(&mut ignored).await? > 0 {}
        io::Result::Ok(())
    })
    .await;
}

async fn write_some<W: AsyncWrite + Unpin>(stream: &mut W, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = timeout(WRITE_STALL_TIMEOUT, stream.write(bytes)).await??;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        bytes = &bytes[written..];
    }
    Ok(())
}
