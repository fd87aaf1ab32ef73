//! The handlers that this node serves, and the way of an inbound stream to its handler.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use libp2p::{PeerId, Stream, StreamProtocol};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    admission::Admission,
    bare_names,
    limits::MAX_REFUSING,
    links::Links,
    rpc::{
        StreamCall, UnaryCall, close_and_linger, serve_stream, serve_unary, split, stream_refusal,
        unary_refusal, write_all,
    },
};

/// Cheap handle. Owner of the tasks that read requests and write replies: they end with their
/// stream, or when [`Services::close`] cancels them.
#[derive(Debug, Clone)]
pub(crate) struct Services(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    links: Links,
    table: RwLock<HashMap<StreamProtocol, Service>>,
    admission: Admission,
    refusing: Arc<Semaphore>,
    tasks: TaskTracker,
    stopped: CancellationToken,
}

#[derive(Debug, Clone)]
enum Service {
    Unary(mpsc::Sender<UnaryCall>),
    Stream(mpsc::Sender<StreamCall>),
}

/// Sent to a peer over its caps.
const TOO_MANY: &str =
    "overloaded: too many unfinished requests; finish some or try another server";

impl Services {
    /// No handlers yet; calls of a peer wait for `links` to know who it is.
    pub(crate) fn new(links: Links) -> Self {
        Self(Arc::new(Shared {
            links,
            table: RwLock::default(),
            admission: Admission::default(),
            refusing: Arc::new(Semaphore::new(MAX_REFUSING)),
            tasks: TaskTracker::new(),
            stopped: CancellationToken::new(),
        }))
    }

    /// Serves `rpc`; an earlier handler of that name gets no further calls.
    pub(crate) fn add_unary(&self, rpc: &str, calls: mpsc::Sender<UnaryCall>) {
        self.add(rpc, Service::Unary(calls));
    }

    /// The same for a streamed RPC.
    pub(crate) fn add_stream(&self, rpc: &str, calls: mpsc::Sender<StreamCall>) {
        self.add(rpc, Service::Stream(calls));
    }

    fn add(&self, rpc: &str, service: Service) {
        if !self.0.stopped.is_cancelled() {
            self.write().insert(bare_names::protocol(rpc), service);
        }
    }

    /// The names that are served now: those whose handler still takes calls.
    pub(crate) fn names(&self) -> Vec<StreamProtocol> {
        let table = self.read();
        let served = table.iter().filter(|(_, service)| !service.is_closed());
        served.map(|(name, _)| name.clone()).collect()
    }

    /// Takes an inbound stream that agreed on `name`. The permit comes first: over the caps the
    /// stream is refused without being read.
    pub(crate) fn accept(&self, peer: PeerId, name: &StreamProtocol, stream: Stream) {
        let Some(service) = self.read().get(name).cloned() else {
            return;
        };
        let Some(permit) = self.0.admission.admit(peer) else {
            let rpc = bare_names::rpc_name(name);
            tracing::debug!(%peer, rpc, "too many half-open streams, stream refused");
            return self.refuse(stream, &service);
        };
        let share = self.0.admission.share(peer);
        match service {
            Service::Unary(calls) => self.spawn_identified(peer, move || {
                serve_unary(peer, stream, permit, share, calls)
            }),
            Service::Stream(calls) => {
                let services = self.clone();
                self.spawn_identified(peer, move || {
                    serve_stream(peer, stream, permit, share, calls, services)
                });
            }
        }
    }

    /// Runs `task` once it is known who `peer` is.
    fn spawn_identified<F>(&self, peer: PeerId, task: impl FnOnce() -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let links = self.0.links.clone();
        self.spawn(async move {
            links.identified(&peer).await;
            task().await;
        });
    }

    /// Answers with an error in the framing of `service`, or resets the stream if many are being
    /// answered so already.
    fn refuse(&self, stream: Stream, service: &Service) {
        let Ok(permit) = self.0.refusing.clone().try_acquire_owned() else {
            return;
        };
        let refusal = match service {
            Service::Unary(_) => unary_refusal(TOO_MANY),
            Service::Stream(_) => stream_refusal(TOO_MANY),
        };
        self.spawn(async move {
            let (reader, mut writer) = split(stream);
            if write_all(&mut writer, &refusal).await.is_ok() {
                close_and_linger(reader, writer).await;
            }
            drop(permit);
        });
    }

    /// Runs `task` until it ends or the node stops.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let stopped = self.0.stopped.clone();
        self.0.tasks.spawn(async move {
            let _ = stopped.run_until_cancelled(task).await;
        });
    }

    /// Ends every handler's queue and every stream task. Dropping it loses nothing.
    pub(crate) async fn close(&self) {
        self.0.stopped.cancel();
        self.write().clear();
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }

    fn read(&self) -> RwLockReadGuard<'_, HashMap<StreamProtocol, Service>> {
        self.0.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashMap<StreamProtocol, Service>> {
        self.0.table.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Service {
    fn is_closed(&self) -> bool {
        match self {
            Self::Unary(calls) => calls.is_closed(),
            Self::Stream(calls) => calls.is_closed(),
        }
    }
}
