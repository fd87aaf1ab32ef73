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

    /// Finds servers for a segment that has none and fills their caches. Dropping it leaves the segment without a server.
    ///
    /// # Errors
    /// `RouteLost`; the session is over then.
    pub(super) async fn repair(&mut self, index: usize) -> Result<(), SessionError> {
        let Some(segment) = self.segments.get(index) else {
            return Ok(());
        };
        let (lost, plan) = match &segment.seat {
            Seat::Taken(_) => return Ok(()),
            Seat::Lost(plan) => (true, plan.clone()),
            Seat::Stale(plan) => (false, plan.clone()),
        };
        let config = &self.context.config;
        let avoid = if lost { vec![plan.peer] } else { Vec::new() };
        let mut tries = Tries::new(config.repair_deadline, config.attempts, avoid);
        let wish = (!lost).then(|| vec![plan.clone()]);
        let taken = loop {
            let request = self.context.request(plan.blocks.clone());
            let route = tries.next_route(&self.context, request, wish.clone()).await;
            let outcome = match route {
                Ok(route) => take_over(&self.context, segment, &route).await,
                Err(stop) => {
                    let error = route_lost(stop, tries);
                    if lost {
                        metrics::record_failover(Failover::Failed);
                    }
                    return Err(self.end(error));
                }
            };
            match outcome {
                Ok(taken) => break taken,
                Err(failed) => tries.failed(&self.context, failed),
            }
        };
        self.install(index, taken, lost);
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

async fn take_over(
    context: &Context,
    segment: &Segment,
    route: &[PlannedHop],
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
    let mut legs = open_all(context, route, &replies).await?;
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
