//! Speed, as ratios measured in one run: `cargo run --release -p benches -- NAME [--quick] [--json]`.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a benchmark reports on stdout and explains itself on stderr"
)]

mod chain;
mod codec;
mod figure;
mod hop;
mod host;
mod models;
mod probe;
mod processes;
mod rounds;
mod span_step;
mod spread;
mod timed_span;
mod vs_petals;

use std::process::Command;

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};

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
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Name {
    /// One process against chains of 2 and 4 servers.
    Chain,
    /// What a step costs beyond arithmetic, against a bare echo.
    Hop,
    /// Our servers against real Petals servers.
    VsPetals,
    /// Speed and bytes of the tensor codecs.
    Codec,
    /// A decode step of the embedded model, against what batching and caching save.
    SpanStep,
}

/// The variables from which candle and our server read how many threads they use.
const COMPUTE_THREADS: [&str; 2] = ["RAYON_NUM_THREADS", "BLOCK_SERVER_THREADS"];

fn main() -> Result<()> {
    let flags = Flags::parse();
    settle_compute_threads()?;
    let figures = match flags.name {
        Name::Codec => codec::run(flags.quick)?,
        Name::Chain => chain::run(flags.quick)?,
        Name::VsPetals => vs_petals::run(flags.quick)?,
        Name::Hop => hop::run(flags.quick)?,
        Name::SpanStep => span_step::run(flags.quick)?,
    };
    let host = host::name();
    for figure in figures {
        let line = if flags.json {
            figure.json(&host)
        } else {
            figure.text(&host)
        };
        println!("{line}");
    }
    Ok(())
}

/// One compute thread here and in every child: chains are compared to one process, and servers of two kinds to each
/// other, so none may have more of the machine. A process cannot change its own environment safely, so it starts again.
fn settle_compute_threads() -> Result<()> {
    use std::os::unix::process::CommandExt;

    if COMPUTE_THREADS.iter().all(|name| std::env::var_os(name).is_some()) {
        return Ok(());
    }
    let program = std::env::current_exe().context("where is this program?")?;
    let error = Command::new(program)
        .args(std::env::args_os().skip(1))
        .envs(COMPUTE_THREADS.map(|name| (name, "1")))
        .exec();
    Err(error).context("cannot start again with one compute thread")
}
