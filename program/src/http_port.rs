//! A small HTTP port of a program: what it serves is a router, how it ends is here.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::error_report::{Exit, Failure};
use crate::exporter::Exporter;
use crate::secret::Secret;

/// A running port. Its task ends when this is dropped.
#[derive(Debug)]
pub struct HttpPort {
    /// Where it listens, the port resolved.
    pub address: SocketAddr,
    task: JoinHandle<()>,
    stop: CancellationToken,
}

impl HttpPort {
    /// Serves `router` on `listen`; keeps the samples of `exporter` in their buckets meanwhile.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub async fn start(listen: SocketAddr, router: Router, exporter: Exporter) -> io::Result<Self> {
        let listener = TcpListener::bind(listen).await?;
        let address = listener.local_addr()?;
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            let serving = axum::serve(listener, router)
                .with_graceful_shutdown(stopped.clone().cancelled_owned());
            tokio::select! {
                result = serving => if let Err(error) = result {
                    tracing::error!(%error, "http port ended");
                },
                () = exporter.keep_up() => {}
                // Connections that are kept open do not delay the end of the process.
                () = async { stopped.cancelled().await; tokio::time::sleep(CLOSE_DEADLINE).await } => {}
            }
        });
        Ok(Self {
            address,
            task,
            stop,
        })
    }

    /// Serves `/metrics` and `/health` on the address that `--metrics-listen` gives, and nothing else. `token`:
    /// `/metrics` asks for it; without one only this machine may listen.
    ///
    /// # Errors
    /// The address is open to other machines (exit 2); it cannot be bound (71).
    pub async fn start_metrics(
        listen: SocketAddr,
        exporter: Exporter,
        token: Option<Secret>,
    ) -> Result<Self, Failure> {
        if !listen.ip().is_loopback() && token.is_none() {
            return Err(Failure::usage(format!(
                "--metrics-listen {listen} would be open to other machines"
            ))
            .hint("name a file with a token in --metrics-token-file, or listen on 127.0.0.1"));
        }
        let router = guarded(metrics_routes(exporter.clone()), token)
            .route("/health", get(|| async { "ok\n" }));
        Self::start(listen, router, exporter)
            .await
            .map_err(|error| {
                Failure::new(
                    Exit::OsError,
                    format!("cannot listen on {listen} for metrics"),
                )
                .caused_by(&error)
                .hint("--metrics-listen 127.0.0.1:0 takes a free port")
            })
    }

    /// Ends the port: running answers get a moment to finish.
    pub async fn stop(mut self) {
        self.stop.cancel();
        if let Err(error) = (&mut self.task).await {
            tracing::error!(%error, "http port failed");
        }
    }
}

impl Drop for HttpPort {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The route `/metrics`: Prometheus text.
pub fn metrics_routes(exporter: Exporter) -> Router {
    Router::new().route("/metrics", get(metrics).with_state(exporter))
}

/// These routes for those only who send `token` as `Authorization: Bearer TOKEN`; for all if there is none.
pub fn guarded(routes: Router, token: Option<Secret>) -> Router {
    routes.layer(middleware::from_fn_with_state(token, check_token))
}

async fn check_token(
    State(token): State<Option<Secret>>,
    request: Request,
    next: Next,
) -> Response {
    let Some(token) = token else {
        return next.run(request).await;
    };
    let given = request
        .headers()
        .get(header::AUTHORIZATION)
        .map(|value| value.as_bytes());
    let is_right = given
        .and_then(|value| value.strip_prefix(b"Bearer "))
        .is_some_and(|given| token.matches(given));
    if is_right {
        return next.run(request).await;
    }
    (
        StatusCode::UNAUTHORIZED,
        [
            (header::WWW_AUTHENTICATE, "Bearer"),
            (header::CONTENT_TYPE, "application/json"),
        ],
        r#"{"error":"send the token as Authorization: Bearer TOKEN"}"#,
    )
        .into_response()
}

async fn metrics(State(exporter): State<Exporter>) -> Response {
    (
        [(
            header::CONTENT_TYPE,
            "text/plain; version=0.0.4; charset=utf-8",
        )],
        exporter.render(),
    )
        .into_response()
}

/// How long open connections may delay the end of the process.
const CLOSE_DEADLINE: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn get_from(address: SocketAddr, path: &str, headers: &str) -> String {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: x\r\n{headers}Connection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).await.unwrap();
        reply
    }

    #[tokio::test]
    async fn health_is_open_and_a_taken_port_is_named() {
        let exporter = Exporter::detached().unwrap();
        let any = ([127, 0, 0, 1], 0).into();
        let token = Some(Secret::new("right".to_owned()));
        let port = HttpPort::start_metrics(any, exporter.clone(), token)
            .await
            .unwrap();
        for (path, token, code) in [
            ("/health", "", 200),
            ("/metrics", "", 401),
            ("/metrics", "Authorization: Bearer wrong\r\n", 401),
            ("/metrics", "Authorization: Bearer right\r\n", 200),
        ] {
            let reply = get_from(port.address, path, token).await;
            assert!(reply.starts_with(&format!("HTTP/1.1 {code}")), "{reply}");
        }

        let open = HttpPort::start_metrics(([0, 0, 0, 0], 0).into(), exporter.clone(), None);
        assert_eq!(open.await.unwrap_err().exit(), Exit::Usage);
        let failure = HttpPort::start_metrics(port.address, exporter, None)
            .await
            .unwrap_err();
        assert_eq!(failure.exit(), Exit::OsError);
        port.stop().await;
    }
}
