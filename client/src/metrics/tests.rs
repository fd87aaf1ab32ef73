use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};

use super::*;

/// What an exporter would show after `work`.
fn exported(work: impl FnOnce()) -> String {
    let mut builder = PrometheusBuilder::new();
    for (name, bounds) in histogram_buckets() {
        builder = builder
            .set_buckets_for_metric(Matcher::Full(name.to_owned()), bounds)
            .unwrap();
    }
    let recorder = builder.build_recorder();
    metrics::with_local_recorder(&recorder, || {
        describe_all();
        work();
    });
    recorder.handle().run_upkeep();
    recorder.handle().render()
}

fn assert_lines(text: &str, lines: &[&str]) {
    for line in lines {
        assert!(text.lines().any(|have| have == *line), "{line} in\n{text}");
    }
}

#[test]
fn names_are_unique_and_carry_their_kind() {
    for (number, metric) in CATALOGUE.iter().enumerate() {
        let earlier = &CATALOGUE[..number];
        assert!(earlier.iter().all(|other| other.name != metric.name));
        let is_counter = metric.kind == Kind::Counter;
        assert_eq!(is_counter, metric.name.ends_with("_total"), "{metric:?}");
        assert!(metric.help.ends_with('.'), "{metric:?}");
    }
}

#[test]
fn every_closed_series_exists_from_the_start_and_no_summary_does() {
    let text = exported(|| ());
    assert!(!text.contains(" summary"), "{text}");
    for metric in CATALOGUE.iter().filter(|metric| metric.zeroed) {
        let help = format!("# HELP {} {}", metric.name, metric.help);
        assert!(text.contains(&help), "{help} in\n{text}");
    }
    assert_lines(
        &text,
        &[
            r#"block_client_hop_failures_total{reason="bad_tensor"} 0"#,
            r#"block_client_route_builds_total{mode="max_throughput",outcome="no_route"} 0"#,
            r#"block_client_step_duration_seconds_count{phase="decode"} 0"#,
            "block_client_banned_peers 0",
        ],
    );
}

#[test]
fn each_event_moves_its_series() {
    let text = exported(|| {
        let open = OpenSession::begin();
        let closed = OpenSession::begin();
        drop(OpenSession::begin());
        closed.end(SessionOutcome::Ok);
        record_route(RouteFor::MinLatency, Some(3), Duration::from_millis(2));
        record_route(RouteFor::MinLatency, None, Duration::from_millis(2));
        record_step(Phase::Decode, Duration::from_millis(7));
        record_hop(Phase::Prefill, Duration::from_millis(30));
        record_hop_failure(HopFailure::Disconnected);
        record_failover(Failover::Ok);
        record_replayed(65);
        record_refresh(RefreshOutcome::Error, Duration::from_secs(1));
        std::mem::forget(open);
    });
    assert_lines(
        &text,
        &[
            "block_client_sessions_active 1",
            r#"block_client_sessions_total{outcome="ok"} 1"#,
            r#"block_client_sessions_total{outcome="cancelled"} 1"#,
            r#"block_client_sessions_total{outcome="failed"} 0"#,
            r#"block_client_route_builds_total{mode="min_latency",outcome="ok"} 1"#,
            r#"block_client_route_builds_total{mode="min_latency",outcome="no_route"} 1"#,
            "block_client_route_build_duration_seconds_count 2",
            r#"block_client_route_hops_bucket{le="2"} 0"#,
            r#"block_client_route_hops_bucket{le="3"} 1"#,
            r#"block_client_step_duration_seconds_bucket{phase="decode",le="0.01"} 1"#,
            r#"block_client_hop_duration_seconds_bucket{phase="prefill",le="30"} 1"#,
            r#"block_client_hop_failures_total{reason="disconnected"} 1"#,
            r#"block_client_failovers_total{outcome="ok"} 1"#,
            "block_client_replayed_tokens_total 65",
            r#"swarm_refreshes_total{outcome="error"} 1"#,
            "swarm_last_refresh_timestamp_seconds 0",
        ],
    );
}

/// A view of one online server of each named version.
fn figures(versions: &[&str]) -> ViewFigures {
    ViewFigures {
        servers: vec![(SeenState::Online, versions.len())],
        blocks: 8,
        covered: 7,
        replicas_min: 0,
        bottleneck: vec![(RateKind::Inference, 12.5)],
        versions: versions
            .iter()
            .map(|version| ((*version).to_owned(), 1))
            .collect(),
    }
}

#[test]
fn views_add_up_and_take_back_what_they_showed() {
    let shown = exported(|| {
        let mut one = ViewSeries::new("one".to_owned());
        let mut two = ViewSeries::new("two".to_owned());
        one.show(&figures(&["1.0", "1.1"]));
        two.show(&figures(&["1.1"]));
        one.show(&figures(&["1.1"]));
        one.show_banned(3);
        two.show_banned(1);
        one.show_banned(2);
        std::mem::forget((one, two));
    });
    assert_lines(
        &shown,
        &[
            r#"swarm_servers{model="one",state="online"} 1"#,
            r#"swarm_servers{model="one",state="joining"} 0"#,
            r#"swarm_model_blocks{model="two"} 8"#,
            r#"swarm_model_blocks_covered{model="two"} 7"#,
            r#"swarm_model_bottleneck_tokens_per_second{model="one",kind="inference"} 12.5"#,
            r#"swarm_model_bottleneck_tokens_per_second{model="one",kind="network"} 0"#,
            r#"swarm_servers_by_version{version="1.0"} 0"#,
            r#"swarm_servers_by_version{version="1.1"} 2"#,
            "block_client_banned_peers 3",
        ],
    );
    let dropped = exported(|| {
        let mut view = ViewSeries::new("one".to_owned());
        view.show(&figures(&["1.0"]));
        view.show_banned(4);
    });
    assert_lines(
        &dropped,
        &[
            r#"swarm_servers{model="one",state="online"} 0"#,
            r#"swarm_model_blocks{model="one"} 0"#,
            r#"swarm_servers_by_version{version="1.0"} 0"#,
            "block_client_banned_peers 0",
        ],
    );
}

#[test]
fn nothing_happens_without_a_recorder() {
    OpenSession::begin().end(SessionOutcome::Failed);
    record_step(Phase::Forward, Duration::ZERO);
    ViewSeries::new("one".to_owned()).show(&figures(&["1.0"]));
}
