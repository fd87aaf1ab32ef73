//! The socket: plain HTTP/1.1 or TLS, with a bound on everything that a slow or silent peer could hold.
//!
//! - [`Tls`]: certificate and key
//! - [`PatientStream`]: a peer that does not read is let go
//!
//! HTTP/2 is for a reverse proxy.

mod tls;

#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ConnectInfo;
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tower::ServiceBuilder;

use crate::patient_stream::PatientStream;

pub use tls::{Tls, TlsError};

/// Bounds of connections.
#[derive(Debug, Clone)]
pub struct ListenerConfig {
    /// With certificate and key: TLS, else plain.
    pub tls: Option<Tls>,
    /// How long a peer may take for the headers of a request, for a handshake, or between two requests.
    pub header_timeout: Duration,
    /// Bytes of the headers of a request. Longer ones get 431.
    pub max_header_bytes: usize,
    /// How long a peer may read nothing while something is ready for it.
    pub stall_timeout: Duration,
    /// Connections at the same time; more wait to be accepted.
    pub max_connections: usize,
    /// How long answers under way may go on when it ends.
    pub drain_timeout: Duration,
}

/// A bound socket.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    config: ListenerConfig,
}

impl Listener {
    /// Binds `address`; port 0 takes a free one.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub async fn bind(address: SocketAddr, config: ListenerConfig) -> io::Result<Self> {
        Self::of(TcpListener::bind(address).await?, config)
    }

    /// A socket that is bound already.
    ///
    /// # Errors
    /// It has no address.
    pub fn of(socket: TcpListener, config: ListenerConfig) -> io::Result<Self> {
        Ok(Self {
            address: socket.local_addr()?,
            socket,
            config,
        })
    }

    /// Where it listens, the port resolved.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves `routes` until `ending`; then answers under way get their time, and it returns. Handlers find the peer's
    /// address as `ConnectInfo<SocketAddr>`. Dropping it breaks all connections off.
    pub async fn serve(self, routes: Router, ending: CancellationToken) {
        let places = Arc::new(Semaphore::new(self.config.max_connections));
        let config = Arc::new(self.config);
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                () = ending.cancelled() => break,
                Some(ended) = connections.join_next(), if !connections.is_empty() => {
                    note_panic(ended);
                    continue;
                }
                accepted = accept(&self.socket, &places) => accepted,
            };
            let Some((stream, peer, place)) = accepted else {
                continue;
            };
            let (routes, config) = (routes.clone(), Arc::clone(&config));
            let ending = ending.clone();
            connections.spawn(async move {
                connection(stream, peer, routes, &config, ending).await;
                drop(place);
            });
        }
        drop(self.socket);
        let drained = timeout(config.drain_timeout, async {
            while let Some(ended) = connections.join_next().await {
                note_panic(ended);
            }
        });
        if drained.await.is_err() {
            tracing::warn!(connections = connections.len(), "broken off at the end");
        }
    }
}

type Accepted = (TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit);

/// The next connection, once there is a place for it. `None` if none could be taken now.
async fn accept(socket: &TcpListener, places: &Arc<Semaphore>) -> Option<Accepted> {
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    match socket.accept().await {
        Ok((stream, peer)) => Some((stream, peer, place)),
        Err(error) => {
            // Out of file descriptors, or a peer that left before it was greeted.
            tracing::debug!(%error, "connection not accepted");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    routes: Router,
    config: &ListenerConfig,
    ending: CancellationToken,
) {
    // Tokens are small and awaited: none waits for the next.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%peer, %error, "no delay option");
    }
    let stream = PatientStream::new(stream, config.stall_timeout);
    let Some(tls) = &config.tls else {
        return http(stream, peer, routes, config, ending).await;
    };
    match timeout(config.header_timeout, tls.accept(stream)).await {
        Ok(Ok(stream)) => http(stream, peer, routes, config, ending).await,
        Ok(Err(error)) => tracing::debug!(%peer, %error, "no TLS"),
        Err(_) => tracing::debug!(%peer, "no TLS in time"),
    }
}

async fn http(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: SocketAddr,
    routes: Router,
    config: &ListenerConfig,
    ending: CancellationToken,
) {
    let service = ServiceBuilder::new()
        .layer(Extension(ConnectInfo(peer)))
        .service(routes);
    let mut connection = std::pin::pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(config.header_timeout)
            .max_header_size(config.max_header_bytes)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service))
            .with_upgrades()
    );
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = ending.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "connection broken off");
    }
}

fn note_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "a connection met a defect");
    }
}

impl Default for ListenerConfig {
    fn default() -> Self {
        Self {
            tls: None,
            header_timeout: Duration::from_secs(10),
            max_header_bytes: 16 << 10,
            // Longer than a phone is without a network in a tunnel.
            stall_timeout: Duration::from_secs(60),
            // About 30 MB of buffers at rest.
            max_connections: 1024,
            drain_timeout: Duration::from_secs(30),
        }
    }
}

/// After a failed accept: more file descriptors do not come at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
