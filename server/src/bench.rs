//! `block-server bench`: how fast one block is on this machine, and what a start with the same flags would announce.

use std::fmt::Write as _;
use std::io::IsTerminal;

use block_model::{BlockSpan, Level};
use block_program::amounts::rate;
use block_program::{Exit, Failure, on_blocking_thread};
use serde::Serialize;

use crate::config::Config;
use crate::model_files;
use crate::throughput::{self, Announced};

/// The answer of `block-server bench --json`. Rates are tokens per second.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct BenchReport {
    /// Model as given on the command line.
    model: String,
    /// Where the arithmetic ran.
    device: String,
    /// Instructions of its kernels.
    kernels: Option<String>,
    /// Threads that computed.
    threads: usize,
    /// Type of the hidden states between blocks.
    dtype: String,
    /// Format of the weights.
    quant: String,
    /// Format of keys and values.
    kv_dtype: String,
    /// The block that was measured.
    block: usize,
    /// One token at a time through it, with a growing cache.
    inference: f64,
    /// Whole sequences through it.
    forward: f64,
    /// Hidden states over a link of `network_mbps`.
    network: f64,
    /// Assumed, never measured.
    network_mbps: f64,
    /// Blocks that a start would serve.
    blocks: usize,
    /// What it would announce.
    throughput: f64,
}

/// Loads the first of the blocks that a start would serve, measures it, keeps the figures for later starts, and returns
/// the text for stdout.
///
/// # Errors
/// No such model, or not enough memory for what was asked; the block cannot be measured (exit 70).
pub async fn bench(config: Config, as_json: bool) -> Result<String, Failure> {
    let report = on_blocking_thread(move || measure(&config)).await?;
    if as_json {
        serde_json::to_string(&report).map_err(|error| {
            Failure::new(Exit::Software, "the report cannot be written").caused_by(&error)
        })
    } else {
        Ok(report.table())
    }
}

fn measure(config: &Config) -> Result<BenchReport, Failure> {
    let source = model_files::open(config, std::io::stderr().is_terminal())?;
    let plan = model_files::draft(config, &source)?.placed(&[]);
    let first = plan.blocks.start;
    let mut span = model_files::load(&source, first..first + 1, &plan.engine())?;
    let longest = plan.inference_max_length.min(plan.max_batch_tokens);
    let speed = throughput::measure(&mut span, longest).map_err(|error| {
        Failure::new(Exit::Software, "the block cannot be measured").caused_by(&error)
    })?;
    let key = throughput::key(source.config(), &plan);
    if let Err(error) = throughput::keep(&config.throughput_file, &key, speed) {
        tracing::warn!(%error, file = %config.throughput_file.display(), "the figures cannot be kept");
    }
    let hidden = source.config().hidden;
    let (blocks, network_mbps) = (plan.blocks.len(), config.network_mbps);
    let held = span.description();
    Ok(BenchReport {
        model: config.model.name.clone(),
        device: held.device.clone(),
        kernels: held.kernels.map(Level::name).map(ToOwned::to_owned),
        threads: span.threads(),
        dtype: plan.dtype.name().to_owned(),
        quant: plan.quant.name().to_owned(),
        kv_dtype: plan.kv_dtype.name().to_owned(),
        block: first,
        inference: speed.inference,
        forward: speed.forward,
        network: throughput::network_rate(hidden, network_mbps),
        network_mbps,
        blocks,
        throughput: Announced::from_speed(speed, blocks, hidden, network_mbps).throughput,
    })
}

impl BenchReport {
    fn table(&self) -> String {
        let kernels = self.kernels.as_deref().unwrap_or("no");
        let Self {
            device,
            threads,
            dtype,
            quant,
            kv_dtype,
            block,
            ..
        } = self;
        let rows = [
            ("model", self.model.clone()),
            (
                "device",
                format!("{device}, {kernels} kernels, {threads} threads"),
            ),
            (
                "formats",
                format!("hidden states {dtype}, quantization {quant}, KV cache {kv_dtype}"),
            ),
            (
                "inference",
                format!(
                    "{} tok/s through block {block}, one token at a time",
                    rate(self.inference)
                ),
            ),
            (
                "forward",
                format!(
                    "{} tok/s through block {block}, whole sequences",
                    rate(self.forward)
                ),
            ),
            (
                "network",
                format!(
                    "{} tok/s over {} Mbit/s (--network-mbps, assumed)",
                    rate(self.network),
                    rate(self.network_mbps)
                ),
            ),
            (
                "announced",
                format!(
                    "{} tok/s with {} blocks",
                    rate(self.throughput),
                    self.blocks
                ),
            ),
        ];
        rows.iter().fold(String::new(), |mut text, (name, value)| {
            if !text.is_empty() {
                text.push('\n');
            }
            // Writing to a string cannot fail.
            let _ = write!(text, "{name:<10} {value}");
            text
        })
    }
}
