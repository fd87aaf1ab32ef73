//! One stream used from two sides at once.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Wake, Waker},
};

use futures::{AsyncRead, AsyncWrite, task::AtomicWaker};
use libp2p::Stream;

/// Reads the stream.
#[derive(Debug)]
pub(crate) struct ReadHalf(Arc<Shared>);

/// Writes and closes the stream.
#[derive(Debug)]
pub(crate) struct WriteHalf(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// A std mutex: held for one poll.
    stream: Mutex<Stream>,
    wakers: Arc<Wakers>,
    waker: Waker,
}

/// Until the name is agreed on, reading also writes, and the layers below keep one waker for
/// each kind of progress: the last to wait. Waking both sides loses neither.
#[derive(Debug, Default)]
struct Wakers {
    reader: AtomicWaker,
    writer: AtomicWaker,
}

impl Wake for Wakers {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.reader.wake();
        self.writer.wake();
    }
}

/// Both halves of `stream`, which ends when both are dropped.
pub(crate) fn split(stream: Stream) -> (ReadHalf, WriteHalf) {
    let wakers = Arc::new(Wakers::default());
    let shared = Arc::new(Shared {
        stream: Mutex::new(stream),
        waker: Waker::from(wakers.clone()),
        wakers,
    });
    (ReadHalf(shared.clone()), WriteHalf(shared))
}

impl ReadHalf {
    /// At the end of the stream, while our side is open: whether the peer reset it or the
    /// connection is gone, rather than the peer closing its side in order. yamux reports all of
    /// them as the same end, but only takes further writes after the last.
    pub(crate) fn ended_by_reset(&self) -> bool {
        let mut nothing = Context::from_waker(Waker::noop());
        let written = Pin::new(&mut *self.0.lock()).poll_write(&mut nothing, &[]);
        matches!(written, Poll::Ready(Err(_)))
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Stream> {
        self.stream.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn poll<T>(
        &self,
        poll: impl FnOnce(Pin<&mut Stream>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let mut context = Context::from_waker(&self.waker);
        poll(Pin::new(&mut *self.lock()), &mut context)
    }

    fn poll_writer<T>(
        &self,
        cx: &Context<'_>,
        poll: impl FnOnce(Pin<&mut Stream>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        self.wakers.writer.register(cx.waker());
        self.poll(poll)
    }
}

impl AsyncRead for ReadHalf {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.0.wakers.reader.register(cx.waker());
        self.0.poll(|stream, cx| stream.poll_read(cx, buffer))
    }
}

impl AsyncWrite for WriteHalf {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0
            .poll_writer(cx, |stream, cx| stream.poll_write(cx, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_writer(cx, AsyncWrite::poll_flush)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_writer(cx, AsyncWrite::poll_close)
    }
}
