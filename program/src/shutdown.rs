//! Signals: the first asks the server to finish, a second Ctrl-C ends it at once.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::error_report::{Exit, Failure};

/// Watches SIGINT and SIGTERM.
///
/// The returned token is cancelled by the first of either. After that a SIGINT ends
/// the process with code 130; a repeated SIGTERM changes nothing, because service
/// managers repeat it. The watching task lives as long as the process.
///
/// # Errors
/// The system refuses a handler (exit 71). Must be called inside a tokio runtime.
pub fn on_signals() -> Result<CancellationToken, Failure> {
    let mut interrupt = watch(SignalKind::interrupt())?;
    let mut terminate = watch(SignalKind::terminate())?;
    let token = CancellationToken::new();
    let asked = token.clone();
    tokio::spawn(async move {
        first(&mut interrupt, &mut terminate).await;
        asked.cancel();
        interrupt.recv().await;
        tracing::warn!("stopped at once by a second Ctrl-C");
        std::process::exit(Exit::Interrupted.code().into());
    });
    Ok(token)
}

/// The same, but no signal ends the process: for programs that must first end others, and do so in bounded time.
///
/// # Errors
/// As [`on_signals`].
pub fn on_signals_to_the_end() -> Result<CancellationToken, Failure> {
    let mut interrupt = watch(SignalKind::interrupt())?;
    let mut terminate = watch(SignalKind::terminate())?;
    let mut hang_up = watch(SignalKind::hangup())?;
    let token = CancellationToken::new();
    let asked = token.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hang_up.recv() => {}
        }
        asked.cancel();
        // Later ones are taken and change nothing.
        while interrupt.recv().await.is_some() {}
    });
    Ok(token)
}

/// Cancels `token` when the standard input ends, which is also what happens when whoever holds its other end is killed.
///
/// The thread that reads ends with the process.
pub fn when_stdin_ends(token: &CancellationToken) {
    let asked = token.clone();
    std::thread::spawn(move || {
        // What is written there means nothing. An input that cannot be read will not tell of its end either.
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        tracing::info!("stopping: the standard input has ended");
        asked.cancel();
    });
}

fn watch(kind: SignalKind) -> Result<Signal, Failure> {
    signal(kind)
        .map_err(|error| Failure::new(Exit::OsError, "signals cannot be handled").caused_by(&error))
}

async fn first(interrupt: &mut Signal, terminate: &mut Signal) {
    let name = tokio::select! {
        _ = interrupt.recv() => "Ctrl-C",
        _ = terminate.recv() => "SIGTERM",
    };
    tracing::info!(signal = name, "stopping; Ctrl-C again stops at once");
}
