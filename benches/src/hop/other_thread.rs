//! A thread beside a runtime, as the one that computes: what it costs to hand something over and get it back.

use std::io;
use std::sync::mpsc;
use std::thread;

use bytes::Bytes;
use tokio::sync::oneshot;

/// Gives back what it is given. Ends with its last handle.
#[derive(Debug, Clone)]
pub(super) struct OtherThread {
    inbox: mpsc::Sender<(Bytes, oneshot::Sender<Bytes>)>,
}

impl OtherThread {
    /// # Errors
    /// The system's, if it gives no thread.
    pub(super) fn start() -> io::Result<Self> {
        let (inbox, given) = mpsc::channel::<(Bytes, oneshot::Sender<Bytes>)>();
        thread::Builder::new()
            .name("other".to_owned())
            .spawn(move || {
                for (body, reply) in given {
                    // A caller that has gone needs nothing back.
                    reply.send(body).ok();
                }
            })?;
        Ok(Self { inbox })
    }

    /// `body`, once the thread has had it; `None` if the thread has ended.
    pub(super) async fn pass(&self, body: Bytes) -> Option<Bytes> {
        let (reply, answer) = oneshot::channel();
        self.inbox.send((body, reply)).ok()?;
        answer.await.ok()
    }
}
