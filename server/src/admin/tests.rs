//! The admin port over real HTTP on loopback.

use super::*;
use crate::http_get::{self, HttpReply};
use crate::metrics::State as Announced;
use crate::status_board::{Latch, StatusReport};

async fn port(token: Option<&str>) -> (HttpPort, Arc<StatusBoard>) {
    let board = Arc::new(StatusBoard::default());
    let admin = Admin {
        listen: Some(([127, 0, 0, 1], 0).into()),
        token: token.map(|token| Secret::new(token.into())),
    };
    let port = start(&admin, Exporter::detached().unwrap(), Arc::clone(&board))
        .await
        .unwrap()
        .unwrap();
    (port, board)
}

async fn get(port: &HttpPort, path: &str, token: Option<&str>) -> HttpReply {
    http_get::get(port.address, path, token).await.unwrap()
}

#[tokio::test]
async fn readiness_follows_the_latches() {
    let (port, board) = port(None).await;
    assert_eq!(get(&port, "/health", None).await.status, 200);
    let reply = get(&port, "/health/ready", None).await;
    assert_eq!(reply.status, 503);
    assert!(String::from_utf8_lossy(&reply.body).contains("model_loaded"));
    for latch in [Latch::SwarmJoined, Latch::ModelLoaded, Latch::Announced] {
        board.latch(latch);
    }
    assert_eq!(get(&port, "/health/ready", None).await.status, 200);
    board.set_state(Announced::Draining);
    assert_eq!(get(&port, "/health/ready", None).await.status, 503);
    port.stop().await;
}

#[tokio::test]
async fn status_is_the_report_and_metrics_are_text() {
    let (port, board) = port(None).await;
    board.update(|report| report.peer_id = "12D3".into());
    let report: StatusReport =
        serde_json::from_slice(&get(&port, "/status", None).await.body).unwrap();
    assert_eq!(report.peer_id, "12D3");
    assert_eq!(report.pid, std::process::id());
    assert_eq!(get(&port, "/metrics", None).await.status, 200);
    assert_eq!(get(&port, "/absent", None).await.status, 404);
    port.stop().await;
}

#[tokio::test]
async fn a_token_guards_all_but_health() {
    let (port, _board) = port(Some("secret")).await;
    for path in ["/metrics", "/status"] {
        assert_eq!(get(&port, path, None).await.status, 401);
        assert_eq!(get(&port, path, Some("wrong")).await.status, 401);
        assert_eq!(get(&port, path, Some("secret")).await.status, 200);
    }
    assert_eq!(get(&port, "/health", None).await.status, 200);
    port.stop().await;
}

#[tokio::test]
async fn a_taken_port_is_said() {
    let (port, board) = port(None).await;
    let admin = Admin {
        listen: Some(port.address),
        token: None,
    };
    let failure = start(&admin, Exporter::detached().unwrap(), board)
        .await
        .unwrap_err();
    assert_eq!(failure.exit(), Exit::OsError);
    port.stop().await;
}
