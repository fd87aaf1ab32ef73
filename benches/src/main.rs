//! Speed, as ratios measured in one run: `cargo run --release -p benches -- NAME [--quick] [--json]`.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a benchmark reports on stdout and explains itself on stderr"
)]

mod chain;
mod codec;
mod crowd;
mod decode;
mod families;
mod figure;
mod format;
mod gateway;
mod hop;
mod host;
mod load;
mod models;
mod peak;
mod prefill;
mod probe;
mod processes;
mod quality;
mod rounds;
mod span_step;
mod spread;
mod timed_span;
mod vs_candle;
mod vs_llamacpp;
mod vs_petals;
mod vs_torch;
mod workload;

use std::process::Command;

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};

use figure::MARKDOWN_HEAD;

/// Measures one thing and prints one line per figure: bench, figure, value, spread over the rounds (10th and 90th
/// percentile), unit, goal, whether it is met, host.
#[derive(Debug, Parser)]
#[command(name = "benches")]
struct Flags {
    /// What to measure.
    name: Name,
    /// Ends within 45 seconds; the figures are rougher.
    #[arg(long)]
    quick: bool,
    /// Prints JSON, one object a line.
    #[arg(long, conflicts_with = "markdown")]
    json: bool,
    /// Prints a Markdown table, as scripts/bench-tables needs it.
    #[arg(long)]
    markdown: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Name {
    /// One new token for 1, 8 and 32 sessions, against the stream of memory.
    Decode,
    /// Prompts, against the processor's arithmetic.
    Prefill,
    /// Decoding and prompts with the shapes of a Qwen3, a Gemma 2 and a Mixtral.
    Families,
    /// Aggregate speed and waiting times of up to 32 sessions at one server, with and without a long prompt.
    Crowd,
    /// From the page cache to a span that is ready.
    Load,
    /// What formats of weights, caches and activations cost in quality.
    Quality,
    /// Our blocks against candle's own operations.
    VsCandle,
    /// Our blocks against PyTorch as Petals pins it.
    VsTorch,
    /// Our blocks and chains against llama.cpp.
    #[value(name = "vs-llamacpp")]
    VsLlamaCpp,
    /// Our servers against real Petals servers.
    VsPetals,
    /// One process against chains of 2 and 4 servers.
    Chain,
    /// What a step costs beyond arithmetic, against a bare echo.
    Hop,
    /// Answers through a gateway, against the library.
    Gateway,
    /// Speed and bytes of the tensor codecs.
    Codec,
    /// A decode step of the embedded model, against what batching and caching save.
    SpanStep,
}

impl Name {
    /// One thread in every process where chains are compared with one process, or servers of two kinds: none may have
    /// more of the machine than the other. All cores where one process is measured.
    fn compute_threads(self) -> usize {
        match self {
            Self::Chain
            | Self::Hop
            | Self::Gateway
            | Self::VsPetals
            | Self::Codec
            | Self::SpanStep => 1,
            _ => host::cores(),
        }
    }
}

/// The variables from which candle and our server read how many threads they use.
const COMPUTE_THREADS: [&str; 2] = ["RAYON_NUM_THREADS", "BLOCK_SERVER_THREADS"];

fn main() -> Result<()> {
    let flags = Flags::parse();
    settle_compute_threads(flags.name.compute_threads())?;
    let figures = match flags.name {
        Name::Decode => decode::run(flags.quick)?,
        Name::Prefill => prefill::run(flags.quick)?,
        Name::Families => families::run(flags.quick)?,
        Name::Crowd => crowd::run(flags.quick)?,
        Name::Load => load::run(flags.quick)?,
        Name::Quality => quality::run()?,
        Name::VsCandle => vs_candle::run(flags.quick)?,
        Name::VsTorch => vs_torch::run(flags.quick)?,
        Name::VsLlamaCpp => vs_llamacpp::run(flags.quick)?,
        Name::VsPetals => vs_petals::run(flags.quick)?,
        Name::Chain => chain::run(flags.quick)?,
        Name::Hop => hop::run(flags.quick)?,
        Name::Gateway => gateway::run(flags.quick)?,
        Name::Codec => codec::run(flags.quick)?,
        Name::SpanStep => span_step::run(flags.quick)?,
    };
    let host = host::name();
    if flags.markdown {
        println!("{MARKDOWN_HEAD}");
    }
    for figure in figures {
        let line = if flags.json {
            figure.json(&host)
        } else if flags.markdown {
            figure.markdown()
        } else {
            figure.text(&host)
        };
        println!("{line}");
    }
    Ok(())
}

/// So many threads in candle and our server, here and in every child. A process cannot change its own environment safely, so it starts
/// again.
fn settle_compute_threads(threads: usize) -> Result<()> {
    use std::os::unix::process::CommandExt;

    if COMPUTE_THREADS
        .iter()
        .all(|name| std::env::var_os(name).is_some())
    {
        return Ok(());
    }
    let program = std::env::current_exe().context("where is this program?")?;
    let error = Command::new(program)
        .args(std::env::args_os().skip(1))
        .envs(COMPUTE_THREADS.map(|name| (name, threads.to_string())))
        .exec();
    Err(error).context("cannot start again with another number of compute threads")
}
