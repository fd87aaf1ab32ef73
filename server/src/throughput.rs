//! The throughput that is announced, by Petals' formula.
//!
//! `forward` and `inference` are tokens per second through ONE block, measured once
//! on a loaded block and kept in the state folder. The network figure is never
//! measured: no traffic leaves for a speed test. It is what the operator says, or
//! what Petals falls back to.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use block_model::{
    BlockSpan, CacheHandle, ForwardRow, HiddenStates, Level, ModelConfig, Row, SpanDType, SpanError,
};
use serde::{Deserialize, Serialize};

use crate::plan::Plan;

/// Speed of one block, tokens per second.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct BlockSpeed {
    /// Whole sequences.
    pub(crate) forward: f64,
    /// One token at a time with a growing cache.
    pub(crate) inference: f64,
}

/// What is announced, tokens per second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Announced {
    /// What others balance by.
    pub(crate) throughput: f64,
    /// The measured speed; `None` if the operator gave a number.
    pub(crate) speed: Option<BlockSpeed>,
    /// Hidden states that the link carries; `None` if the operator gave a number.
    pub(crate) network: Option<f64>,
}

impl Announced {
    /// A number of the operator, as it is.
    pub(crate) const fn fixed(throughput: f64) -> Self {
        Self {
            throughput,
            speed: None,
            network: None,
        }
    }

    /// Petals' formula. A request runs through a random part of the span, so
    /// through `(blocks + 1) / 2` blocks on average.
    pub(crate) fn from_speed(
        speed: BlockSpeed,
        blocks: usize,
        hidden: usize,
        network_mbps: f64,
    ) -> Self {
        let network = network_rate(hidden, network_mbps);
        let compute = speed.forward / ((blocks as f64 + 1.0) / 2.0);
        Self {
            throughput: compute.min(network),
            speed: Some(speed),
            network: Some(network),
        }
    }
}

/// Hidden states per second over a link of `network_mbps`.
pub(crate) fn network_rate(hidden: usize, network_mbps: f64) -> f64 {
    network_mbps * 1e6 / (hidden as f64 * BITS_PER_VALUE)
}

/// Measures the first block of the span; takes a few seconds, leaves no cache behind.
///
/// # Errors
/// The span's own; a span that cannot run its first block cannot serve.
pub(crate) fn measure(span: &mut dyn BlockSpan, longest: usize) -> Result<BlockSpeed, SpanError> {
    Ok(BlockSpeed {
        forward: measure_forward(span, longest)?,
        inference: measure_inference(span, longest)?,
    })
}

fn measure_forward(span: &mut dyn BlockSpan, longest: usize) -> Result<f64, SpanError> {
    let seq = FORWARD_TOKENS.min(longest).max(1);
    let first = span.description().blocks.start;
    let hidden = span.description().hidden;
    let values = sample(seq * hidden);
    let mut run = |seq: usize| {
        let hidden_states = HiddenStates {
            values: &values[..seq * hidden],
            shape: [1, seq, hidden],
        };
        span.forward(&ForwardRow {
            blocks: first..first + 1,
            hidden_states,
            prompts: None,
        })
    };
    // Warms caches and threads without the price of a whole step.
    run(seq.min(WARM_UP_TOKENS))?;
    let started = Instant::now();
    let mut steps = 0;
    while steps < FORWARD_STEPS && (steps == 0 || started.elapsed() < BUDGET) {
        run(seq)?;
        steps += 1;
    }
    Ok(per_second(steps * seq, started.elapsed()))
}

fn measure_inference(span: &mut dyn BlockSpan, longest: usize) -> Result<f64, SpanError> {
    let steps = INFERENCE_STEPS.min(longest.saturating_sub(1)).max(1);
    let first = span.description().blocks.start;
    let cache = span.open_cache(first..first + 1, 1, steps + 1)?;
    let result = inference_steps(span, cache, steps);
    span.close_cache(cache);
    result
}

fn inference_steps(
    span: &mut dyn BlockSpan,
    cache: CacheHandle,
    steps: usize,
) -> Result<f64, SpanError> {
    let first = span.description().blocks.start;
    let hidden = span.description().hidden;
    let values = sample(hidden);
    let mut run = |position: usize| -> Result<(), SpanError> {
        let row = Row {
            cache,
            blocks: first..first + 1,
            position,
            hidden_states: HiddenStates {
                values: &values,
                shape: [1, 1, hidden],
            },
            prompts: None,
            reorder: None,
        };
        span.step(&[row])
            .into_iter()
            .try_for_each(|output| output.map(drop))
    };
    run(0)?;
    let started = Instant::now();
    let mut done = 0;
    while done < steps && (done == 0 || started.elapsed() < BUDGET) {
        run(done + 1)?;
        done += 1;
    }
    Ok(per_second(done, started.elapsed()))
}

fn per_second(tokens: usize, took: Duration) -> f64 {
    tokens as f64 / took.as_secs_f64().max(1e-9)
}

/// Values in -0.8..0.8 with six fraction bits, so that every dtype holds them exactly.
fn sample(count: usize) -> Vec<f32> {
    (0..count)
        .map(|i| ((i * 37) % 101) as f32 / 64.0 - 50.0 / 64.0)
        .collect()
}

/// What a measurement depends on; the same text means that the old figure still holds.
pub(crate) fn key(model: &ModelConfig, plan: &Plan) -> String {
    // A level that is forced and cannot run here is refused when the blocks are loaded.
    let kernels = Level::choose().map_or("no", |choice| choice.level.name());
    let checkpoint = model.dtype.map_or("unknown", SpanDType::name);
    let Plan {
        dtype,
        quant,
        kv_dtype,
        threads,
        ..
    } = plan;
    format!(
        "{} {}x{} heads {}/{}x{} {checkpoint} as {dtype}, weights {quant}, cache {kv_dtype}, on cpu with {kernels} \
         kernels and {threads} threads, version {}",
        model.family,
        model.hidden,
        model.ffn,
        model.heads,
        model.kv_heads,
        model.head_dim,
        env!("CARGO_PKG_VERSION"),
    )
}

/// The kept figure, if there is a usable one; a damaged file counts as none.
pub(crate) fn read_kept(file: &Path, key: &str) -> Option<BlockSpeed> {
    let kept: BTreeMap<String, BlockSpeed> =
        serde_json::from_slice(&std::fs::read(file).ok()?).ok()?;
    kept.get(key).copied().filter(|speed| {
        [speed.forward, speed.inference]
            .iter()
            .all(|figure| figure.is_finite() && *figure > 0.0)
    })
}

/// Keeps a figure beside those of other models; replaced in one move, so that a
/// crash leaves the old file.
///
/// # Errors
/// The folder or file cannot be written.
pub(crate) fn keep(file: &Path, key: &str, speed: BlockSpeed) -> io::Result<()> {
    let mut kept: BTreeMap<String, BlockSpeed> = std::fs::read(file)
        .ok()
        .and_then(|text| serde_json::from_slice(&text).ok())
        .unwrap_or_default();
    kept.insert(key.to_owned(), speed);
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let fresh = file.with_extension(format!("{}.new", std::process::id()));
    std::fs::write(&fresh, serde_json::to_vec_pretty(&kept)?)?;
    std::fs::rename(&fresh, file)
}

/// A hidden value travels as 16 bits in Petals' formula.
const BITS_PER_VALUE: f64 = 16.0;
/// Petals' measurement: 10 steps of 1024 tokens, 100 steps of one token.
const FORWARD_TOKENS: usize = 1024;
const FORWARD_STEPS: usize = 10;
const INFERENCE_STEPS: usize = 100;
const WARM_UP_TOKENS: usize = 16;
/// No new step of a measurement begins after this: large blocks on small machines.
const BUDGET: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_announced_figure_is_the_smaller_of_compute_and_network() {
        let speed = BlockSpeed {
            forward: 1000.0,
            inference: 100.0,
        };
        let compute_bound = Announced::from_speed(speed, 9, 64, 100.0);
        assert_eq!(compute_bound.throughput, 200.0);
        assert_eq!(compute_bound.network, Some(100e6 / (64.0 * 16.0)));
        let network_bound = Announced::from_speed(speed, 1, 8192, 1.0);
        assert!((network_bound.throughput - 1e6 / (8192.0 * 16.0)).abs() < 1e-9);
        assert_eq!(Announced::fixed(10.0).speed, None);
    }

    #[test]
    fn samples_are_exact_in_every_dtype() {
        for value in sample(500) {
            assert_eq!(half::bf16::from_f32(value).to_f32(), value);
            assert_eq!(half::f16::from_f32(value).to_f32(), value);
        }
    }

    #[test]
    fn figures_are_kept_side_by_side() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("state").join("throughput.json");
        let speed = BlockSpeed {
            forward: 2.0,
            inference: 1.0,
        };
        assert_eq!(read_kept(&file, "a"), None);
        keep(&file, "a", speed).unwrap();
        keep(
            &file,
            "b",
            BlockSpeed {
                forward: 0.0,
                inference: 1.0,
            },
        )
        .unwrap();
        assert_eq!(read_kept(&file, "a"), Some(speed));
        assert_eq!(read_kept(&file, "b"), None, "a figure of zero is no figure");
        std::fs::write(&file, "damaged").unwrap();
        assert_eq!(read_kept(&file, "a"), None);
        keep(&file, "a", speed).unwrap();
        assert_eq!(read_kept(&file, "a"), Some(speed));
        assert_eq!(
            std::fs::read_dir(root.path().join("state"))
                .unwrap()
                .count(),
            1
        );
    }
}
