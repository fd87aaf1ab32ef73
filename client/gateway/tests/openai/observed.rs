//! What is counted, and what is never written down.

use std::fmt::Write as _;
use std::sync::{LazyLock, Mutex};

use block_gateway::{GatewayConfig, ServedModelOptions, metrics};
use block_testing::PATIENCE;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use serde_json::json;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use crate::world::{chat, served, swarm, within};

const CHAT: &str = "/v1/chat/completions";

/// The recorder of this test program.
static RECORDED: LazyLock<PrometheusHandle> = LazyLock::new(|| {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    ::metrics::set_global_recorder(recorder).unwrap();
    handle
});

#[test]
fn requests_and_tokens_are_counted() {
    let recorded = &*RECORDED;
    metrics::describe_all();
    let options = ServedModelOptions::new("counted");
    let served = swarm().serve_as(GatewayConfig::default(), options);
    served.ok(
        CHAT,
        &chat(
            "Once",
            &json!({ "model": "counted", "max_tokens": 5, "n": 2 }),
        ),
    );
    let (status, _) = served.error(CHAT, &chat("Once", &json!({ "model": "counted", "n": 9 })));
    assert_eq!(status, 400);
    for part in [
        "block_gateway_generated_tokens_total{model=\"counted\"} 10",
        "block_gateway_generations_total{model=\"counted\",finish_reason=\"length\"} 2",
        "block_gateway_generations{model=\"counted\",state=\"running\"} 0",
        "block_gateway_request_prompt_tokens_count{model=\"counted\"} 1",
        "block_gateway_time_to_first_token_seconds_count{model=\"counted\"} 2",
        "block_gateway_inter_token_latency_seconds_count{model=\"counted\"} 8",
        "block_gateway_generation_duration_seconds_count{model=\"counted\"} 2",
        // How many, other tests know.
        "block_gateway_rejected_total{reason=\"queue_full\"} ",
        "route=\"/v1/chat/completions\",method=\"POST\",code=\"400\"",
        "block_gateway_http_requests_in_flight",
    ] {
        // A request is counted when its last byte has gone, which may be after it was read.
        within(PATIENCE, part, || recorded.render().contains(part));
    }
    let text = recorded.render();
    let refused = text.lines().find_map(|line| {
        line.strip_prefix("block_gateway_rejected_total{reason=\"bad_request\"} ")
    });
    assert!(refused.unwrap().parse::<u64>().unwrap() >= 1);
}

/// Every line of our own crates' logs.
static LINES: Mutex<String> = Mutex::new(String::new());

struct Collector;

struct Writer<'a>(&'a mut String);

impl Visit for Writer<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        write!(self.0, " {field}={value:?}").unwrap();
    }
}

impl Subscriber for Collector {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("block_")
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        span.record(&mut Writer(&mut LINES.lock().unwrap()));
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, values: &Record<'_>) {
        values.record(&mut Writer(&mut LINES.lock().unwrap()));
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut lines = LINES.lock().unwrap();
        lines.push('\n');
        event.record(&mut Writer(&mut lines));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[test]
fn neither_prompts_nor_answers_are_logged_at_any_level() {
    tracing::subscriber::set_global_default(Collector).unwrap();
    let secret = "xyzzy plugh";
    served().ok(
        CHAT,
        &chat(
            secret,
            &json!({ "echo": true, "xyzzy plugh": secret, "stop": secret }),
        ),
    );
    for more in [
        json!({ "temperature": secret }),
        json!({ "model": secret }),
        json!({ "messages": [{ "role": secret, "content": secret }] }),
        json!({ "max_tokens": 512 }),
    ] {
        served().error(CHAT, &chat(secret, &more));
    }
    served().ok("/tokenize", &json!({ "prompt": secret }));
    let lines = LINES.lock().unwrap();
    assert!(
        lines.contains("fields of a request were not read"),
        "something is logged: {lines}"
    );
    assert!(!lines.contains("xyzzy"), "{lines}");
}
