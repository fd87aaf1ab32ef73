//! Repairs: another server takes over a segment, with its cache filled from the log. The other segments stay as they are.

use super::log::Log;
use super::opening::{Failed, open_all};
use super::replay::replay;
use super::segment::{LiveHop, Seat, Segment};
use super::tries::{Stop, Tries, note_failure};
use super::{Chain, Context};
use crate::error::{Blame, HopError};
use crate::hop::session_ended;
use crate::metrics::{self, Failover};
use crate::model_view::PlannedHop;
use crate::session_error::SessionError;
use block_protocol::Compression;
use futures::future::try_join_all;

impl Chain {
    /// Notes that the server of a segment failed. The server's other segments are lost with it, unless it lives and
    /// only this session of it ended.
    pub(super) fn lose(&mut self, index: usize, error: &HopError) {
        let Some(segment) = self.segments.get_mut(index) else {
            return;
        };
        let peer = segment.plan().peer;
        if *error == session_ended() {
            tracing::debug!(%peer, "the server ended the session, it is asked for another one");
            return segment.expire();
        }
        note_failure(&self.context, peer, error);
        segment.lose();
        // What refuses one session lives.
        if error.blame() == Blame::Server && !matches!(error, HopError::Refused(_)) {
            let others = self.segments.iter_mut();
            for other in others.filter(|other| other.plan().peer == peer) {
                other.lose();
            }
        }
    }

    /// Finds servers for all segments from number `from` on that have none, and fills their caches, all at once. Dropping
    /// it leaves them without a server.
    ///
    /// # Errors
    /// `RouteLost`; the session is over then.
    pub(super) async fn repair(&mut self, from: usize) -> Result<(), SessionError> {
        let context = &self.context;
        let segments = self.segments.iter().enumerate().skip(from);
        let vacant = segments.filter(|(_, segment)| segment.live().is_none());
        let finding = vacant.map(|(index, segment)| async move {
            let (taken, lost) = find_successor(context, segment).await?;
            Ok((index, taken, lost))
        });
        let found = match try_join_all(finding).await {
            Ok(found) => found,
            Err(error) => return Err(self.end(error)),
        };
        // The last one first: a segment that is cut moves those behind it.
        for (index, taken, lost) in found.into_iter().rev() {
            self.install(index, taken, lost);
        }
        Ok(())
    }

    fn install(&mut self, index: usize, taken: TakenOver, lost: bool) {
        let Some(old) = self.segments.get_mut(index) else {
            return;
        };
        let last_output = old.output;
        let first_log = std::mem::take(&mut old.log);
        let past = old.past;
        let count = taken.legs.len();
        let logs = std::iter::once(first_log).chain(taken.logs);
        let new = taken.legs.into_iter().zip(logs).enumerate();
        let new: Vec<_> = new
            .map(|(number, (live, log))| Segment {
                output: if number + 1 == count {
                    last_output
                } else {
                    live.terms.output
                },
                log,
                past: if number == 0 { past } else { (0, 0) },
                seat: Seat::Taken(Box::new(live)),
            })
            .collect();
        for segment in &new {
            let plan = segment.plan();
            tracing::info!(peer = %plan.peer, blocks = ?plan.blocks, tokens = segment.log.position(), "took over");
        }
        self.segments.splice(index..=index, new);
        self.stats.replayed_tokens += taken.tokens as u64;
        metrics::record_replayed(taken.tokens);
        if lost {
            self.stats.failovers += 1;
            metrics::record_failover(Failover::Ok);
        }
    }
}

/// Servers that run a segment from now on.
#[derive(Debug)]
struct TakenOver {
    legs: Vec<LiveHop>,
    /// Of the legs after the first.
    logs: Vec<Log>,
    /// Sent again in all.
    tokens: usize,
}

/// Servers for a segment that has none, and whether it lost the one before.
///
/// # Errors
/// `RouteLost`.
async fn find_successor(
    context: &Context,
    segment: &Segment,
) -> Result<(TakenOver, bool), SessionError> {
    let plan = segment.plan();
    let lost = !matches!(segment.seat, Seat::Stale(_));
    let config = &context.config;
    let avoid = if lost { vec![plan.peer] } else { Vec::new() };
    let mut tries = Tries::new(config.repair_deadline, config.attempts, avoid);
    let wish = (!lost).then(|| vec![plan.clone()]);
    loop {
        let request = context.request(plan.blocks.clone());
        let route = match tries.next_route(context, request, wish.clone()).await {
            Ok(route) => route,
            Err(stop) => {
                if lost {
                    metrics::record_failover(Failover::Failed);
                }
                return Err(route_lost(stop, tries));
            }
        };
        match take_over(context, segment, &route, &tries).await {
            Ok(taken) => return Ok((taken, lost)),
            Err(failed) => tries.failed(context, failed),
        }
    }
}

async fn take_over(
    context: &Context,
    segment: &Segment,
    route: &[PlannedHop],
    tries: &Tries,
) -> Result<TakenOver, Vec<Failed>> {
    let last = route.len().saturating_sub(1);
    let replies: Vec<_> = route
        .iter()
        .enumerate()
        .map(|(number, plan)| {
            // New boundaries are lossless; the old one stays as it is, here or at the server.
            if number == last && plan.server.reads(segment.output.codec) {
                segment.output.codec
            } else {
                Compression::None
            }
        })
        .collect();
    let mut legs = open_all(context, route, &replies, tries).await?;
    let inner: Vec<_> = legs.iter().take(last).map(|leg| leg.terms.output).collect();
    let (logs, tokens) = replay(context, &segment.log, &mut legs, &inner)
        .await
        .map_err(|failed| vec![failed])?;
    Ok(TakenOver { legs, logs, tokens })
}

fn route_lost(stop: Stop, tries: Tries) -> SessionError {
    let why = match stop {
        Stop::NoRoute(error) => error.to_string(),
        Stop::Rejected(peer, text) => format!("{peer} does not take over: {text}"),
        Stop::Exhausted(why) => why,
    };
    SessionError::RouteLost {
        why,
        tried: tries.into_tried(),
    }
}
