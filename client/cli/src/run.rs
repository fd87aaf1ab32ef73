//! `swarm run`: one answer.
//!
//! Stages: what the flags alone decide; model and swarm, side by side; the session; the answer, token by token.
//! Ctrl-C in any of them ends it; once there is a session, its servers are told.

mod prompt;
mod report;

use std::time::{Duration, Instant};

use block_client::{Finished, GenerateConfig, Generation, GenerationDefaults, SessionError, Token};
use block_program::Failure;
use tokio_util::sync::CancellationToken;

use crate::cli::RunFlags;
use crate::ending::Ending;
use crate::membership;
use crate::metrics_port;
use crate::model_session::Ready;
use crate::output;
use crate::progress::Waiting;
use crate::session_failure::session_failure;

use prompt::Question;
use report::{Answer, TokenLine};

/// Answers the prompt that the flags give.
///
/// # Errors
/// What went wrong, Ctrl-C, or that nobody reads the answer any more.
pub(crate) async fn run(flags: RunFlags, stop: CancellationToken) -> Result<(), Ending> {
    let peers = membership::initial_peers(&flags.swarm)?;
    check(&flags)?;
    let question = prompt::read(&flags)?;
    let port = metrics_port::start(
        flags.output.metrics_listen,
        flags.output.metrics_token_file.as_deref(),
    )
    .await?;
    let ready = unless_stopped(&stop, Ready::prepare(&flags.model, &flags.swarm, peers)).await?;
    let swarm = ready.swarm.clone();
    // What it shows in the metrics goes with its last handle.
    let view = swarm.view(&ready.dht_prefix, ready.local.config.num_blocks);
    let ended = answer(&flags, question, ready, &stop).await;
    if let (Some(linger), Some(_), Ok(())) = (flags.output.metrics_linger, &port, &ended) {
        tokio::select! {
            () = tokio::time::sleep(linger) => {}
            () = stop.cancelled() => {}
        }
    }
    drop(view);
    swarm.shutdown().await;
    if let Some(port) = port {
        port.stop().await;
    }
    ended
}

/// Runs a stage that leaves nothing behind when it is dropped.
async fn unless_stopped<T>(
    stop: &CancellationToken,
    stage: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Ending> {
    tokio::select! {
        result = stage => result.map_err(Ending::Failed),
        () = stop.cancelled() => Err(Ending::Interrupted),
    }
}

/// What is wrong without asking anybody.
fn check(flags: &RunFlags) -> Result<(), Failure> {
    let unadvised = flags.answer.sampling(&GenerationDefaults::default());
    unadvised.check().map_err(|error| {
        let flag = error.field.replace('_', "-");
        Failure::usage(format!(
            "--{flag} must be {}, not {}",
            error.range, error.value
        ))
    })?;
    if flags.answer.stop.iter().any(String::is_empty) {
        return Err(Failure::usage("--stop must not be empty"));
    }
    Ok(())
}

async fn answer(
    flags: &RunFlags,
    question: Question,
    ready: Ready,
    stop: &CancellationToken,
) -> Result<(), Ending> {
    let ids = question.ids(&ready.local)?;
    let map = ready.map.clone();
    let asked_at = Instant::now();
    let room = || ids.len().saturating_add(flags.answer.max_tokens);
    let max_length = flags.answer.max_length.unwrap_or_else(room);
    let waiting = Waiting::new("looking for a route");
    let mut session = unless_stopped(stop, ready.open(&flags.way, max_length)).await?;
    drop(waiting);
    let config = GenerateConfig {
        sampling: flags.answer.sampling(ready.local.generation_defaults()),
        stop: flags.answer.stop.clone(),
        ignore_eos: flags.answer.ignore_eos,
        ..GenerateConfig::new(flags.answer.max_tokens)
    };
    let told = match session.generate(ids, config) {
        Ok(generation) => tell(flags, generation, asked_at, stop).await,
        Err(error) => return Err(session_failure(&error, &map).into()),
    };
    let stats = session.stats();
    session.close().await;
    let Told {
        finished,
        first_after,
        ended,
    } = told;
    let answer = Answer::new(&finished, first_after, &stats);
    if flags.output.stats {
        output::remark(&answer.in_words());
    }
    if flags.output.json && (!finished.ids.is_empty() || ended.is_ok()) {
        output::json(&answer)?;
    }
    match ended {
        Ok(()) => Ok(()),
        Err(Broken::Session(error)) => Err(session_failure(&error, &map).into()),
        Err(Broken::Ending(ending)) => Err(ending),
    }
}

/// An answer as far as it was told.
struct Told {
    finished: Finished,
    /// From opening the session to the first token.
    first_after: Option<Duration>,
    ended: Result<(), Broken>,
}

/// Why it was not told to its end.
enum Broken {
    Session(SessionError),
    Ending(Ending),
}

/// Prints the answer while it comes.
async fn tell(
    flags: &RunFlags,
    mut generation: Generation<'_>,
    asked_at: Instant,
    stop: &CancellationToken,
) -> Told {
    let mut first_after = None;
    let mut ends_line = true;
    let mut ended = loop {
        let token = tokio::select! {
            token = generation.next() => token,
            () = stop.cancelled() => break Err(Broken::Ending(Ending::Interrupted)),
        };
        match token {
            None => break Ok(()),
            Some(Err(error)) => break Err(Broken::Session(error)),
            Some(Ok(token)) => {
                first_after.get_or_insert_with(|| asked_at.elapsed());
                if !token.text.is_empty() {
                    ends_line = token.text.ends_with('\n');
                }
                if let Err(ending) = print(flags, &token) {
                    break Err(Broken::Ending(ending));
                }
            }
        }
    };
    let closed = matches!(ended, Err(Broken::Ending(Ending::OutputClosed)));
    if !flags.output.json && !closed && !ends_line {
        let line_end = output::text("\n").map_err(Broken::Ending);
        ended = ended.and(line_end);
    }
    Told {
        finished: generation.finish(),
        first_after,
        ended,
    }
}

fn print(flags: &RunFlags, token: &Token) -> Result<(), Ending> {
    match (flags.output.json, flags.output.stream) {
        (true, true) => output::json(&TokenLine::new(token)),
        (true, false) => Ok(()),
        (false, _) if token.text.is_empty() => Ok(()),
        (false, _) => output::text(&token.text),
    }
}
