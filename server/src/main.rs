//! `block-server`: flags to configuration to `block_server::run`; exit codes.

use std::io::Write;
use std::process::ExitCode;

use block_program::service_manager::{self, ServiceEvent};
use block_program::settings::{FileChoice, config_command};
use block_program::{file_limit, network_threads, shell_files, version};
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
            // Help goes to stdout with code 0, a wrong flag to stderr with code 2. A closed pipe is no error.
            let _ = error.print();
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
        Some(Task::Identity(flags)) => {
            print_line(&block_server::identity(flags, &folders)?);
            Ok(ExitCode::SUCCESS)
        }
        Some(Task::Plan(flags)) => {
            let as_json = flags.json;
            answer(parsed, &folders, |config| {
                block_server::plan(config, as_json)
            })
        }
        Some(Task::Bench(flags)) => {
            let as_json = flags.json;
            answer(parsed, &folders, |config| {
                block_server::bench(config, as_json)
            })
        }
        Some(Task::Check(flags)) => {
            let as_json = flags.json;
            check(parsed, &folders, as_json)
        }
        Some(Task::Config(flags)) => {
            let (program, command) = (&cli::PROGRAM, cli::command());
            let text =
                config_command::run(program, command, &flags.task, &folders, files(&parsed))?;
            print_line(&text);
            Ok(ExitCode::SUCCESS)
        }
        Some(Task::Service(flags)) => {
            print_line(&block_server::service(flags, &files(&parsed), &folders)?);
            Ok(ExitCode::SUCCESS)
        }
        Some(Task::Version(flags)) => {
            print_line(&version::text("block-server", flags));
            Ok(ExitCode::SUCCESS)
        }
        Some(Task::Completions(flags)) => {
            print_line(shell_files::completions(cli::command(), flags).trim_end());
            Ok(ExitCode::SUCCESS)
        }
        Some(Task::Man(flags)) => {
            print_line(shell_files::manual(cli::command(), flags)?.trim_end());
            Ok(ExitCode::SUCCESS)
        }
        None => serve(parsed, &folders),
    }
}

/// Which configuration files the command line chooses.
fn files(parsed: &Parsed) -> FileChoice {
    FileChoice {
        named: parsed.cli.config.clone(),
        only_named: parsed.cli.no_config_files,
    }
}

/// Answers a question about a start, without serving.
fn answer<F: Future<Output = Result<String, Failure>>>(
    mut parsed: Parsed,
    folders: &Folders,
    question: impl FnOnce(Config) -> F,
) -> anyhow::Result<ExitCode> {
    install_quiet_log(&mut parsed)?;
    let config = configuration(parsed, folders)?;
    let runtime = network_threads::runtime()?;
    let answer = runtime.block_on(question(config));
    runtime.shutdown_timeout(RUNTIME_CLOSE_DEADLINE);
    print_line(&answer?);
    Ok(ExitCode::SUCCESS)
}

fn check(mut parsed: Parsed, folders: &Folders, as_json: bool) -> anyhow::Result<ExitCode> {
    install_quiet_log(&mut parsed)?;
    tell_ignored(&parsed);
    let runtime = network_threads::runtime()?;
    let report = runtime.block_on(block_server::check(&parsed.files, parsed.cli, folders));
    runtime.shutdown_timeout(RUNTIME_CLOSE_DEADLINE);
    print_line(&if as_json {
        report.json()?
    } else {
        report.lines()
    });
    Ok(if report.would_start() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(Exit::Unavailable.code())
    })
}

/// The answer is on stdout; what led to it is told to who asks.
fn install_quiet_log(parsed: &mut Parsed) -> Result<(), Failure> {
    let operate = &mut parsed.cli.serving.operate;
    operate.quiet |= operate.verbose == 0;
    logging::install(log_options(&parsed.cli)).map(drop)
}

fn serve(parsed: Parsed, folders: &Folders) -> anyhow::Result<ExitCode> {
    let look = logging::install(log_options(&parsed.cli))?;
    let stops_with_stdin = parsed.cli.serving.operate.stop_with_stdin;
    let config = configuration(parsed, folders)?;
    file_limit::raise();
    let runtime = network_threads::runtime()?;
    let result = runtime.block_on(async {
        let shutdown = shutdown::on_signals()?;
        if stops_with_stdin {
            shutdown::when_stdin_ends(&shutdown);
        }
        block_server::run(config, look, shutdown, |address| {
            print_line(&format!("READY {address}"));
            service_manager::tell(ServiceEvent::Ready);
        })
        .await
    });
    service_manager::tell(ServiceEvent::Stopping);
    runtime.shutdown_timeout(RUNTIME_CLOSE_DEADLINE);
    result?;
    Ok(ExitCode::SUCCESS)
}

/// Checks the flags, and tells what became of them.
fn configuration(parsed: Parsed, folders: &Folders) -> Result<Config, Failure> {
    tell_ignored(&parsed);
    for file in &parsed.files {
        tracing::info!(file = %file.display(), "configuration file read");
    }
    Config::from_cli(parsed.cli, folders, &|name| std::env::var(name).ok())
}

fn tell_ignored(parsed: &Parsed) {
    if !parsed.ignored.is_empty() {
        tracing::warn!(
            flags = parsed.ignored.join(", "),
            "settings of Petals that mean nothing here are ignored"
        );
    }
}

/// The only writer to stdout. Whoever closed it does not want the line.
fn print_line(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = writeln!(stdout, "{text}").and_then(|()| stdout.flush());
}
