//! `block-server`: flags to configuration to `block_server::run`; exit codes.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;
use block_program::{file_limit, network_threads};
use block_server::cli::{self, ParseError, Parsed, Task};
use block_server::{Config, Exit, Failure, Folders, log_options, logging, shutdown};

/// How long threads that cannot be interrupted (a load, a download) may delay the end.
const RUNTIME_CLOSE_DEADLINE: std::time::Duration = std::time::Duration::from_secs(1);

fn main() -> ExitCode {
    match start() {
        Ok(code) => code,
        Err(error) => {
            let failure = error.downcast::<Failure>().unwrap_or_else(|error| {
                Failure::new(Exit::Software, "internal error").caused_by(error.as_ref())
            });
            // Nobody is left to tell if stderr is closed.
            let _ = writeln!(std::io::stderr(), "{failure}");
            ExitCode::from(failure.exit().code())
        }
    }
}

fn start() -> anyhow::Result<ExitCode> {
    let folders = Folders::of_user("block-server")?;
    let parsed = match cli::parse(std::env::args_os(), &folders) {
        Ok(parsed) => parsed,
        Err(ParseError::Failure(failure)) => return Err(failure.into()),
        Err(ParseError::Clap(error)) => {
            // Help goes to stdout with code 0, a wrong flag to stderr with code 2.
            error.print().context("cannot write the help text")?;
            return Ok(ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2)));
        }
    };
    match &parsed.cli.task {
        Some(Task::Status(flags)) => {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            print_line(&runtime.block_on(block_server::status(flags))?);
            Ok(ExitCode::SUCCESS)
        }
        Some(Task::Devices(flags)) => {
            print_line(&block_server::devices(flags)?);
            Ok(ExitCode::SUCCESS)
        }
        Some(Task::Plan(flags)) => {
            let as_json = flags.json;
            plan(parsed, &folders, as_json)
        }
        None => serve(parsed, &folders),
    }
}

fn plan(mut parsed: Parsed, folders: &Folders, as_json: bool) -> anyhow::Result<ExitCode> {
    let operate = &mut parsed.cli.serving.operate;
    // The answer is on stdout; what led to it is told to who asks.
    operate.quiet |= operate.verbose == 0;
    logging::install(log_options(&parsed.cli))?;
    let config = configuration(parsed, folders)?;
    let runtime = network_threads::runtime()?;
    let answer = runtime.block_on(block_server::plan(config, as_json));
    runtime.shutdown_timeout(RUNTIME_CLOSE_DEADLINE);
    print_line(&answer?);
    Ok(ExitCode::SUCCESS)
}

fn serve(parsed: Parsed, folders: &Folders) -> anyhow::Result<ExitCode> {
    let look = logging::install(log_options(&parsed.cli))?;
    let config = configuration(parsed, folders)?;
    file_limit::raise();
    let runtime = network_threads::runtime()?;
    let result = runtime.block_on(async {
        let shutdown = shutdown::on_signals()?;
        block_server::run(config, look, shutdown, |address| {
            print_line(&format!("READY {address}"))
        })
        .await
    });
    runtime.shutdown_timeout(RUNTIME_CLOSE_DEADLINE);
    result?;
    Ok(ExitCode::SUCCESS)
}

/// Checks the flags, and tells what became of them.
fn configuration(parsed: Parsed, folders: &Folders) -> Result<Config, Failure> {
    if !parsed.ignored.is_empty() {
        tracing::warn!(
            flags = parsed.ignored.join(", "),
            "flags of Petals that mean nothing here are ignored"
        );
    }
    if let Some(file) = &parsed.config_file {
        tracing::info!(file = %file.display(), "configuration file read");
    }
    Config::from_cli(parsed.cli, folders, &|name| std::env::var(name).ok())
}

/// The only writer to stdout. Whoever closed it does not want the line.
fn print_line(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = writeln!(stdout, "{text}").and_then(|()| stdout.flush());
}
