//! Every metric of the server process: names, helps, labels and buckets in [`CATALOGUE`], and one typed function per
//! event. Nothing else in this crate names a metric.
//!
//! Rules: base units in the name, `_total` on counters, closed label sets, requests counted when they end, durations
//! by monotonic clocks. [`describe_all`] exports every closed label set as zero from the start.

mod catalogue;
mod labels;

use std::time::Duration;

pub use catalogue::{CATALOGUE, Kind, Metric, TABLE, describe_all, histogram_buckets};
pub use labels::{
    AllocFailure, AnnouncedRate, Code, Label, MemoryPool, Method, Phase, Pool, PushOutcome,
    Rejection, SessionOutcome, Stage, State,
};

use metrics::{counter, gauge, histogram};

/// What a server serves, for the info series.
#[derive(Debug, Clone)]
pub struct ServerFacts {
    /// Model name as the operator gave it.
    pub model: String,
    /// Prefix of the block keys.
    pub dht_prefix: String,
    /// Our peer id, base58.
    pub peer_id: String,
    /// Type of the hidden states.
    pub dtype: String,
    /// Quantization of the weights.
    pub quant_type: String,
    /// Where the arithmetic runs.
    pub device: String,
}

/// Sets the info series and the served range.
pub fn record_server(facts: ServerFacts, start_block: usize, end_block: usize) {
    gauge!(
        "block_server_info",
        "model" => facts.model, "dht_prefix" => facts.dht_prefix, "peer_id" => facts.peer_id,
        "dtype" => facts.dtype, "quant_type" => facts.quant_type, "device" => facts.device
    )
    .set(1.0);
    gauge!("block_server_start_block").set(start_block as f64);
    gauge!("block_server_end_block").set(end_block as f64);
}

/// Sets the announced state.
pub fn record_state(current: State) {
    for state in State::ALL {
        let value = if *state == current { 1.0 } else { 0.0 };
        gauge!("block_server_state", "state" => state.label()).set(value);
    }
}

/// Sets one announced rate, in tokens per second.
pub fn record_announced(rate: AnnouncedRate, tokens_per_second: f64) {
    gauge!("block_server_announced_tokens_per_second", "kind" => rate.label())
        .set(tokens_per_second);
}

/// Sets the KV cache budget, in tokens x blocks.
pub(crate) fn record_cache_tokens(used: u64, free: u64) {
    gauge!("block_server_kv_cache_tokens", "state" => "used").set(used as f64);
    gauge!("block_server_kv_cache_tokens", "state" => "free").set(free as f64);
}

/// Sets the memory that one purpose holds on a device.
pub(crate) fn record_memory(device: &str, pool: MemoryPool, bytes: u64) {
    gauge!(
        "block_server_memory_bytes",
        "device" => device.to_owned(), "pool" => pool.label()
    )
    .set(bytes as f64);
}

/// Observes the load of a span: `seconds` in all for `blocks` blocks.
pub(crate) fn record_load(blocks: usize, seconds: f64, is_local: bool) {
    let source = if is_local { "cache" } else { "download" };
    for _ in 0..blocks {
        histogram!("block_server_block_load_duration_seconds", "source" => source)
            .record(seconds / blocks as f64);
    }
}

/// Observes how long a session waited for its share of the cache, granted or not.
pub(crate) fn record_alloc_wait(waited: Duration) {
    histogram!("block_server_kv_cache_alloc_wait_seconds").record(waited.as_secs_f64());
}

/// Counts a refused share of the cache.
pub(crate) fn record_alloc_failure(reason: AllocFailure) {
    counter!("block_server_kv_cache_alloc_failures_total", "reason" => reason.label()).increment(1);
}

/// Sets the number of open sessions.
pub(crate) fn record_sessions_active(sessions: usize) {
    gauge!("block_server_sessions_active").set(sessions as f64);
}

/// Counts a session that has ended.
pub(crate) fn record_session(outcome: SessionOutcome, lasted: Duration, tokens: u64) {
    counter!("block_server_sessions_total", "outcome" => outcome.label()).increment(1);
    histogram!("block_server_session_duration_seconds").record(lasted.as_secs_f64());
    histogram!("block_server_session_tokens").record(tokens as f64);
}

/// Counts an RPC, or one step of a session, that has ended.
pub(crate) fn record_rpc(method: Method, code: Code, took: Duration) {
    counter!(
        "block_server_rpc_requests_total",
        "method" => method.label(), "code" => code.label()
    )
    .increment(1);
    histogram!("block_server_rpc_duration_seconds", "method" => method.label())
        .record(took.as_secs_f64());
}

/// Adds payload bytes received and sent for a method.
pub(crate) fn record_rpc_bytes(method: Method, received: usize, sent: usize) {
    counter!("block_server_rpc_received_bytes_total", "method" => method.label())
        .increment(received as u64);
    counter!("block_server_rpc_sent_bytes_total", "method" => method.label())
        .increment(sent as u64);
}

/// Moves the number of RPCs being served; +1 at the start, -1 at the end.
pub(crate) fn shift_in_flight(method: Method, by: f64) {
    gauge!("block_server_rpc_in_flight", "method" => method.label()).increment(by);
}

/// Observes one stage of a step.
pub(crate) fn record_stage(phase: Phase, stage: Stage, took: Duration) {
    histogram!(
        "block_server_step_stage_duration_seconds",
        "phase" => phase.label(), "stage" => stage.label()
    )
    .record(took.as_secs_f64());
}

/// Counts one executed batch: its tokens, and when it ended.
///
/// Literal labels make a constant key; any other key takes memory, and this is recorded in every turn.
pub(crate) fn record_batch(phase: Phase, tokens: usize) {
    let histogram = match phase {
        Phase::Prefill => histogram!("block_server_batch_tokens", "phase" => "prefill"),
        Phase::Decode => histogram!("block_server_batch_tokens", "phase" => "decode"),
        Phase::Forward => histogram!("block_server_batch_tokens", "phase" => "forward"),
        Phase::Backward => histogram!("block_server_batch_tokens", "phase" => "backward"),
    };
    histogram.record(tokens as f64);
}

/// Counts tokens that ran through this server's blocks.
pub(crate) fn record_tokens(phase: Phase, tokens: usize) {
    counter!("block_server_tokens_total", "phase" => phase.label()).increment(tokens as u64);
}

/// Sets when the last step finished, Unix seconds.
pub(crate) fn record_last_step(unix_seconds: f64) {
    gauge!("block_server_last_step_timestamp_seconds").set(unix_seconds);
}

/// Sets how many tasks wait for the device. As [`record_batch`] it takes no memory.
pub(crate) fn record_queue_depth(pool: Pool, tasks: usize) {
    let gauge = match pool {
        Pool::Inference => gauge!("block_server_queue_depth", "pool" => "inference"),
        Pool::Forward => gauge!("block_server_queue_depth", "pool" => "forward"),
        Pool::Backward => gauge!("block_server_queue_depth", "pool" => "backward"),
    };
    gauge.set(tasks as f64);
}

/// Counts a request refused before work began.
pub(crate) fn record_rejection(reason: Rejection) {
    counter!("block_server_rejected_total", "reason" => reason.label()).increment(1);
}

/// Counts an output handed to the next server.
pub(crate) fn record_push(outcome: PushOutcome) {
    counter!("block_server_peer_pushes_total", "outcome" => outcome.label()).increment(1);
}

#[cfg(test)]
mod tests {
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;

    #[test]
    fn literal_labels_are_the_labels_own() {
        let recorder = PrometheusBuilder::new().build_recorder();
        metrics::with_local_recorder(&recorder, || {
            Phase::ALL.iter().for_each(|phase| record_batch(*phase, 1));
            Pool::ALL
                .iter()
                .for_each(|pool| record_queue_depth(*pool, 1));
        });
        let text = recorder.handle().render();
        for phase in Phase::TEXTS {
            let series = format!("block_server_batch_tokens_count{{phase=\"{phase}\"}} 1");
            assert!(text.contains(&series), "{series} in {text}");
        }
        for pool in Pool::TEXTS {
            let series = format!("block_server_queue_depth{{pool=\"{pool}\"}} 1");
            assert!(text.contains(&series), "{series} in {text}");
        }
    }
}
