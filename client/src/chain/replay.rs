//! Filling new caches: the steps of a log, as they were cut at first, through one or more servers, pipelined.
//!
//! ```text
//! log → send ┐                 ┌→ log of the next one → send ┐
//!            └ server → answers ┘                             └ server → answers
//! ```
//!
//! Steps are sent ahead of their answers, so that replaying takes the servers' compute time and not a round trip each.

use futures::future::try_join_all;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use super::Context;
use super::log::{Entry, Log};
use super::opening::Failed;
use super::patience::{Patience, counted_tokens};
use super::segment::{LiveHop, plain_step};
use super::wait::{LAST_WORDS, Watch};
use crate::error::HopError;
use crate::link_codec::{Format, first_tokens};

/// Steps sent ahead of their answers. More would only wait at the server, which reads five ahead.
const MAX_AHEAD: usize = 16;

/// Replays `log` through `legs`, which run its blocks one after the other; `inner` are the formats between them. Returns
/// the logs of the legs after the first, and the tokens that were sent again in all.
///
/// # Errors
/// The first failure; the legs are of no use then.
pub(super) async fn replay(
    context: &Context,
    log: &Log,
    legs: &mut [LiveHop],
    inner: &[Format],
) -> Result<(Vec<Log>, usize), Failed> {
    let mut work = Vec::with_capacity(legs.len());
    let (first, mut source) = mpsc::channel(1);
    let feed = async move {
        for entry in log.entries() {
            if first.send(entry.clone()).await.is_err() {
                break;
            }
        }
        Ok(())
    };
    for (number, leg) in legs.iter_mut().enumerate() {
        let (sink, next) = mpsc::channel(MAX_AHEAD);
        let entries = std::mem::replace(&mut source, next);
        let sink = inner.get(number).map(|&format| (format, sink));
        work.push(run_leg(context, log, leg, entries, sink));
    }
    let ((), done) = tokio::try_join!(feed, try_join_all(work))?;
    let tokens = done.iter().map(|(_, tokens)| tokens).sum();
    // Each leg returns its own log; the first one's is `log` itself.
    let logs = done.into_iter().skip(1).map(|(log, _)| log).collect();
    Ok((logs, tokens))
}

type Sink = (Format, mpsc::Sender<Entry>);

/// One leg: sends what comes, passes its answers on. Returns what it was given.
async fn run_leg(
    context: &Context,
    log: &Log,
    leg: &mut LiveHop,
    entries: mpsc::Receiver<Entry>,
    sink: Option<Sink>,
) -> Result<(Log, usize), Failed> {
    let peer = leg.peer();
    let outcome = exchange_all(context, leg, entries, sink).await;
    let (mut given, tokens) = outcome.map_err(|error| (peer, error))?;
    given.owe(log.owed().cloned());
    leg.owed = log.owed().cloned();
    Ok((given, tokens))
}

fn step_name(number: usize) -> String {
    format!("replay {number}")
}

async fn exchange_all(
    context: &Context,
    leg: &mut LiveHop,
    mut entries: mpsc::Receiver<Entry>,
    sink: Option<Sink>,
) -> Result<(Log, usize), HopError> {
    let peer = leg.peer();
    let blocks = leg.plan.blocks.len();
    let cuts = leg.plan.server.rolls_back();
    let terms = leg.terms.clone();
    let LiveHop { hop, witness, .. } = leg;
    let (sender, receiver) = hop.halves();
    let (ahead, mut sent) = mpsc::channel::<Entry>(MAX_AHEAD);
    let sending = async move {
        let mut given = Log::default();
        let (mut held, mut tokens) = (0, 0);
        while let Some(mut entry) = entries.recv().await {
            if entry.keep < entry.tokens && !cuts {
                entry.tensor = first_tokens(&entry.tensor, entry.keep)?;
                entry.tokens = entry.keep;
            }
            let cut = (held != entry.start).then_some(entry.start);
            let step = plain_step(
                terms.fit(&entry.tensor)?,
                step_name(given.entries().len()),
                entry.reorder.as_deref(),
                cut,
            )?;
            held = entry.start + entry.tokens;
            tokens += entry.tokens;
            given.copy(entry.clone());
            // Before it is sent: a server that takes no bytes is found out by the receiving side.
            if ahead.send(entry).await.is_err() {
                break;
            }
            if let Err(error) = sender.send(step).await {
                // The receiving side may hear meanwhile why.
                sleep(LAST_WORDS).await;
                return Err(error);
            }
        }
        Ok((given, held, tokens))
    };
    let receiving = async move {
        let mut number = 0;
        while let Some(entry) = sent.recv().await {
            let watch = Watch {
                node: &context.node,
                peer,
                patience: Patience::new(context.view.step_estimate(
                    peer,
                    blocks,
                    counted_tokens(context.config.batch, entry.tokens),
                )),
                since: Instant::now(),
            };
            let answer = watch.answer(receiver).await?;
            let answer = witness.check(answer, &step_name(number), &entry.tensor)?;
            number += 1;
            if let Some((format, sink)) = &sink {
                let tensor = format.of(answer)?;
                // The other side has failed then, and says why itself.
                let _ = sink.send(Entry { tensor, ..entry }).await;
            }
        }
        Ok(())
    };
    let ((given, held, tokens), ()) = tokio::try_join!(sending, receiving)?;
    leg.held = held;
    Ok((given, tokens))
}
