//! `swarm`: generates text over a swarm of Petals servers, and shows what the swarm holds.
//!
//! - `cli`: the command line; `run`, `chat`, `gateway`, `map`, `models`, `peers`, `ping`, `pull`, `sessions`, `bench`, `bootstrap`, `demo`: its subcommands
//! - `membership`, `model_files`, `model_session`: from flags to a swarm, to a model and to its servers
//! - `wording`: from messages to the tokens that a model is to continue
//! - `http_client`: requests to a gateway
//! - `session_failure`, `ending`: how a command fails; `output`, `progress`: what is printed

mod bench;
mod bootstrap;
mod chat;
mod cli;
mod demo;
mod ending;
mod gateway;
mod http_client;
mod map;
mod membership;
mod metrics_port;
mod model_files;
mod model_session;
mod models;
mod output;
mod peers;
mod ping;
mod progress;
mod pull;
mod run;
mod session_failure;
mod sessions;
mod wording;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use block_program::settings::{FileChoice, ParseError, config_command};
use block_program::{
    Exit, Failure, Folders, LogOptions, file_limit, logging, network_threads, shell_files,
    shutdown, version,
};
use tokio_util::sync::CancellationToken;
use tracing::Level;

use crate::cli::{Cli, Task};
use crate::ending::Ending;

/// The crates of this program, as log targets.
const OUR_CRATES: &[&str] = &[
    "swarm",
    "block_client",
    "block_gateway",
    "block_program",
    "block_network",
    "block_model",
    "block_protocol",
];
/// How long threads that cannot be interrupted (a load, a download) may delay the end.
const RUNTIME_CLOSE_DEADLINE: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    match start() {
        Ok(code) => code,
        Err(error) => {
            let failure = error.downcast::<Failure>().unwrap_or_else(|error| {
                Failure::new(Exit::Software, "internal error").caused_by(error.as_ref())
            });
            output::remark(&failure.to_string());
            ExitCode::from(failure.exit().code())
        }
    }
}

fn start() -> anyhow::Result<ExitCode> {
    let folders = Folders::of_user("swarm")?;
    let parsed = match cli::parse(std::env::args_os(), &folders) {
        Ok(parsed) => parsed,
        Err(ParseError::Failure(failure)) => return Err(failure.into()),
        Err(ParseError::Clap(error)) => {
            // Help goes to stdout with code 0, a wrong flag to stderr with code 2. A closed pipe is no error.
            let _ = error.print();
            return Ok(ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2)));
        }
    };
    if !parsed.ignored.is_empty() {
        output::remark(&format!("ignored: {}", parsed.ignored.join(", ")));
    }
    let cli = parsed.cli;
    if let Some(text) = told_at_once(&cli, &folders)? {
        return ended(output::line(text.trim_end()));
    }
    let level = match &cli.task {
        // It kills a server itself; warnings of that would stand between the words of the story.
        Task::Demo(_) if cli.log.log_level == Level::WARN => Level::ERROR,
        // They would be written over its picture.
        Task::Map(flags) if flags.watch && cli.log.log_level == Level::WARN => Level::ERROR,
        _ => cli.log.log_level,
    };
    let (verbose, format) = (cli.log.verbose, cli.log.log_format);
    let options = LogOptions::new(OUR_CRATES, level, verbose, false, format);
    logging::install(options.with_color(cli.log.color))?;
    file_limit::raise();
    let runtime = network_threads::runtime().context("the runtime cannot start")?;
    let result = network_threads::run(&runtime, perform(cli));
    runtime.shutdown_timeout(RUNTIME_CLOSE_DEADLINE);
    ended(result)
}

/// The answer of a command that only speaks of this program.
fn told_at_once(cli: &Cli, folders: &Folders) -> Result<Option<String>, Failure> {
    let command = <Cli as clap::CommandFactory>::command;
    Ok(match &cli.task {
        Task::Config(flags) => {
            let files = FileChoice {
                named: cli.config.clone(),
                ..FileChoice::default()
            };
            let task = &flags.task;
            Some(config_command::run(
                &cli::PROGRAM,
                command(),
                task,
                folders,
                files,
            )?)
        }
        Task::Completions(flags) => Some(shell_files::completions(command(), flags)),
        Task::Version(flags) => Some(version::text("swarm", flags)),
        Task::Man(flags) => Some(shell_files::manual(command(), flags)?),
        _ => None,
    })
}

fn ended(result: Result<(), Ending>) -> anyhow::Result<ExitCode> {
    match result {
        Ok(()) | Err(Ending::OutputClosed) => Ok(ExitCode::SUCCESS),
        Err(Ending::Interrupted) => Ok(ExitCode::from(Exit::Interrupted.code())),
        Err(Ending::Failed(failure)) => Err(failure.into()),
    }
}

async fn perform(cli: Cli) -> Result<(), Ending> {
    let task = match cli.task {
        Task::Run(flags) if flags.is_conversation() => Task::Chat(Box::new((*flags).into())),
        task => task,
    };
    // Ctrl-C means something else there.
    if let Task::Chat(flags) = task {
        return chat::run(*flags).await;
    }
    let stop = match task {
        // Its servers must end before it does.
        Task::Demo(_) => shutdown::on_signals_to_the_end()?,
        _ => shutdown::on_signals()?,
    };
    match task {
        // These tell the swarm, or their servers, before they end.
        Task::Run(flags) => run::run(*flags, stop).await,
        Task::Gateway(flags) => gateway::run(*flags, stop).await,
        Task::Chat(flags) => chat::run(*flags).await,
        Task::Bootstrap(flags) => bootstrap::run(flags, stop).await,
        Task::Demo(flags) => demo::run(flags, stop).await,
        Task::Pull(flags) => until(stop, pull::run(flags)).await,
        Task::Peers(flags) => until(stop, peers::run(flags)).await,
        Task::Ps(flags) => until(stop, sessions::list(flags)).await,
        Task::Stop(flags) => until(stop, sessions::stop(flags)).await,
        Task::Bench(flags) => until(stop, bench::run(*flags)).await,
        Task::Map(flags) => until(stop, map::run(flags)).await,
        Task::Models(flags) => until(stop, models::run(flags)).await,
        Task::Ping(flags) => until(stop, ping::run(flags)).await,
        // Told before the runtime started.
        Task::Config(_) | Task::Version(_) | Task::Completions(_) | Task::Man(_) => Ok(()),
    }
}

/// A command that leaves nothing behind when it is dropped.
async fn until(
    stop: CancellationToken,
    work: impl Future<Output = Result<(), Ending>>,
) -> Result<(), Ending> {
    tokio::select! {
        ended = work => ended,
        () = stop.cancelled() => Err(Ending::Interrupted),
    }
}
