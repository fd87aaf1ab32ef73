//! Frames onto a stream, never waiting for ever.

use std::io;

use block_protocol::frame::{encode_message, message_header};
use bytes::BytesMut;
use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use crate::limits::{LINGER_TIMEOUT, WRITE_STALL_TIMEOUT};

/// Bodies up to this are copied behind their header, so that both leave as one muxer frame.
const JOINED_BODY_BYTES: usize = 16 << 10;

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
    if body.len() <= JOINED_BODY_BYTES {
        let mut frame = BytesMut::with_capacity(message_header(0).len() + body.len());
        encode_message(body, &mut frame);
        return write_all(stream, &frame).await;
    }
    write_some(stream, &message_header(body.len())).await?;
    write_all(stream, body).await
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
