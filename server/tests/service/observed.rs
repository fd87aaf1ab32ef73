//! What a server says about itself: rpc_info, the snapshot and the metrics.

use block_client::request::info;
use block_protocol::DType;
use block_server::metrics::{describe_all, histogram_buckets};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};

use crate::support::*;

#[tokio::test]
async fn info_tells_about_the_server_and_about_a_block() {
    let server = Server::start(1..3).await;
    let client = client(&[&server]).await;
    let alone = info(&client, server.peer(), "", PATIENCE).await.unwrap();
    assert_eq!(alone.version.as_deref(), Some("2.3.0.dev2"));
    assert_eq!(alone.cache_tokens_available, 2 * 2048);
    assert!(alone.schemas.is_none() && !alone.dht_client_mode);
    assert_eq!(alone.torch_dtype.as_deref(), Some("float32"));
    assert!(alone.codecs.contains(&"blockwise8-implied".to_owned()));
    let block = info(&client, server.peer(), "tiny-llama-hf.1", PATIENCE)
        .await
        .unwrap();
    let schemas = block.schemas.unwrap();
    assert_eq!((schemas.forward.len(), schemas.inference.len()), (1, 3));
    assert_eq!(schemas.outputs[0].dtype, DType::F32);
    let outside = info(&client, server.peer(), "tiny-llama-hf.0", PATIENCE).await;
    assert!(refusal(outside).contains("serves blocks 1:3"));
}

#[tokio::test]
async fn the_snapshot_follows_the_sessions() {
    let server = Server::start(0..4).await;
    let client = client(&[&server]).await;
    let mut hop = hop(&client, &server, 0..4).await;
    run(&mut hop, step(&States::wave(1, 1, 0))).await;
    let snapshot = server.service.snapshot();
    assert_eq!(
        (snapshot.start_block, snapshot.end_block, snapshot.sessions),
        (0, 4, 1)
    );
    assert_eq!(snapshot.cache_tokens_total, 2 * 4 * 2048);
    assert_eq!(snapshot.cache_tokens_left, 2 * 4 * (2048 - 100));
    assert!(snapshot.healthy && !snapshot.draining);
}

/// The value of the one series of that name and labels.
fn value(text: &str, series: &str) -> f64 {
    let line = text.lines().find(|line| line.starts_with(series));
    let line = line.unwrap_or_else(|| panic!("no series {series}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn what_happens_is_counted() {
    let mut builder = PrometheusBuilder::new();
    for (name, bounds) in histogram_buckets() {
        builder = builder
            .set_buckets_for_metric(Matcher::Full(name.to_owned()), bounds)
            .unwrap();
    }
    let handle = builder.install_recorder().unwrap();
    describe_all();
    let server = Server::start(0..4).await;
    let client = client(&[&server]).await;
    let mut hop = hop(&client, &server, 0..4).await;
    run(&mut hop, step(&States::wave(2, 5, 0))).await;
    run(&mut hop, step(&States::wave(2, 1, 0))).await;
    hop.close().await.unwrap();
    let mut outside = crate::support::hop(&client, &server, 3..5).await;
    refusal(outside.step(step(&States::wave(1, 1, 0))).await);
    forward(0..4, States::wave(1, 7, 0).wire())
        .run(&client, server.peer(), PATIENCE)
        .await
        .unwrap();
    eventually(|| async { server.service.sessions() == 0 }).await;
    // Other tests of this binary count into the same recorder.
    let text = handle.render();
    for (series, least) in [
        (
            r#"block_server_rpc_requests_total{method="rpc_inference",code="ok"}"#,
            2.0,
        ),
        (
            r#"block_server_rpc_requests_total{method="rpc_inference",code="bad_request"}"#,
            1.0,
        ),
        (
            r#"block_server_rpc_requests_total{method="rpc_forward",code="ok"}"#,
            1.0,
        ),
        (r#"block_server_rejected_total{reason="bad_blocks"}"#, 1.0),
        (r#"block_server_tokens_total{phase="prefill"}"#, 10.0),
        (r#"block_server_tokens_total{phase="decode"}"#, 2.0),
        (r#"block_server_tokens_total{phase="forward"}"#, 7.0),
        (r#"block_server_sessions_total{outcome="closed"}"#, 1.0),
        ("block_server_session_tokens_sum", 12.0),
        (
            r#"block_server_rpc_received_bytes_total{method="rpc_inference"}"#,
            3000.0,
        ),
        (
            r#"block_server_rpc_sent_bytes_total{method="rpc_inference"}"#,
            3000.0,
        ),
        (
            r#"block_server_step_stage_duration_seconds_count{phase="prefill",stage="compute"}"#,
            1.0,
        ),
        (r#"block_server_batch_tokens_count{phase="decode"}"#, 1.0),
        ("block_server_kv_cache_alloc_wait_seconds_count", 1.0),
        ("block_server_last_step_timestamp_seconds", 1.0),
    ] {
        assert!(
            value(&text, series) >= least,
            "{series} is {}",
            value(&text, series)
        );
    }
    assert!(!text.contains("summary"));
}
